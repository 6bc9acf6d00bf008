"""A hostile server and a way out that may call it, for each test; a store for what is fetched."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from harvester_dagster.outside.http import Outside
from harvester_dagster.store.database import Pool, migrate, open_pool
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
def fetch_store(postgres_url: str) -> Iterator[str]:
    """A database with the schema, shared by tests that each have URLs of their own."""
    name = f"outside_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        url = postgres_url.replace("/harvester?", f"/{name}?")
        migrate(url)
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def pool(fetch_store: str) -> Iterator[Pool]:
    with open_pool(fetch_store, max_size=6) as opened:
        yield opened
