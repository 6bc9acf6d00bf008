"""How many sets of one source are asked for at once, whoever asks: a night, a backfill, a single task, a command.

Belongs here: the slots of a source, which are advisory locks, so that they hold between processes and go with the
connection of a holder that is killed. A queue's limit by tag reaches neither a backfill nor a command. Does not belong
here: the pace of single requests (`outside/pace.py`).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import Any

from psycopg import Connection, OperationalError

from harvester_dagster.store import locks
from harvester_dagster.store.database import Pool
from harvester_dagster.store.locks import Lock


@contextmanager
def source_slot(
    pool: Pool, source: str, slots: int, progress: Callable[[str], None] = lambda _: None, pause: float = 1.0
) -> Iterator[None]:
    """Be one of at most `slots` that ask this source, waiting for as long as it takes; looks every `pause` seconds."""
    with locks.session(pool) as connection:
        taken = _taken(connection, source, slots)
        if taken is None:
            progress(f"waits: {slots} already ask source {source}")
        while taken is None:
            time.sleep(pause)
            taken = _taken(connection, source, slots)
        try:
            yield
        finally:
            with suppress(OperationalError):  # it went with its connection
                locks.give_back(connection, Lock.SOURCE, taken)


def _taken(connection: Connection[Any], source: str, slots: int) -> int | None:
    """The key of a slot that was free, and is ours now; None: none is."""
    for number in range(slots):
        key = int.from_bytes(blake2b(f"{source}:{number}".encode(), digest_size=4).digest(), signed=True)
        if locks.try_take(connection, Lock.SOURCE, key):
            return key
    return None
