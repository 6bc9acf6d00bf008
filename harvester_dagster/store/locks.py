"""Advisory locks: every number that this project takes in a database, and the ways to take one.

A lock of a session goes with its connection, so a killed holder leaves none; one of a transaction goes with its end.
PostgreSQL keeps single keys and pairs of keys apart: a pair is a lock's number and the id of what it guards. Processes
of another release wait for the same numbers: they never change.

Belongs here: numbers, waiting, letting go. Does not belong here: what is done under a lock.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum, unique
from typing import Any

from psycopg import Connection, OperationalError, sql
from psycopg.errors import LockNotAvailable

from harvester_dagster.failures import HarvesterError
from harvester_dagster.store.database import Pool, connected


@unique
class Lock(IntEnum):
    """The number of each kind of lock."""

    MIGRATION = 7_405_001
    """The schema: one process brings it up to date."""
    SET = 7_405_002
    """With a set's id: one run works on a set."""
    PROMOTION = 7_405_003
    """Dataset versions: they are prepared and become current one after another."""
    INDICES = 7_405_004
    """This store's search indices: one piece of work at a time."""
    SOURCE = 7_405_005
    """With a hash of a source's name and a slot's number: so many sets of one source are asked for at once. Where two
    sources should share one, they wait for each other once in a while."""
    ALERTS = 7_405_007
    """Telling people what was done: one process at a time, so that each hears of it once."""
    PUSHES = 7_405_008
    """Rounds over what was pushed: one worker at a time, so that each set has its rest."""
    ENDPOINT = 7_405_060
    """With an endpoint's id: one run of the access enricher."""


_URL_SALT, _RUN_SALT = b"7405003", b"7405006"
"""Not locks: the salts of the keys of URLs and of runs, which may be any single key."""


class Busy(HarvesterError):
    """Another run holds the lock; the message says which and what to do."""


def url_key(url: str) -> int:
    """The single key under which processes take turns at a URL."""
    return _key_of(url, _URL_SALT)


def run_key(run_id: str) -> int:
    """The single key that a run holds from its first step to its last (`sign_of_life.py`)."""
    return _key_of(run_id, _RUN_SALT)


def _key_of(text: str, salt: bytes) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8, salt=salt).digest()
    return int.from_bytes(digest, signed=True)


def keys_held(connection: Connection[Any]) -> set[int]:
    """The single keys that anybody holds in this database now; looking takes none."""
    rows = connection.execute(
        """SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
           WHERE locktype = 'advisory' AND objsubid = 1 AND granted
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    )
    return {key for (key,) in rows}


@contextmanager
def held(
    connection: Connection[Any], *key: int, patience: float | None = None, busy: Exception | None = None
) -> Iterator[None]:
    """Hold a lock of the session, whose connection commits by itself and does nothing that must not wait.

    `patience`: seconds to wait for it, 0: it must be free, None: as long as it takes. Raises `busy` (Busy, where none
    is given) when that was not enough.
    """
    if not _taken(connection, key, patience):
        raise busy or Busy(f"another process has held the lock {key} for {patience:.0f} s")
    try:
        yield
    finally:
        with suppress(OperationalError):  # it went with its connection, and what was done is done
            give_back(connection, *key)


@contextmanager
def session(pool: Pool) -> Iterator[Connection[Any]]:
    """A connection that commits by itself, for as long as locks are held on it. It is none of the pool's (3 ms more):
    those who wait for a lock would keep these from the one that holds it, and works."""
    with connected(str(pool.conninfo), "harvester lock") as connection:
        yield connection


def _taken(connection: Connection[Any], key: tuple[int, ...], patience: float | None) -> bool:
    if patience is not None and patience <= 0:
        return try_take(connection, *key)
    milliseconds = 0 if patience is None else max(int(patience * 1000), 1)
    connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(milliseconds)))
    try:
        _call(connection, "pg_advisory_lock", key)
    except LockNotAvailable:
        return False
    finally:
        if not connection.closed:
            connection.execute("RESET lock_timeout")
    return True


def try_take(connection: Connection[Any], *key: int) -> bool:
    """Take a lock of the session if it is free; whether it was."""
    return _call(connection, "pg_try_advisory_lock", key) is True


def give_back(connection: Connection[Any], *key: int) -> bool:
    """Let go of a lock of the session; whether it was held."""
    return _call(connection, "pg_advisory_unlock", key) is True


def take_until_end(connection: Connection[Any], *key: int) -> None:
    """Wait for a lock, held until the transaction ends."""
    _call(connection, "pg_advisory_xact_lock", key)


def try_take_until_end(connection: Connection[Any], *key: int) -> bool:
    """Take a lock until the transaction ends, if it is free; whether it was."""
    return _call(connection, "pg_try_advisory_xact_lock", key) is True


def _call(connection: Connection[Any], function: str, key: tuple[int, ...]) -> Any:
    places = sql.SQL(", ").join([sql.Placeholder()] * len(key))
    row = connection.execute(sql.SQL("SELECT {}({})").format(sql.Identifier(function), places), key).fetchone()
    return row[0] if row else None
