"""The way to Postgres: how a connection is made, pools of them, the schema brought up to date, COPY.

Belongs here: what holds for every connection (search path, how soon a loss is noticed) and every statement (COPY). Does
not belong here: a statement about documents, tasks or versions: these stand with their rules; which errors say that the
store is away (`away.py`).

Every `with pool.connection()` block is one transaction; there is no other way to commit in this project.
"""

import logging
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from psycopg import Connection, Cursor, OperationalError, sql
from psycopg.types.string import ByteaBinaryLoader, BytesBinaryDumper
from psycopg_pool import ConnectionPool

from harvester_dagster.failures import HarvesterError
from harvester_dagster.store.away import is_away

MIGRATIONS = Path(__file__).parent / "migrations"

Pool = ConnectionPool[Connection[tuple[Any, ...]]]
T = TypeVar("T")

READING_SECONDS = 30
"""Of one statement, for consumers: what takes longer is no page."""
_SESSION = {
    "search_path": "harvester,public",
    "jit": "off",
    # In UTC, so that times that are compared and added to are moments: a zone's have an hour that happens twice.
    "timezone": "UTC",
    # A session may hold a lock for hours and say nothing.
    "idle_session_timeout": "0",
    # The server learns within 40 s that a client's machine is gone, and frees its locks; by default after two hours.
    "tcp_keepalives_idle": "20",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "40000",
}
BACK_WITHIN = 300.0
"""Seconds; a server that recovers from a crash reads its log first."""
TRIED_EVERY = 1.0
"""Seconds: so often a pool whose store is away tries whether it is back."""
LOSS_NOTICED = {"keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 4, "connect_timeout": 10}
"""How soon a client of libpq notices that the other machine is gone; beside it `tcp_user_timeout`."""
ANSWERS_WITHIN = 30
"""Seconds in which what was sent is acknowledged."""


def making(name: str, *, answers_within: int = ANSWERS_WITHIN, **settings: str) -> dict[str, Any]:
    """How each connection of ours is made, as arguments of psycopg's `connect`: by what name the server knows it, and
    further settings of its session. Between two machines either side learns soon that the other one is gone: the client
    when what it has sent is not acknowledged for so many seconds (how long a statement may take is not limited by
    that), the server within 40 s."""
    options = " ".join(f"-c {key}={value}" for key, value in {**_SESSION, **settings}.items())
    return {"application_name": name, "options": options, "tcp_user_timeout": answers_within * 1000, **LOSS_NOTICED}


def connected(
    url: str, name: str, *, answers_within: int = ANSWERS_WITHIN, **settings: str
) -> Connection[tuple[Any, ...]]:
    """A connection of its own, beside the pools, that commits by itself (`making`)."""
    return Connection.connect(url, autocommit=True, **making(name, answers_within=answers_within, **settings))


def wait_for(url: str, seconds: float) -> None:
    """Until the store lets somebody in, and write. Raises psycopg.OperationalError when that takes longer, and at once
    where it would come again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            Connection.connect(url, target_session_attrs="read-write", **making("harvester")).close()
        except OperationalError as error:
            if not is_away(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def again(work: Callable[[], T], url: str, times: int = 10) -> T:
    """What `work` returns, begun anew up to so many times when the store at this URL was away, as soon as it is back.
    Raises what `work` does, and psycopg.OperationalError when the store stays away for BACK_WITHIN."""
    for _ in range(times):
        try:
            return work()
        except Exception as error:
            if not is_away(error):
                raise
        wait_for(url, BACK_WITHIN)
    return work()


def open_pool(url: str, max_size: int = 8) -> Pool:
    """A pool of at most `max_size` connections that see the schema `harvester`. Raises psycopg_pool.PoolTimeout when
    nothing has answered for 30 s."""
    pool = _opened(url, making("harvester"), min_size=1, max_size=max_size, configure=_configure)
    pool.wait(30)
    return pool


def open_reading_pool(url: str, max_size: int = 8) -> Pool:
    """A pool whose connections change nothing, each statement a transaction of its own (a third of the round trips),
    and none of more than READING_SECONDS. A connection is made when one is asked for."""
    limit = f"{READING_SECONDS}s"
    made = making("harvester api", default_transaction_read_only="on", statement_timeout=limit) | {"autocommit": True}
    return _opened(url, made, min_size=0, max_size=max_size, timeout=10)


def _opened(url: str, made: dict[str, Any], **options: Any) -> Pool:
    """A pool that hands out no connection whose backend has gone. That its store is away it tells whoever asks it for
    one, not the log each second."""
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

    def check(connection: Connection[tuple[Any, ...]]) -> None:
        if not _has_said_something(connection):
            return
        try:
            ConnectionPool.check_connection(connection)
        except OperationalError:
            pool.check()  # most often all have gone: the pool by itself would wait longer for each of them
            raise

    pool: Pool = ConnectionPool(
        url,
        kwargs=made,
        check=check,
        reconnect_timeout=TRIED_EVERY,
        reconnect_failed=ConnectionPool.check,  # and begins again: by itself it waits ever longer, up to two minutes
        open=True,
        **options,
    )
    return pool


def _has_said_something(connection: Connection[Any]) -> bool:
    """Whether there is something to be read on an idle connection: a backend that goes says so, others are silent. To
    look costs 1 µs, to ask each time 40."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


@contextmanager
def answering(connection: Connection[Any], seconds: float) -> Iterator[None]:
    """A block in which the server answers within so many seconds, else the connection is cut and whoever waits gets
    psycopg.OperationalError. A server that stands still ends no statement itself, and its machine acknowledges what it
    is sent: neither `statement_timeout` nor `tcp_user_timeout` ends that."""
    with socket.socket(fileno=os.dup(connection.fileno())) as way:

        def cut() -> None:
            with suppress(OSError):  # it has ended already
                way.shutdown(socket.SHUT_RDWR)

        deadline = threading.Timer(seconds, cut)
        deadline.daemon = True
        deadline.start()
        try:
            yield
        finally:
            deadline.cancel()
            deadline.join()


@contextmanager
def listening(url: str, channel: str) -> Iterator[Connection[tuple[Any, ...]]]:
    """A connection of its own that hears what is told on a channel. A server that does not answer for ten seconds is
    given up: else that would take the kernel a quarter of an hour."""
    with connected(
        url, "harvester promotions", answers_within=10, default_transaction_read_only="on", statement_timeout="10s"
    ) as connection:
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        yield connection


def _configure(connection: Connection[tuple[Any, ...]]) -> None:
    """Last registered, this dumper is COPY's for bytea; else it is that of the DB-API's `Binary`, in Python, which took
    a tenth of the time of making outputs."""
    connection.adapters.register_dumper(bytes, BytesBinaryDumper)


class OtherSchema(HarvesterError):
    """The store's schema is not the one of this code; the message names both, and what to do."""


class Migrated(NamedTuple):
    """The schema's version before (None: there was none) and now."""

    before: str | None
    now: str


def migrate(url: str) -> Migrated:
    """Bring the schema to this code's version, or make it. Costs one query when it is there already. Raises
    OtherSchema for one that a newer version made."""
    with connected(url, "harvester") as connection:
        before = _version(connection)
    made = Migrated(before, _newest())
    if before is not None and before not in _versions():
        raise _other(before)
    if before != made.now:
        _upgrade(url)
    return made


def make(url: str) -> None:
    """Make the schema where the store has none; one of whatever version stays as it is."""
    with connected(url, "harvester") as connection:
        is_new = _version(connection) is None
    if is_new:
        _upgrade(url)


def check(url: str) -> None:
    """That the schema is the one of this code. Raises OtherSchema."""
    with connected(url, "harvester") as connection:
        found = _version(connection)
    if found != _newest():
        raise _other(found)


def is_current(connection: Connection[Any]) -> bool:
    """Whether the schema is the one of this code."""
    return _version(connection) == _newest()


def _upgrade(url: str) -> None:
    from alembic import command
    from alembic.config import Config as AlembicConfig

    alembic = AlembicConfig(attributes={"url": re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)})
    alembic.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(alembic, "head")


def _other(found: str | None) -> OtherSchema:
    has = f"the store has schema {found}" if found else "the store has no schema"
    mend = "bring it there by `harvester store migrate` in the installation that runs its nights"
    if found is not None and found not in _versions():
        mend = "use the newer version that made it"
    return OtherSchema(f"{has}, and this version of the program works with {_newest()}", mend)


def _version(connection: Connection[Any]) -> str | None:
    if connection.execute("SELECT to_regclass('harvester.alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM harvester.alembic_version").fetchone()
    return row[0] if row else None


def _newest() -> str:
    return max(_versions())


def _versions() -> set[str]:
    """Those that this code knows, by the names of their files, without importing any."""
    return {path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py")}


def bytes_cursor(connection: Connection[Any]) -> Cursor[tuple[Any, ...]]:
    """Texts come as the bytes that they are stored as (UTF-8): what only passes through need not be decoded."""
    cursor = connection.cursor(binary=True)
    cursor.adapters.register_loader("text", ByteaBinaryLoader)
    return cursor


def analyze(connection: Connection[Any], table: str, added: int) -> None:
    """Let the planner know at once of a table that grew by a tenth or more (`added` rows); autovacuum takes a minute
    to."""
    row = connection.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", (table,)).fetchone()
    assert row is not None, table
    if added > max(row[0], 0) / 10:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))


def copy(
    connection: Connection[Any], table: str, columns: Sequence[str], types: Sequence[str], rows: Iterable[Sequence[Any]]
) -> int:
    """Write rows into a table by binary COPY; how many. `types` names the Postgres type of each column."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    count = 0
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        stream.set_types(types)
        for row in rows:
            stream.write_row(row)
            count += 1
    return count
