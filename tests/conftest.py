"""Real services for the tests: each is started when a test first asks for it, and stopped with the session.

The workers of pytest-xdist share one folder, so they share one server (`services/sharing.py`): the last worker that
leaves stops it. Tests that need a database take `database`; no test touches another one's.

Two marks are put on by what a test is: `service` (it takes a service, or lies in a folder whose tests start processes
or a browser; by hand where one test of another folder starts a program of some seconds) and `examples` (they are made
up, by Hypothesis or by a `seed`; HYPOTHESIS_PROFILE says how many).
"""

import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import settings

from harvester_dagster.services import launcher
from tests.databases import copied, copy, named

# Run by a script in the background, SIGINT is ignored, and with it, once Dagster is imported, SIGTERM: here and in
# every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)

HERE = Path(__file__).parent
SERVICES = {"postgres_url", "opensearch_url", "solr_url", "tika_url", "s3"}
STARTING = {"benchmarks", "campaign", "consumers", "dagster", "kills", "services", "web"}
"""Folders whose tests start processes or a browser themselves, or (nearly all of them) take a database."""
LONGEST = ("dagster", "benchmarks", "kills", "access", "search", "house", "outside", "tasks")
"""Folders with tests that take long: they come first, so that no worker is left with one in the end."""

for profile, examples in {"dev": 10, "ci": 100, "soak": 5_000}.items():
    settings.register_profile(
        profile,
        max_examples=examples,
        deadline=None,
        print_blob=True,
        derandomize=profile == "ci",  # a change is judged by the same examples each time; `make soak` looks for others
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where no service is wanted, folders of nothing else need not be imported: Dagster alone takes 3 s. What takes an
    hour runs when it is asked for."""
    folder, wanted = _folder(collection_path), config.option.markexpr
    is_left_out = (wanted == "not service" and folder in STARTING) or (folder == "campaign" and folder not in wanted)
    return True if is_left_out else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A history that a test makes up by `seed` is one for each 25 examples of the profile."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(max(1, settings().max_examples // 25)))


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(folder) if (folder := _folder(item.path)) in LONGEST else len(LONGEST))
    for item in items:
        if _folder(item.path) == "house":
            item.add_marker(pytest.mark.xdist_group("house"))  # they share what they have parsed
        if _needs_service(item):
            item.add_marker(pytest.mark.service)
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False) or "seed" in _parameters(item):
            item.add_marker(pytest.mark.examples)


def _needs_service(item: pytest.Item) -> bool:
    """By its fixtures, those of a fixture included; by a parameter, which a fixture may take as its service's name."""
    named = {value for value in _parameters(item).values() if isinstance(value, str)}
    taken = {*getattr(item, "fixturenames", ()), *named}
    return bool(SERVICES & taken) or _folder(item.path) in STARTING


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _folder(path: Path) -> str:
    """The folder of `tests/` that a path lies in, or is."""
    return path.relative_to(HERE).parts[0] if path != HERE and path.is_relative_to(HERE) else ""


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
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
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
                copy(postgres_url, "template0", "being_migrated")
                migrate(named(postgres_url, "being_migrated"))
                connection.execute("ALTER DATABASE being_migrated RENAME TO migrated")
    return "migrated"


@pytest.fixture
def database(postgres_url: str, migrated: str) -> Iterator[str]:
    """The URL of a database of the test's own, with the schema and without a row (a fifth of the time of migrating)."""
    with copied(postgres_url, migrated) as url:
        yield url


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    """The URL of a database of the test's own, without the schema."""
    with copied(postgres_url, "template0") as url:
        yield url


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
