"""Promotions and rollbacks, told to whoever waits for one: by one connection of this process that listens.

Who waits costs no connection. A thread listens while somebody waits and for a while after; whatever happens to its
connection, it makes another and reads what it missed. Belongs here: that thread, and waiting. Does not belong here:
what was promoted (`changes.py`), how many may wait (`web/api/limits.py`).
"""

import asyncio
import logging
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple

from psycopg import Connection

from harvester_dagster import shown_text
from harvester_dagster.publication import log
from harvester_dagster.store import database

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listening:
    """How patiently it is listened, in seconds."""

    look_again: float = 10.0
    """After so long without a word the log is read all the same: what is dead shows so."""
    linger: float = 60.0
    """After the last one has left."""
    first_pause: float = 0.1
    longest_pause: float = 5.0
    """Between two tries to connect."""


class _Waiter(NamedTuple):
    loop: asyncio.AbstractEventLoop
    told: asyncio.Event


class PromotionWatch:
    """The newest seq of the publication log, as it becomes another. Threads and event loops share one."""

    def __init__(self, address: str, listening: Listening | None = None) -> None:
        self._address, self._listening = address, listening or Listening()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiting: set[_Waiter] = set()
        self._left = 0.0
        self._newest: int | None = None  # None: not known, for nobody listens

    async def moved_from(self, seq: int, seconds: float) -> int | None:
        """The newest seq, as soon as it is another than this; None: for so many seconds it was not, or was not known
        since the store is away."""
        waiter = _Waiter(asyncio.get_running_loop(), asyncio.Event())
        self._enter(waiter)
        try:
            async with asyncio.timeout(seconds):
                while (newest := self._newest) is None or newest == seq:
                    await waiter.told.wait()
                    waiter.told.clear()
                return newest
        except TimeoutError:
            return None
        finally:
            self._leave(waiter)

    def _enter(self, waiter: _Waiter) -> None:
        with self._lock:
            self._waiting.add(waiter)
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="promotions", daemon=True)
                self._thread.start()

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            self._waiting.discard(waiter)
            self._left = time.monotonic()

    def _is_needed(self) -> bool:
        """False: the thread ends, and who comes next starts another."""
        with self._lock:
            if self._waiting or time.monotonic() - self._left < self._listening.linger:
                return True
            self._thread = self._newest = None
            return False

    def _listen(self) -> None:
        pause = self._listening.first_pause
        while self._is_needed():
            try:
                with database.listening(self._address, log.CHANNEL) as connection:
                    while self._is_needed():
                        self._tell(log.newest(connection))
                        pause = self._listening.first_pause
                        self._hear(connection)
            except Exception as error:  # whatever it was, whoever waits goes on waiting for the next connection
                level = logging.WARNING if pause == self._listening.first_pause else logging.DEBUG
                _LOG.log(level, "promotions are not heard of now: %s", shown_text.one_line(str(error)))
            self._tell(None)
            time.sleep(pause)
            pause = min(2 * pause, self._listening.longest_pause)

    def _hear(self, connection: Connection[tuple[object, ...]]) -> None:
        """Until something is told, or for a while."""
        for _ in connection.notifies(timeout=self._listening.look_again, stop_after=1):
            return

    def _tell(self, newest: int | None) -> None:
        with self._lock:
            if newest == self._newest:
                return
            self._newest = newest
            waiting = list(self._waiting)
        for waiter in waiting:
            try:
                waiter.loop.call_soon_threadsafe(waiter.told.set)
            except RuntimeError:  # its loop has ended, and it with that
                self._leave(waiter)
