"""The way to Postgres: a pool of connections, the schema brought up to date, locks.

Belongs here: what holds for every statement (search path, locks, COPY). Does not belong here: a statement about
documents, tasks or versions: these stand with their rules.

Every `with pool.connection()` block is one transaction; there is no other way to commit in this project.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import Connection, sql
from psycopg.errors import QueryCanceled
from psycopg.types.string import BytesBinaryDumper
from psycopg_pool import ConnectionPool

MIGRATIONS = Path(__file__).parent / "migrations"
SET_LOCKS = 7_405_002
"""First key of the advisory locks per set; the second is the set's id."""

Pool = ConnectionPool[Connection[tuple[Any, ...]]]


class Busy(Exception):
    """Another run holds the lock; the message says which and what to do."""


def open_pool(url: str, max_size: int = 8) -> Pool:
    """A pool whose connections see the schema `harvester`. Raises psycopg_pool.PoolTimeout when nothing answers."""
    pool: Pool = ConnectionPool(
        url,
        min_size=1,
        max_size=max_size,
        kwargs={"options": "-c search_path=harvester,public -c jit=off", "application_name": "harvester"},
        configure=_configure,
        open=True,
    )
    pool.wait(30)
    return pool


def _configure(connection: Connection[tuple[Any, ...]]) -> None:
    """Last registered, this dumper is COPY's for bytea; else it is that of the DB-API's `Binary`, in Python, which took
    a tenth of the time of making outputs."""
    connection.adapters.register_dumper(bytes, BytesBinaryDumper)


def migrate(url: str) -> None:
    """Bring the schema to this code's version. Costs one query when it is there already."""
    with Connection.connect(url) as connection:
        if _version(connection) == _head():
            return
    from alembic import command
    from alembic.config import Config as AlembicConfig

    alembic = AlembicConfig(attributes={"url": re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)})
    alembic.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(alembic, "head")


def _version(connection: Connection[Any]) -> str | None:
    if connection.execute("SELECT to_regclass('harvester.alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM harvester.alembic_version").fetchone()
    return row[0] if row else None


def _head() -> str:
    return max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


@contextmanager
def set_lock(pool: Pool, set_id: int, key: str, patience: float = 600) -> Iterator[None]:
    """Hold the set's advisory lock; it goes with the connection, so a killed holder leaves none. Raises Busy."""
    with pool.connection() as connection:
        connection.autocommit = True
        try:
            connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(int(patience * 1000))))
            try:
                connection.execute("SELECT pg_advisory_lock(%s, %s)", (SET_LOCKS, set_id))
            except QueryCanceled:
                raise
            except Exception as error:
                if getattr(error, "sqlstate", None) != "55P03":
                    raise
                raise Busy(
                    f"{key}: another run has worked on this set for {patience:.0f} s; look at the runs with the tag "
                    f"harvest/set={key} and run this one again when that has ended"
                ) from None
            try:
                yield
            finally:
                if not connection.closed:
                    connection.execute("SELECT pg_advisory_unlock(%s, %s)", (SET_LOCKS, set_id))
        finally:
            if not connection.closed:
                connection.execute("RESET lock_timeout")
                connection.autocommit = False


def analyze(connection: Connection[Any], table: str, added: int) -> None:
    """Let the planner know at once of a table that grew by a tenth or more; autovacuum takes a minute to."""
    row = connection.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", (table,)).fetchone()
    assert row is not None, table
    if added > max(row[0], 0) / 10:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))


def copy(
    connection: Connection[Any], table: str, columns: Sequence[str], types: Sequence[str], rows: Iterable[Sequence[Any]]
) -> int:
    """Binary COPY of rows into a table; how many."""
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
