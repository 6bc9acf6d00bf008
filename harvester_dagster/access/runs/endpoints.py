"""The endpoints that the installation names, and what is opened to work with one.

Belongs here: finding a configured endpoint by its name or its URL, the bundled Solr where no URL is configured, the
ways out. Does not belong here: what is done with an endpoint.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from harvester_dagster.access.runs.enricher import Enricher
from harvester_dagster.access.solr.collection import Solr
from harvester_dagster.config import Config, home
from harvester_dagster.failures import HarvesterError
from harvester_dagster.outside import origins
from harvester_dagster.outside.http import Outside
from harvester_dagster.store.database import Pool

_UNHURRIED = 1e9
"""Calls a second: how fast an endpoint is asked is found by `write_rate.py`, not set by politeness to strangers."""


class UnknownEndpoint(HarvesterError):
    """The endpoint is not one of those that the installation names; the message lists them."""


def named(config: Config, endpoint: str) -> str:
    """The name of a configured endpoint that is given by its name or its URL (with or without the collection).
    Raises UnknownEndpoint."""
    if endpoint in config.metastore:
        return endpoint
    for name, settings in config.metastore.items():
        if settings.url and endpoint.rstrip("/") in (
            settings.url.rstrip("/"),
            f"{settings.url.rstrip('/')}/{settings.collection}",
        ):
            return name
    names = ", ".join(config.metastore) or "none"
    raise UnknownEndpoint(f"{endpoint[:200]!r} is not an endpoint of this installation", f"configured: {names}")


def only(config: Config) -> str:
    """The endpoint that is meant when none is named. Raises UnknownEndpoint unless there is exactly one."""
    if len(config.metastore) == 1:
        return next(iter(config.metastore))
    if config.metastore:
        raise UnknownEndpoint("several endpoints are configured", f"name one of them: {', '.join(config.metastore)}")
    raise UnknownEndpoint("no endpoint is configured", "add a table [metastore.NAME] to harvester.toml")


@contextmanager
def opened(
    config: Config, endpoint: str, pool: Pool, clock: Callable[[], datetime], state: Path | None = None
) -> Iterator[Enricher]:
    """All that work on an endpoint needs, for as long as the block lasts. The bundled Solr is started (or shared) where
    no URL is configured; its data is in `state` (the installation's home unless given).

    Raises UnknownEndpoint, and `services.launcher.Unavailable` when the bundled Solr cannot be had.
    """
    name = named(config, endpoint)
    settings = config.metastore[name]
    with ExitStack() as stack:
        if not settings.url:
            from harvester_dagster.services import launcher

            url = stack.enter_context(launcher.solr(state or home()))
            settings = settings.model_copy(update={"url": url})
        host = urlsplit(settings.url).hostname or ""
        agent = config.network.user_agent
        solr_way = Outside(allow_hosts=(host,), per_host_per_second=_UNHURRIED, user_agent=agent)
        polite_way = Outside(
            allow_hosts=origins.opened(config),
            per_host_per_second=config.network.per_host_per_second,
            user_agent=agent,
            pace_folder=home() / "pace",
        )
        solr = Solr(name, settings, stack.enter_context(solr_way))
        yield Enricher(pool, solr, settings, stack.enter_context(polite_way), config.zone, clock)
