"""Advisory locks: their numbers for good, who waits for whom, and what becomes of a killed holder's."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from harvester_dagster.store import locks
from harvester_dagster.store.database import open_pool
from harvester_dagster.store.locks import Busy, Lock, held

ROOT = Path(__file__).parents[2]


@contextmanager
def connected(url: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def test_the_numbers_are_those_that_running_processes_of_another_release_take() -> None:
    assert {lock.name: int(lock) for lock in Lock} == {
        "MIGRATION": 7_405_001,
        "SET": 7_405_002,
        "PROMOTION": 7_405_003,
        "INDICES": 7_405_004,
        "SOURCE": 7_405_005,
        "ALERTS": 7_405_007,
        "PUSHES": 7_405_008,
        "ENDPOINT": 7_405_060,
    }
    assert locks.url_key("https://example.org/a.pdf") == -7_087_217_089_119_703_128


def test_no_other_file_takes_a_lock_or_has_a_number_of_its_own() -> None:
    folders = ("harvester_dagster", "assets", "resources", "sensors", "benchmarks")
    files = {path for folder in folders for suffix in ("py", "sql") for path in (ROOT / folder).rglob(f"*.{suffix}")}
    own = re.compile(r"advisory_(xact_)?(un)?lock|\b7_?405_?\d{3}\b")
    assert [path.relative_to(ROOT) for path in files if own.search(path.read_text("utf-8"))] == [
        Path("harvester_dagster/store/locks.py")
    ]


@pytest.mark.parametrize("key", [(Lock.INDICES,), (Lock.SET, 3)])
def test_a_lock_that_is_held_is_waited_for_as_long_as_was_said(empty_database: str, key: tuple[int, ...]) -> None:
    with connected(empty_database) as one, connected(empty_database) as other:
        with held(one, *key):
            for patience in (0.0, 0.3):
                began = time.monotonic()
                with pytest.raises(Busy), held(other, *key, patience=patience):
                    pass
                assert patience <= time.monotonic() - began < patience + 5
            with (
                pytest.raises(ValueError, match="the caller's"),
                held(other, *key, patience=0, busy=ValueError("the caller's")),
            ):
                pass
        for patience in (0.0, 0.3):
            with held(other, *key, patience=patience):
                assert not locks.try_take(one, *key)
        assert other.execute("SHOW lock_timeout").fetchone() == ("0",), "it is for the lock only"


def test_pairs_and_single_keys_do_not_meet(empty_database: str) -> None:
    with connected(empty_database) as one, connected(empty_database) as other, held(one, Lock.SET, 1):
        for key in ((Lock.SET, 2), (Lock.ENDPOINT, 1), (Lock.SET,)):
            with held(other, *key, patience=0):
                pass


def test_an_error_lets_go(empty_database: str) -> None:
    with connected(empty_database) as one, connected(empty_database) as other:
        with pytest.raises(ZeroDivisionError), held(one, Lock.INDICES):
            raise ZeroDivisionError
        with held(other, Lock.INDICES, patience=0):
            pass


def test_a_killed_holder_leaves_no_lock(empty_database: str) -> None:
    with connected(empty_database) as one, connected(empty_database) as other:
        with pytest.raises(psycopg.OperationalError), held(one, Lock.SET, 1):
            other.execute("SELECT pg_terminate_backend(%s)", (one.info.backend_pid,))
            with held(other, Lock.SET, 1, patience=5):
                one.execute("SELECT 1")
        with held(other, Lock.SET, 1, patience=0):
            pass


def test_a_lock_of_a_transaction_goes_with_it(empty_database: str) -> None:
    with connected(empty_database) as one, connected(empty_database) as other:
        with one.transaction():
            locks.take_until_end(one, Lock.PROMOTION)
            with other.transaction():
                assert not locks.try_take_until_end(other, Lock.PROMOTION)
        with other.transaction():
            assert locks.try_take_until_end(other, Lock.PROMOTION)


def test_whoever_holds_a_lock_or_waits_for_one_leaves_the_pool_its_connections(empty_database: str) -> None:
    with open_pool(empty_database, max_size=1) as pool:
        with locks.session(pool) as holder, held(holder, Lock.INDICES, patience=1):
            with locks.session(pool) as waiter, pytest.raises(Busy), held(waiter, Lock.INDICES, patience=0.1):
                pass
            with pool.connection(timeout=1) as connection:
                assert not locks.try_take_until_end(connection, Lock.INDICES)
        with pool.connection(timeout=1) as connection:
            assert locks.try_take_until_end(connection, Lock.INDICES)
