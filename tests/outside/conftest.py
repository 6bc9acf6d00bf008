"""A hostile server and a way out that may call it, for each test; a store for what is fetched."""

from collections.abc import Iterator

import pytest

from harvester_dagster.outside.http import Outside
from harvester_dagster.store.database import Pool, open_pool
from tests.databases import copied
from tests.outside.hostile_site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site()
    yield served
    served.close()


@pytest.fixture
def outside() -> Iterator[Outside]:
    """Loopback is allowed by its names only; retries come at once; no politeness."""
    with Outside(allow_hosts=("127.0.0.1", "localhost"), per_host_per_second=0, back_off=0.01) as way_out:
        yield way_out


@pytest.fixture(scope="session")
def fetch_store(postgres_url: str, migrated: str) -> Iterator[str]:
    """A database with the schema, shared by tests that each have URLs of their own."""
    with copied(postgres_url, migrated) as url:
        yield url


@pytest.fixture
def pool(fetch_store: str) -> Iterator[Pool]:
    with open_pool(fetch_store, max_size=6) as opened:
        yield opened
