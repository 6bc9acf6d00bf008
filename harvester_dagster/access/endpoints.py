"""The endpoints that the installation names, and what is opened to work with one.

Belongs here: finding an endpoint by its name or its URL (and no other one), the bundled Solr where no URL is
configured, the ways out. Does not belong here: what is done with an endpoint.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from harvester_dagster.access import sample
from harvester_dagster.access.enricher import Enricher
from harvester_dagster.access.solr import Solr
from harvester_dagster.config import Config, home
from harvester_dagster.outside.outside import Outside
from harvester_dagster.store.database import Pool

_UNHURRIED = 1e9
"""Calls a second: how fast an endpoint is asked is found by `pace.py`, not set by politeness to strangers."""


class UnknownEndpoint(ValueError):
    """Not one of those that the installation names."""


def named(config: Config, endpoint: str) -> str:
    """The name of an endpoint that is given by its name or its URL. Raises UnknownEndpoint."""
    if endpoint in config.metastore:
        return endpoint
    for name, settings in config.metastore.items():
        if settings.url and endpoint.rstrip("/") in (
            settings.url.rstrip("/"),
            f"{settings.url.rstrip('/')}/{settings.collection}",
        ):
            return name
    names = ", ".join(config.metastore) or "none"
    raise UnknownEndpoint(f"{endpoint[:200]!r} is not an endpoint of this installation; configured: {names}")


def only(config: Config) -> str:
    """The endpoint that is meant when none is named. Raises UnknownEndpoint unless there is exactly one."""
    if len(config.metastore) == 1:
        return next(iter(config.metastore))
    raise UnknownEndpoint(
        f"name one of the endpoints: {', '.join(config.metastore)}"
        if config.metastore
        else "no endpoint is configured; add a table [metastore.NAME] to harvester.toml"
    )


@contextmanager
def opened(
    config: Config, endpoint: str, pool: Pool, clock: Callable[[], datetime], state: Path | None = None
) -> Iterator[Enricher]:
    """Everything for work on an endpoint. The bundled Solr is started (or shared) where no URL is configured.

    Raises UnknownEndpoint, and `services.launcher.Unavailable` when the bundled Solr cannot be had.
    """
    name = named(config, endpoint)
    settings = config.metastore[name]
    with ExitStack() as stack:
        bundled = not settings.url
        if bundled:
            from harvester_dagster.services import launcher

            url = stack.enter_context(launcher.solr(state or home()))
            settings = settings.model_copy(update={"url": url})
        host = urlsplit(settings.url).hostname or ""
        agent = config.network.user_agent
        solr_way = Outside(allow_hosts=(host,), per_host_per_second=_UNHURRIED, user_agent=agent)
        polite_way = Outside(
            allow_hosts=config.network.allow_hosts,
            per_host_per_second=config.network.per_host_per_second,
            user_agent=agent,
        )
        solr = Solr(name, settings, stack.enter_context(solr_way))
        if bundled and not solr.count(()):
            load(solr, list(sample.documents()))
        yield Enricher(pool, solr, settings, stack.enter_context(polite_way), config.zone, clock)


def load(solr: Solr, documents: Sequence[sample.Fields], batch: int = 2_000) -> None:
    """Put whole documents into a collection, for samples."""
    for at in range(0, len(documents), batch):
        solr.add(msgspec.json.encode(documents[at : at + batch]))
    solr.commit()
