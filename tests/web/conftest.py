"""The web application on a real port, over a real Solr and PostgreSQL of the test's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from playwright.sync_api import Page

from harvester_dagster.config import Config, Metastore, Web
from harvester_dagster.store.database import Pool
from harvester_dagster.web.access_pages import AccessPages
from harvester_dagster.web.access_run_pages import AccessRunPages
from harvester_dagster.web.app import create_app
from harvester_dagster.web.launching import ThreadRuns
from harvester_dagster.web.what_if_page import WhatIfPage
from tests.access.conftest import Collection, collection, pool
from tests.access.meddling import Proxy, meddling
from tests.served import served
from tests.web.listening import opened_page

__all__ = ["collection", "pool"]


class Site(NamedTuple):
    url: str
    collection: Collection
    proxy: Proxy
    pool: Pool


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in a real browser; some tests have one of their own."""
    with opened_page() as found:
        yield found


@pytest.fixture
def proxy(solr_url: str) -> Iterator[Proxy]:
    with meddling(solr_url) as found:
        yield found


@pytest.fixture
def site(collection: Collection, pool: Pool, proxy: Proxy) -> Iterator[Site]:
    with access_pages(pool, proxy.url, collection.name, "dtu") as url:
        yield Site(url, collection, proxy, pool)


@contextmanager
def access_pages(pool: Pool, solr_url: str, collection: str, *names: str) -> Iterator[str]:
    """The enricher's pages of endpoints of these names; their address."""
    metastore = {name: Metastore(url=solr_url, collection=collection, page_size=100) for name in names}
    config, dagster = Config(metastore=metastore), "http://dagster.example:3000"

    def clock() -> datetime:
        return datetime.now(UTC)

    routes = [
        *AccessPages(config, pool, clock, ThreadRuns(config, pool, clock), dagster).routes(),
        *AccessRunPages(config, pool, dagster).routes(),
        *WhatIfPage(config, pool, clock, dagster).routes(),
    ]
    with served(create_app(Web(), routes)) as url:
        yield url
