"""A polite rate per host, and how long a host asked to be left alone.

Belongs here: waiting for one's turn, safe for many threads, and for all processes that share a folder: sets are
harvested side by side, and often their files are on one host. A host's turns are handed out in order, so a slow host
makes nobody wait but those who ask for it. Does not belong here: requests, retries.
"""

import fcntl
import hashlib
import math
import os
import threading
import time
from pathlib import Path

_MANY_HOSTS = 10_000
_LONGEST_QUEUE = 600.0
"""A turn further away than this was written before a restart of the machine, which sets its clock to 0."""


class Pace:
    """The turns of each host, and which hosts want to be left alone.

    `per_second` is the rate for one host; `math.inf` or 0 is no limit. Processes that name the same `folder` keep it
    together. One object serves all threads.
    """

    def __init__(self, per_second: float, folder: Path | None = None) -> None:
        self._gap = 1 / per_second if 0 < per_second < math.inf else 0.0
        self._folder = folder
        self._next: dict[str, float] = {}
        self._held: dict[str, float] = {}
        self._lock = threading.Lock()
        if folder is not None and self._gap:
            folder.mkdir(parents=True, exist_ok=True)

    def wait(self, host: str) -> float:
        """Sleep until it is this caller's turn at the host; the seconds that took."""
        if not self._gap:
            return 0.0
        pause = self._turn_in_folder(self._folder, host) if self._folder else self._turn_here(host)
        if pause > 0:
            time.sleep(pause)
        return pause

    def hold(self, host: str, seconds: float) -> None:
        """Note that the host asked to be left alone for so many seconds."""
        with self._lock:
            self._held[host] = max(self._held.get(host, 0.0), time.monotonic() + seconds)

    def held(self, host: str) -> float:
        """The seconds for which the host still wants to be left alone; 0 when it does not."""
        if not self._held:
            return 0.0
        with self._lock:
            left = self._held.get(host, 0.0) - time.monotonic()
            if left <= 0:
                self._held.pop(host, None)
        return max(left, 0.0)

    def _turn_here(self, host: str) -> float:
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next.get(host, now))
            self._next[host] = turn + self._gap
            if len(self._next) > _MANY_HOSTS:
                self._next = {name: moment for name, moment in self._next.items() if moment > now}
        return turn - now

    def _turn_in_folder(self, folder: Path, host: str) -> float:
        """The next turn stands in one of 4096 files; two hosts that share one only wait longer."""
        file = folder / hashlib.blake2b(host.encode(), digest_size=2).hexdigest()[:3]
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            now = time.monotonic()
            turn = max(now, _moment(os.pread(handle, 32, 0)))
            if turn > now + _LONGEST_QUEUE:
                turn = now
            os.pwrite(handle, f"{turn + self._gap:<32.6f}".encode(), 0)
        finally:
            os.close(handle)
        return turn - now


def _moment(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
