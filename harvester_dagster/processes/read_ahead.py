"""Making the next items of an iterator in a thread while the last one is worked on.

Belongs here: the thread, its bound, and how it ends. Does not belong here: what is read, and further processes
(`workers.py`).
"""

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

POLL_SECONDS = 0.2
"""How soon a stop is noticed by somebody who waits for an item."""

_Item = TypeVar("_Item")


class Stopped(Exception):
    """Somebody asked for a stop while something was waited for."""


class _End:
    """Nothing comes any more."""


@contextmanager
def read_ahead(
    items: Iterator[_Item], *, count: int = 1, stop: threading.Event | None = None
) -> Iterator[Iterator[_Item]]:
    """The same items in the same order, made in a thread: at most `count` of them, the one in the making included, are
    ahead of the reader. What making an item raises reaches the reader in its place.

    When the block ends early, no further item is begun, the one in the making is waited for, and a generator is closed
    in its thread. With a `stop`, nobody waits: the reader raises Stopped as soon as it is set, however long the
    iterator hangs, and the thread, a daemon, is left behind at the end of the block.
    """
    made: queue.SimpleQueue[_Item | BaseException | _End] = queue.SimpleQueue()
    free = threading.Semaphore(count)
    over = threading.Event()

    def work() -> None:
        try:
            while free.acquire() and not over.is_set():
                made.put(next(items))
        except StopIteration:
            made.put(_End())
        except BaseException as error:
            made.put(error)
        finally:
            if isinstance(items, Generator):
                items.close()

    def taken() -> Iterator[_Item]:
        while not isinstance(item := _next(made, stop), _End):
            if isinstance(item, BaseException):
                raise item
            free.release()
            yield item

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        over.set()
        free.release()
        if stop is None:
            thread.join()


def _next(made: "queue.SimpleQueue[_Item]", stop: threading.Event | None) -> _Item:
    if stop is None:
        return made.get()
    while True:
        try:
            return made.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if stop.is_set():
                raise Stopped from None
