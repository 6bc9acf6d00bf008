"""Real services for the tests: each is started when a test first asks for it, and stopped with the session.

The workers of pytest-xdist share one folder, so they share one server (`services/sharing.py`): the last worker that
leaves stops it. Tests that need a database take `database`; no test touches another one's.
"""

import contextlib
import fcntl
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from harvester_dagster.services import launcher

# Run by a script in the background, SIGINT is ignored, and with it, once Dagster is imported, SIGTERM: here and in
# every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture(scope="session")
def services_state(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    base = tmp_path_factory.getbasetemp()
    state = (base if worker_id == "master" else base.parent) / "services"
    state.mkdir(exist_ok=True)
    return state


@pytest.fixture(scope="session")
def postgres_url(services_state: Path) -> Iterator[str]:
    """A server for the session; what it keeps need not survive a power cut, which makes commits cheap."""
    with launcher.postgres(services_state) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url


@pytest.fixture(scope="session")
def migrated(postgres_url: str, services_state: Path) -> str:
    """The name of a database with the project's schema, made once for all workers, to be copied."""
    from harvester_dagster.store.database import migrate

    with (services_state / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = 'migrated'").rowcount == 0:
                connection.execute("CREATE DATABASE being_migrated TEMPLATE template0")
                migrate(_named(postgres_url, "being_migrated"))
                connection.execute("ALTER DATABASE being_migrated RENAME TO migrated")
    return "migrated"


@pytest.fixture
def database(postgres_url: str, migrated: str) -> Iterator[str]:
    """The URL of a database of the test's own, with the schema and without a row (a fifth of the time of migrating)."""
    with _copy_of(migrated, postgres_url) as url:
        yield url


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    """The URL of a database of the test's own, without the schema."""
    with _copy_of("template0", postgres_url) as url:
        yield url


@contextlib.contextmanager
def _copy_of(template: str, postgres_url: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _named(postgres_url, name)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _named(postgres_url: str, name: str) -> str:
    return postgres_url.replace("/harvester?", f"/{name}?")


@pytest.fixture(scope="session")
def opensearch_url(services_state: Path) -> Iterator[str]:
    """One OpenSearch for the session (8 s to start): name indices after the test."""
    with launcher.opensearch(services_state) as url:
        yield url


@pytest.fixture(scope="session")
def solr_url(services_state: Path) -> Iterator[str]:
    """One Solr for the session with one collection, `metastore`: tests that write to it take `solr_lock` too."""
    with launcher.solr(services_state) as url:
        yield url


@pytest.fixture
def solr_lock(services_state: Path) -> Iterator[None]:
    """Alone with the collection, among all workers."""
    with (services_state / "solr-collection.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def tika_url(services_state: Path) -> Iterator[str]:
    with launcher.tika(services_state) as url:
        yield url


@pytest.fixture(scope="session")
def s3(services_state: Path) -> Iterator[launcher.S3Endpoint]:
    """One S3 for the session: name buckets after the test."""
    with launcher.s3(services_state) as endpoint:
        yield endpoint
