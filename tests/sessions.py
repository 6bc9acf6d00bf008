"""Sessions of a store that end under whoever uses them: one by one, or all at once as when a backend is killed.

Belongs here: ending them at random moments while something else goes on. Does not belong here: what must hold then.
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator

import psutil
import psycopg

_OTHERS = """FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
             AND datname = current_database()"""


class Ender:
    """Ends sessions of the database at `url`, whose moments and victims are those of `seed`."""

    def __init__(self, url: str, seed: int) -> None:
        self._url, self._random = url, random.Random(seed)
        self.ended = 0
        """So many sessions were asked to end, and backends killed."""

    def terminate(self) -> None:
        """One session, idle or busy."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            pids = [pid for (pid,) in connection.execute(f"SELECT pid {_OTHERS} ORDER BY pid")]
            if pids:
                connection.execute("SELECT pg_terminate_backend(%s)", (self._random.choice(pids),))
                self.ended += 1

    def kill(self) -> None:
        """One backend, so that the server ends all sessions and recovers; of sessions that do something where any
        does."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            rows = connection.execute(f"SELECT pid, state {_OTHERS} ORDER BY pid").fetchall()
        pids = [pid for pid, state in rows if state != "idle"] or [pid for pid, _ in rows]
        if pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(self._random.choice(pids)).kill()
                self.ended += 1

    @contextlib.contextmanager
    def going_on(self, act: Callable[[], None], seconds: float, most: int = 1_000_000) -> Iterator[None]:
        """Until the block ends, `act` again and again, as many seconds apart on average, as often at most."""
        over = threading.Event()

        def work() -> None:
            while self.ended < most and not over.wait(self._random.uniform(0, 2 * seconds)):
                with contextlib.suppress(psycopg.OperationalError):  # it recovers
                    act()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
