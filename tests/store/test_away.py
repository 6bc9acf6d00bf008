"""Which errors say that the store was away, of real sessions that end, and that what is begun anew comes to its end."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from psycopg import errors
from psycopg_pool import PoolTimeout
from sqlalchemy import create_engine, text

from harvester_dagster.services import launcher
from harvester_dagster.store import database
from harvester_dagster.store.away import is_away, overlooked
from harvester_dagster.store.database import Pool, open_pool
from tests.sessions import Ender


def _end(url: str, pid: int) -> None:
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


def _raised(work: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as found:
        work()
    return found.value


def test_a_session_that_was_ended_and_a_server_that_is_not_there(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        _end(empty_database, connection.info.backend_pid)
        first = _raised(lambda: connection.execute("SELECT 1"))
        again = _raised(lambda: connection.execute("SELECT 1"))
    assert is_away(first) and is_away(again)
    assert is_away(_raised(lambda: psycopg.connect("postgresql://127.0.0.1:9/none")))


def test_one_that_dagsters_driver_has_lost(empty_database: str) -> None:
    engine = create_engine(empty_database)
    with engine.connect() as connection:
        _end(empty_database, connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        lost = _raised(lambda: connection.execute(text("SELECT 1")))
    assert isinstance(lost, sqlalchemy.exc.DBAPIError) and is_away(lost)
    engine.dispose()


def test_no_connection_of_the_pool_in_time(empty_database: str) -> None:
    with open_pool(empty_database, max_size=1) as pool, pool.connection():

        def ask() -> None:
            with pool.connection(timeout=0.1):
                pass

        assert is_away(_raised(ask))


@pytest.mark.parametrize(
    "asked",
    [{"dbname": "none_of_this_name"}, {"user": "nobody_of_this_name"}],
)
def test_a_store_that_refuses_whoever_asks_so_is_there(empty_database: str, asked: dict[str, str]) -> None:
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(empty_database, **asked)
    assert not is_away(refused.value)
    url = psycopg.conninfo.make_conninfo(empty_database, **asked)
    begun = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        database.wait_for(url, 60)
    assert time.monotonic() - begun < 5
    with pytest.raises(Exception) as wrapped:
        create_engine(empty_database, connect_args=asked).connect()
    assert not is_away(wrapped.value)


def test_what_the_driver_itself_refuses_comes_again(empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        asked = _raised(lambda: connection.execute(f"SELECT {', '.join(['%s'] * 70_000)}", [1] * 70_000))
    assert isinstance(asked, psycopg.OperationalError) and not is_away(asked)


def test_a_pool_that_this_program_has_closed_is_not_away(empty_database: str) -> None:
    with open_pool(empty_database) as closed:
        pass
    assert not is_away(_raised(lambda: closed.getconn()))


def test_a_session_that_was_idle_in_its_transaction_for_too_long(empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute("SET idle_in_transaction_session_timeout = '20ms'")
        time.sleep(0.3)
        assert is_away(_raised(lambda: connection.execute("SELECT 1")))


def test_a_server_that_takes_no_writes_for_now_is_waited_for(empty_database: str) -> None:
    """As one that is to take another one's place, until it has."""
    name = psycopg.conninfo.conninfo_to_dict(empty_database)["dbname"]
    with psycopg.connect(empty_database, dbname="postgres", autocommit=True) as beside:
        beside.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        with psycopg.connect(empty_database) as connection:
            assert is_away(_raised(lambda: connection.execute("CREATE TABLE anything ()")))
        with pytest.raises(psycopg.OperationalError, match="read-only"):
            database.wait_for(empty_database, 0)
        beside.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    database.wait_for(empty_database, 0)


PASSWORD = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: FATAL:  password authentication'


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.OperationalError(f'{PASSWORD} failed for user "harvester"'), False),
        (psycopg.OperationalError("connection failed: FATAL:  the database system is starting up"), True),
        (psycopg.OperationalError("connection failed: FATAL:  sorry, too many clients already"), True),
        (psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly"), True),
        (errors.AdminShutdown(), True),
        (errors.CrashShutdown(), True),
        (errors.CannotConnectNow(), True),
        (errors.TooManyConnections(), True),
        (PoolTimeout(), True),
        (errors.DiskFull(), False),
        (errors.DeadlockDetected(), False),
        (errors.LockNotAvailable(), False),
        (errors.QueryCanceled(), False),
        (errors.UniqueViolation(), False),
        (ValueError(), False),
    ],
)
def test_what_comes_again_is_not_taken_for_it(error: Exception, expected: bool) -> None:
    assert is_away(error) == expected
    other = ValueError("raised because of it")
    other.__cause__ = error
    assert is_away(other) == expected


def test_only_that_is_overlooked() -> None:
    with overlooked():
        raise PoolTimeout
    with pytest.raises(ValueError), overlooked():
        raise ValueError


@pytest.fixture
def pool(empty_database: str) -> Iterator[Pool]:
    with open_pool(empty_database) as found:
        yield found


def test_no_session_that_has_ended_is_handed_out_and_nobody_waits_for_others(pool: Pool, empty_database: str) -> None:
    for opened in (pool, database.open_reading_pool(empty_database)):
        held = [opened.getconn() for _ in range(8)]
        for connection in held:
            opened.putconn(connection)
        for connection in held:
            _end(empty_database, connection.info.backend_pid)
        begun = time.monotonic()
        for _ in range(30):
            with opened.connection() as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        assert time.monotonic() - begun < 5
        opened.close()


def test_a_store_that_was_long_away_is_found_within_seconds_of_its_return(pool: Pool, empty_database: str) -> None:
    """However long nobody answered, and whether or not anybody asked meanwhile."""
    reading = database.open_reading_pool(empty_database)
    name = psycopg.conninfo.conninfo_to_dict(empty_database)["dbname"]
    with psycopg.connect(empty_database, dbname="postgres", autocommit=True) as beside:
        beside.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        beside.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,))
        for opened in (pool, reading):
            with pytest.raises(PoolTimeout), opened.connection(timeout=1):
                pass
        time.sleep(8)
        beside.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    back = time.monotonic()
    for opened in (pool, reading):
        with opened.connection() as connection:
            connection.execute("SELECT 1")
    assert time.monotonic() - back < 4
    reading.close()


def test_what_is_said_on_an_idle_connection_ends_none_that_works(pool: Pool) -> None:
    with pool.connection() as connection:
        pid = connection.info.backend_pid
        connection.autocommit = True
        connection.execute("LISTEN something")
        connection.autocommit = False
    with psycopg.connect(pool.conninfo, autocommit=True) as other:
        other.execute("NOTIFY something")
    with pool.connection() as connection:
        assert connection.info.backend_pid == pid


@pytest.mark.service
def test_what_is_begun_anew_comes_to_its_end_and_a_mistake_does_not(tmp_path: Path) -> None:
    with launcher.postgres(tmp_path) as url, open_pool(url) as pool:
        ender = Ender(url, seed=1)
        begun = 0

        def work() -> str:
            nonlocal begun
            begun += 1
            if begun < 4:
                ender.kill() if begun % 2 else ender.terminate()
            with pool.connection() as connection:
                for _ in range(20):
                    connection.execute("SELECT pg_sleep(0.01)")
            return "done"

        assert database.again(work, url) == "done" and begun > 1
        with pytest.raises(ZeroDivisionError):
            database.again(lambda: 1 // 0, url)
