"""One installation, opened: its configuration and its way to the store, the objects and the outside.

Belongs here: putting the parts together, for Dagster, the command line and the tests alike. Does not belong here:
what is done with them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.config import Config, home
from harvester_dagster.outside.bodies import Bodies
from harvester_dagster.outside.outside import Outside
from harvester_dagster.store import database, objects
from harvester_dagster.store.database import Pool
from harvester_dagster.store.objects import Objects
from harvester_dagster.workers import Workers


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Installation:
    """What every step works with. `clock` answers in UTC; nothing below reads another."""

    config: Config
    catalog: Catalog
    pool: Pool
    objects: Objects
    outside: Outside
    bodies: Bodies
    workers: Workers
    clock: Callable[[], datetime] = utc_now


def postgres_url(config: Config) -> str | None:
    """Where the store is, by the environment; None: the embedded PostgreSQL of this installation."""
    return os.environ.get(config.store.postgres_url_env)


@contextmanager
def opened(
    config: Config,
    url: str,
    *,
    catalog: Catalog = CATALOG,
    s3: Callable[[], Any] | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Iterator[Installation]:
    """Open an installation on a store that answers; the schema is brought up to date."""
    database.migrate(url)
    pool = database.open_pool(url)
    outside = Outside(
        allow_hosts=config.network.allow_hosts,
        per_host_per_second=config.network.per_host_per_second,
        user_agent=config.network.user_agent,
        pace_folder=home() / "pace",
    )
    workers = Workers(catalog, config)
    try:
        kept = objects.open_objects(config.store.objects, home() / "objects", s3)
        yield Installation(config, catalog, pool, kept, outside, Bodies(pool, kept, outside), workers, clock)
    finally:
        workers.close()
        outside.close()
        pool.close()
