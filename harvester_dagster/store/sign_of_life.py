"""The sign that a run's process is there: an advisory lock by the run's id, on a connection of its own.

It holds for every job and every machine, since the kernel or PostgreSQL ends the connection when the process or its
machine is gone. Whoever finds it free for longer than a run takes to have it again knows that the run is dead
(`assets/dead_runs.py`). Belongs here: keeping the lock, and having it anew when its connection was lost. Does not
belong here: what is done about a dead run.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psycopg import Connection, OperationalError

from harvester_dagster.store.database import connected
from harvester_dagster.store.locks import run_key, try_take

RENEW_SECONDS = 5.0
"""How often a run looks whether its connection is there: so long, at most, is the lock of a living run free."""
_ANSWERS_WITHIN = 10
"""Seconds; a run must not wait in a question on a way that is gone until it is declared dead."""


@contextmanager
def shown(url: str, run_id: str, renew_seconds: float = RENEW_SECONDS) -> Iterator[None]:
    """Hold the lock of this run while the block lasts, whatever becomes of single connections.

    A store that cannot be reached is no error here: the sign is shown again when it can.
    """
    over = threading.Event()
    connection = _held(url, run_id)
    thread = threading.Thread(
        target=_keep, args=(url, run_id, connection, over, renew_seconds), name="sign-of-life", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _keep(url: str, run_id: str, connection: Connection | None, over: threading.Event, renew_seconds: float) -> None:
    while not over.wait(renew_seconds):
        if connection is None or not _answers(connection):
            connection = _held(url, run_id)
    if connection is not None:
        connection.close()


def _held(url: str, run_id: str) -> Connection | None:
    """A connection that holds the lock; None: not now, the store cannot be reached or has not noticed a loss."""
    with suppress(OperationalError):
        connection = connected(url, "harvester run", answers_within=_ANSWERS_WITHIN)
        if try_take(connection, run_key(run_id)):
            return connection
        connection.close()
    return None


def _answers(connection: Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except OperationalError:
        connection.close()
        return False
    return True
