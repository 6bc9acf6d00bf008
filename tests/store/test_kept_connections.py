"""Dagster's storages keep their connections, and notice those that are gone."""

import psycopg
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool, QueuePool

from harvester_dagster.cli.dagster_settings import storage_url


def _engine(url: str) -> Engine:
    """As dagster-postgres makes it."""
    return create_engine(storage_url(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)


def _backend(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def test_one_connection_serves_many_statements(empty_database: str) -> None:
    engine = _engine(empty_database)
    assert len({_backend(engine) for _ in range(20)}) == 1
    engine.dispose()


def test_a_connection_that_the_server_has_ended_is_made_anew(empty_database: str) -> None:
    engine = _engine(empty_database)
    before = _backend(engine)
    with psycopg.connect(empty_database) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (before,))
    assert _backend(engine) != before
    engine.dispose()


def test_connections_beyond_those_that_are_kept_are_closed(empty_database: str) -> None:
    engine = _engine(empty_database)
    held = [engine.connect() for _ in range(8)]
    for connection in held:
        connection.close()
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.checkedin() == 2
    engine.dispose()
