"""Dagster's storages keep their connections, and go on when those end, at any moment."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.pool import NullPool, QueuePool

from harvester_dagster.cli.dagster_settings import storage_url


@pytest.fixture
def engine(empty_database: str) -> Iterator[Engine]:
    """As dagster-postgres makes it."""
    made = create_engine(storage_url(empty_database), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    yield made
    made.dispose()


def _backend(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def _end(url: str, pid: int) -> None:
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


def test_one_connection_serves_many_statements(engine: Engine) -> None:
    assert len({_backend(engine) for _ in range(20)}) == 1


def test_a_connection_that_the_server_has_ended_is_made_anew(engine: Engine, empty_database: str) -> None:
    before = _backend(engine)
    _end(empty_database, before)
    assert _backend(engine) != before


def test_connections_beyond_those_that_are_kept_are_closed(engine: Engine) -> None:
    held = [engine.connect() for _ in range(8)]
    for connection in held:
        connection.close()
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.checkedin() == 2


def test_a_machine_that_is_gone_is_noticed_soon(engine: Engine, empty_database: str) -> None:
    def made(engine: Engine) -> dict[str, str]:
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            return dict(driver.info.dsn_parameters)

    expected = {"connect_timeout": "10", "keepalives_idle": "20", "tcp_user_timeout": "30000"}
    assert expected.items() <= made(engine).items()
    other = create_engine(f"{storage_url(empty_database)}&connect_timeout=7", poolclass=NullPool)
    assert made(other)["connect_timeout"] == "7", "whoever names another one has that"
    other.dispose()


def test_a_session_that_ends_between_two_statements_or_in_one_ends_neither(engine: Engine, empty_database: str) -> None:
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE kept (number int)"))
        for number in range(3):
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            _end(empty_database, pid)
            connection.execute(text("INSERT INTO kept VALUES (:number)"), {"number": number})
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        timer = threading.Timer(0.3, _end, (empty_database, pid))
        timer.start()
        slept = connection.execute(text("SELECT 'slept' FROM pg_sleep(1)")).scalar_one()
        timer.join()
        assert slept == "slept"
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != pid
        assert [number for (number,) in connection.execute(text("SELECT number FROM kept"))] == [0, 1, 2]


def test_what_fails_by_itself_is_done_once(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(ProgrammingError, match="division_by_zero_is_none"):
        connection.execute(text("SELECT division_by_zero_is_none"))


def _cut_in_the_middle(engine: Engine, url: str) -> list[int]:
    """What is stored of a transaction whose session ended before its second statement."""
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE whole (number int)")
    with engine.connect() as connection:
        connection = connection.execution_options(isolation_level="READ COMMITTED")
        with pytest.raises(DBAPIError), connection.begin():
            connection.execute(text("INSERT INTO whole VALUES (1)"))
            _end(url, connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            connection.execute(text("INSERT INTO whole VALUES (2)"))
    with engine.connect() as connection:
        return [number for (number,) in connection.execute(text("SELECT number FROM whole"))]


def test_a_transaction_does_not_go_on_in_its_middle(engine: Engine, empty_database: str) -> None:
    assert _cut_in_the_middle(engine, empty_database) == []


def test_an_engine_that_does_not_commit_each_statement_is_left_as_it_is(empty_database: str) -> None:
    engine = create_engine(storage_url(empty_database))
    assert _cut_in_the_middle(engine, empty_database) == []
    engine.dispose()


def test_a_store_that_is_not_there_is_waited_for(empty_database: str) -> None:
    engine = create_engine(storage_url("postgresql://127.0.0.1:9/none"), isolation_level="AUTOCOMMIT")
    begun = time.monotonic()
    with pytest.raises(DBAPIError, match="refused"):
        engine.connect()
    assert 10 <= time.monotonic() - begun < 60
