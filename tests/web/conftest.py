"""The web application on a real port, over a real Solr and PostgreSQL of the test's own."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from harvester_dagster.config import Config, Metastore, Web
from harvester_dagster.store.database import Pool
from harvester_dagster.web.access_pages import AccessPages
from harvester_dagster.web.app import create_app
from harvester_dagster.web.launching import ThreadRuns
from tests.access.conftest import Collection, collection, pool
from tests.access.meddling import Proxy, meddling
from tests.served import served

__all__ = ["collection", "pool"]


class Site(NamedTuple):
    url: str
    collection: Collection
    proxy: Proxy
    pool: Pool


@pytest.fixture
def proxy(solr_url: str) -> Iterator[Proxy]:
    with meddling(solr_url) as found:
        yield found


@pytest.fixture
def site(collection: Collection, pool: Pool, proxy: Proxy) -> Iterator[Site]:
    config = Config(metastore={"dtu": Metastore(url=proxy.url, collection=collection.name, page_size=100)})

    def clock() -> datetime:
        return datetime.now(UTC)

    app = create_app(Web(), AccessPages(config, pool, clock, ThreadRuns(config, pool, clock)).routes())
    with served(app) as url:
        yield Site(url, collection, proxy, pool)
