"""One installation, opened: its configuration and its way to the store, the objects and the outside.

Belongs here: putting the parts together, for Dagster, the command line and the tests alike. Does not belong here:
what is done with them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from harvester_dagster.catalog import CATALOG, Catalog, World
from harvester_dagster.config import Config, home
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.outside import origins
from harvester_dagster.outside.bodies import Bodies
from harvester_dagster.outside.http import Outside
from harvester_dagster.processes.workers import START_AFTER, Workers
from harvester_dagster.store import database
from harvester_dagster.store.database import Pool
from harvester_dagster.store.objects import Objects, open_objects


def utc_now() -> datetime:
    """The time by this machine's clock; tests give an installation another one."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Limits:
    """How much is done at once: measured, so no setting. Tests make it small, benchmarks scale it."""

    page_bundle_bytes: int = 8 * 1024 * 1024
    """Of a harvest's pages, in one object."""
    page_bundle_seconds: float = 30.0
    """So long pages wait at most to be stored while others come: what a kill can cost."""
    extracted: int = 250
    """Records that are extracted together, of pages that are not longer than this together."""
    compared: int = 1_000
    """Records that are compared together, and written."""
    repeated: int = 20_000
    """Unchanged records beside some that are compared; more are not remembered."""
    ids: int = 1_000
    """Ids of new documents that are taken at once, as many as the sequence counts by, or fewer."""
    evaluated: int = 5_000
    """Documents of which the tasks' inputs are looked at together."""
    outcome_seconds: float = 2.0
    """Outcomes of a task are stored that often at least."""
    produced: int = 1_000
    """Documents, with all that they own, whose outputs are made together."""
    seconds_alone: float = START_AFTER
    """Of work, before further processes are started for it."""
    connections: int = 8
    """To the store, of each of its two pools."""


USUAL = Limits()


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
    limits: Limits = USUAL

    @cached_property
    def reading(self) -> Pool:
        """The way to the store for whoever answers consumers: it changes nothing, and takes no connection from runs."""
        return database.open_reading_pool(self.address, self.limits.connections)

    @property
    def address(self) -> str:
        """Of the store, for a connection beside the pools."""
        address = self.pool.conninfo
        assert isinstance(address, str)
        return address


def postgres_url(config: Config) -> str | None:
    """Where the store is, by the environment; None: the embedded PostgreSQL of this installation.

    Raises ConfigError for what is no address; libpq's own complaint would tell the password.
    """
    url = os.environ.get(config.store.postgres_url_env)
    if not url:
        return None
    try:
        known = conninfo_to_dict(url)
        parts = urlsplit(url)
        is_one = parts.scheme in ("postgresql", "postgres") and parts.port != 0 and "," not in str(known.get("host"))
    except (ProgrammingError, ValueError):
        is_one = False
    if not is_one:  # Dagster's storage and the migrations read it too: a URL of one server
        raise ConfigError(
            f"the variable {config.store.postgres_url_env} holds no address of a PostgreSQL",
            "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        )
    return url


@contextmanager
def opened(
    config: Config,
    url: str,
    *,
    catalog: Catalog = CATALOG,
    objects: Objects | None = None,
    clock: Callable[[], datetime] = utc_now,
    limits: Limits = USUAL,
) -> Iterator[Installation]:
    """Open an installation on a store that answers and has the schema of this code; nothing of it is changed.

    `objects` is where large things are kept, when not in this installation's folder. Raises OtherSchema, ConfigError,
    StorageError.
    """
    database.check(url)
    pool = database.open_pool(url, limits.connections)
    outside = Outside(
        allow_hosts=origins.opener(config),
        per_host_per_second=config.network.per_host_per_second,
        user_agent=config.network.user_agent,
        pace_folder=home() / "pace",
    )
    workers = Workers(World(catalog, config), limits.seconds_alone)
    try:
        kept = objects or open_objects(config.store.objects, home() / "objects")
        bodies = Bodies(pool, kept, outside, clock)
        made = Installation(config, catalog, pool, kept, outside, bodies, workers, clock, limits)
        with ExitStack() as stack:
            stack.callback(lambda: made.reading.close() if "reading" in vars(made) else None)
            yield made
    finally:
        workers.close()
        outside.close()
        pool.close()
