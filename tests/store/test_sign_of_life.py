"""The sign that a run lives: there from its first step to its last, whatever becomes of single connections."""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester_dagster.store import sign_of_life
from harvester_dagster.store.locks import give_back, keys_held, run_key, try_take

RUN = "0b0e6f6c-9c1a-4f0e-8b65-0d7c7b9b8f10"


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


@pytest.fixture
def watcher(empty_database: str) -> psycopg.Connection:
    return psycopg.connect(empty_database, autocommit=True)


def test_it_is_there_while_the_run_goes_on_and_no_longer(empty_database: str, watcher: psycopg.Connection) -> None:
    with sign_of_life.shown(empty_database, RUN):
        assert keys_held(watcher) == {run_key(RUN)}
    assert eventually(lambda: not keys_held(watcher))


def test_whoever_loses_its_connection_has_it_anew(empty_database: str, watcher: psycopg.Connection) -> None:
    def holders() -> set[int]:
        query = """SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        return {pid for (pid,) in watcher.execute(query)}

    with sign_of_life.shown(empty_database, RUN, renew_seconds=0.1):
        for _ in range(3):
            (lost,) = holders()
            watcher.execute("SELECT pg_terminate_backend(%s)", (lost,))
            assert eventually(partial(lambda lost: bool(holders() - {lost}), lost))
            assert keys_held(watcher) == {run_key(RUN)}


def test_a_store_that_cannot_be_reached_ends_no_run() -> None:
    with sign_of_life.shown("postgresql://127.0.0.1:9/none?connect_timeout=1", RUN, renew_seconds=0.05):
        time.sleep(0.3)


def test_of_a_killed_process_it_is_gone_at_once(empty_database: str, watcher: psycopg.Connection) -> None:
    called = f"shown({empty_database!r}, {RUN!r})"
    script = f"from {sign_of_life.__name__} import shown; import time\nwith {called}: time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        assert eventually(lambda: keys_held(watcher) == {run_key(RUN)})
    finally:
        process.kill()
        process.wait()
    assert eventually(lambda: not keys_held(watcher), 2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, -1, 2**32, -(2**32), 2**31, 2**63 - 1])))
def test_every_key_is_seen_as_it_was_taken(watcher: psycopg.Connection, key: int) -> None:
    assert try_take(watcher, key)
    try:
        assert keys_held(watcher) == {key}
    finally:
        give_back(watcher, key)
