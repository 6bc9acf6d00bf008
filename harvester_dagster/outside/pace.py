"""A polite rate per host, and how long a host asked to be left alone.

Belongs here: waiting for one's turn, safe for many threads. Does not belong here: requests, retries. A host's turns are
handed out in order, so a slow host makes nobody wait but those who ask for it.
"""

import math
import threading
import time

_MANY_HOSTS = 10_000


class Pace:
    def __init__(self, per_second: float) -> None:
        """`math.inf` or 0: no limit."""
        self._gap = 1 / per_second if 0 < per_second < math.inf else 0.0
        self._next: dict[str, float] = {}
        self._held: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, host: str) -> float:
        """Sleep until it is this caller's turn at the host; the seconds that took."""
        if not self._gap:
            return 0.0
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next.get(host, now))
            self._next[host] = turn + self._gap
            if len(self._next) > _MANY_HOSTS:
                self._next = {name: moment for name, moment in self._next.items() if moment > now}
        if turn > now:
            time.sleep(turn - now)
        return turn - now

    def hold(self, host: str, seconds: float) -> None:
        """The host asked to be left alone for so long."""
        with self._lock:
            self._held[host] = max(self._held.get(host, 0.0), time.monotonic() + seconds)

    def held(self, host: str) -> float:
        """Seconds that the host still wants to be left alone; 0 when it does not."""
        if not self._held:
            return 0.0
        with self._lock:
            left = self._held.get(host, 0.0) - time.monotonic()
            if left <= 0:
                self._held.pop(host, None)
        return max(left, 0.0)
