"""How many updates at once, and how large: found by trying, from what Solr answers.

Belongs here: the search for the best concurrency. While it gets better by going up, it goes up; where it does not, it
goes back and tries the other measure; an overloaded Solr (503, 429, time-outs) halves both at once.
Does not belong here: requests, threads.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import NamedTuple

from harvester_dagster.failures import TransientError

BATCHES = (100, 250, 500, 1000, 2000, 4000)
_START = 1000
_BETTER = 1.05
"""A step must win so much to be kept: less is noise."""
_WINDOW_SECONDS = 1.0
_WINDOW_BATCHES = 8
_REST = 20
"""Windows without a new attempt after every direction was tried in vain."""
_MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))


class Best(NamedTuple):
    """The concurrency that an endpoint took best when it was last written to; `rate` is in documents a second."""

    writers: int
    batch: int
    rate: float


class Turn:
    """One update that may be sent now."""

    def __init__(self, pace: "WriteRate") -> None:
        self._pace = pace

    def done(self, documents: int) -> None:
        """Say that the update was taken: with so many documents, it counts towards the measured rate."""
        self._pace._answered(documents)


class WriteRate:
    """How many updates may be under way, and how large each is. One object serves all writers of a run."""

    def __init__(
        self, max_writers: int, start: Best | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_writers = max_writers
        self._clock = clock
        self._ready = threading.Condition()
        self._writers = min(start.writers if start else 2, max_writers)
        self._size = _nearest(start.batch if start else _START)
        self._in_flight = 0
        self._moves = cycle(_MOVES)
        self._in_vain = 0
        self._resting = 0
        self._before: tuple[int, int, float] | None = None
        self._best: Best | None = None
        self.overloads = 0
        self._open_window()

    @property
    def writers(self) -> int:
        """How many updates may be under way at once, from 1 to `max_writers`."""
        return self._writers

    @property
    def batch(self) -> int:
        """How many documents an update should have: one of BATCHES."""
        return BATCHES[self._size]

    @property
    def best(self) -> Best | None:
        """The best that was measured in this run; None: too little was sent to know."""
        return self._best

    @contextmanager
    def turn(self, stop: threading.Event) -> Iterator[Turn]:
        """Wait until one more update may be sent, or a stop. A TransientError in the block means overload and halves
        both."""
        with self._ready:
            while self._in_flight >= self._writers and not stop.is_set():
                self._ready.wait(0.2)
            self._in_flight += 1
        try:
            yield Turn(self)
        except TransientError:
            self._overloaded()
            raise
        finally:
            with self._ready:
                self._in_flight -= 1
                self._ready.notify_all()

    def _overloaded(self) -> None:
        with self._ready:
            self.overloads += 1
            self._writers = max(1, self._writers // 2)
            self._size = max(0, self._size - 1)
            self._before = None
            self._resting = _REST
            self._open_window()

    def _answered(self, documents: int) -> None:
        with self._ready:
            self._documents += documents
            self._batches += 1
            seconds = self._clock() - self._opened
            if self._batches >= _WINDOW_BATCHES and seconds >= _WINDOW_SECONDS:
                self._judge(self._documents / seconds)
                self._open_window()
                self._ready.notify_all()

    def _open_window(self) -> None:
        self._opened = self._clock()
        self._documents = self._batches = 0

    def _judge(self, rate: float) -> None:
        if self._best is None or rate > self._best.rate:
            self._best = Best(self._writers, self.batch, rate)
        if self._resting:
            self._resting -= 1
            return
        if self._before is not None:
            writers, size, before = self._before
            if rate >= before * _BETTER:
                self._in_vain = 0
                self._before = (self._writers, self._size, rate)
                move = (self._writers - writers, self._size - size)
                self._try(move)
                return
            self._writers, self._size, rate = writers, size, before
            self._in_vain += 1
        self._before = (self._writers, self._size, rate)
        for _ in _MOVES:
            if self._in_vain >= len(_MOVES):
                self._in_vain, self._resting, self._before = 0, _REST, None
                return
            if self._try(next(self._moves)):
                return
            self._in_vain += 1

    def _try(self, move: tuple[int, int]) -> bool:
        writers = min(max(self._writers + move[0], 1), self.max_writers)
        size = min(max(self._size + move[1], 0), len(BATCHES) - 1)
        moved = (writers, size) != (self._writers, self._size)
        self._writers, self._size = writers, size
        return moved


def _nearest(batch: int) -> int:
    return min(range(len(BATCHES)), key=lambda at: abs(BATCHES[at] - batch))
