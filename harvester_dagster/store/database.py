"""The way to Postgres: a pool of connections, the schema brought up to date, COPY.

Belongs here: what holds for every statement (search path, COPY). Does not belong here: a statement about
documents, tasks or versions: these stand with their rules.

Every `with pool.connection()` block is one transaction; there is no other way to commit in this project.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import Connection, Cursor, sql
from psycopg.types.string import ByteaBinaryLoader, BytesBinaryDumper
from psycopg_pool import ConnectionPool

from harvester_dagster.failures import HarvesterError

MIGRATIONS = Path(__file__).parent / "migrations"

Pool = ConnectionPool[Connection[tuple[Any, ...]]]


READING_SECONDS = 30
"""Of one statement, for consumers: what takes longer is no page."""


def open_pool(url: str, max_size: int = 8) -> Pool:
    """A pool of at most `max_size` connections that see the schema `harvester`. Raises psycopg_pool.PoolTimeout when
    nothing has answered for 30 s."""
    pool: Pool = ConnectionPool(
        url,
        min_size=1,
        max_size=max_size,
        # In UTC, so that times that are compared and added to are moments: a zone's have an hour that happens twice.
        kwargs={
            "options": "-c search_path=harvester,public -c jit=off -c timezone=UTC",
            "application_name": "harvester",
        },
        configure=_configure,
        open=True,
    )
    pool.wait(30)
    return pool


def open_reading_pool(url: str, max_size: int = 8) -> Pool:
    """A pool whose connections change nothing, each statement a transaction of its own (a third of the round trips),
    and none of more than READING_SECONDS. A connection is made when one is asked for."""
    pool: Pool = ConnectionPool(
        url,
        min_size=0,
        max_size=max_size,
        timeout=10,
        kwargs={
            "options": "-c search_path=harvester,public -c jit=off -c timezone=UTC "
            f"-c default_transaction_read_only=on -c statement_timeout={READING_SECONDS}s",
            "application_name": "harvester api",
            "autocommit": True,
        },
        open=True,
    )
    return pool


@contextmanager
def listening(url: str, channel: str) -> Iterator[Connection[tuple[Any, ...]]]:
    """A connection of its own that hears what is told on a channel. A server that does not answer for ten seconds is
    given up: else that would take the kernel a quarter of an hour."""
    with Connection.connect(
        url,
        autocommit=True,
        options="-c search_path=harvester,public -c timezone=UTC -c default_transaction_read_only=on "
        "-c statement_timeout=10s",
        application_name="harvester promotions",
        connect_timeout=5,
        tcp_user_timeout=10_000,
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
    with Connection.connect(url) as connection:
        before = _version(connection)
    made = Migrated(before, _newest())
    if before is not None and before not in _versions():
        raise _other(before)
    if before != made.now:
        _upgrade(url)
    return made


def make(url: str) -> None:
    """Make the schema where the store has none; one of whatever version stays as it is."""
    with Connection.connect(url) as connection:
        is_new = _version(connection) is None
    if is_new:
        _upgrade(url)


def check(url: str) -> None:
    """That the schema is the one of this code. Raises OtherSchema."""
    with Connection.connect(url) as connection:
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
