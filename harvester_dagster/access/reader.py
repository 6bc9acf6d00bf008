"""Reading a collection: one cursor, one page ahead.

Belongs here: the walk over `id desc`, its patience with a Solr that restarts, and reading the next page while the last
one is worked on. A cursor cannot be shared, so there is one reader. Does not belong here: what is done with a page.
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from harvester_dagster.access.documents import Page
from harvester_dagster.access.solr import Solr
from harvester_dagster.outside.failures import TransientError

PATIENCE = 120.0
"""Seconds for which a Solr that does not answer, or is overloaded, is asked again: a restart takes less."""
_Answered = TypeVar("_Answered")
_Item = TypeVar("_Item")


class Stopped(Exception):
    """Somebody asked for a stop while something was waited for."""


def patiently(
    ask: Callable[[], _Answered], stop: threading.Event | None = None, patience: float = PATIENCE
) -> _Answered:
    """Ask until there is an answer, with growing pauses. Raises Stopped, or what was raised last."""
    give_up = time.monotonic() + patience
    pause = 0.5
    while True:
        try:
            return ask()
        except TransientError as error:
            wait = max(error.retry_after or 0.0, pause * random.uniform(0.8, 1.2))
            if time.monotonic() + wait > give_up:
                raise
        if stop is None:
            time.sleep(wait)
        elif stop.wait(wait):
            raise Stopped
        pause = min(pause * 2, 15.0)


def walk(
    solr: Solr,
    filters: Sequence[str],
    cursor: str,
    rows: int,
    stop: threading.Event | None = None,
    patience: float = PATIENCE,
) -> Iterator[tuple[Page, str]]:
    """Each page with documents, and the cursor behind it. Raises OutsideError, Stopped."""
    while stop is None or not stop.is_set():
        page = patiently(partial(solr.select, filters, cursor, rows), stop, patience)
        if page.documents:
            yield page, page.next_cursor
        if page.next_cursor == cursor or not page.next_cursor:
            return
        cursor = page.next_cursor


class _End:
    """Nothing comes any more."""


def interruptible(ask: Callable[[], _Answered], stop: threading.Event, patience: float = PATIENCE) -> _Answered:
    """Ask in a thread of its own, which is left behind at a stop. Raises Stopped, or what was raised."""
    answered: queue.Queue[_Answered | BaseException] = queue.Queue(1)

    def work() -> None:
        try:
            answered.put(patiently(ask, stop, patience))
        except BaseException as error:
            answered.put(error)

    threading.Thread(target=work, name="access-question", daemon=True).start()
    found = _next(answered, stop)
    if isinstance(found, BaseException):
        raise found
    return found


def _next(made: "queue.Queue[_Item]", stop: threading.Event) -> _Item:
    while True:
        try:
            return made.get(timeout=0.2)
        except queue.Empty:
            if stop.is_set():
                raise Stopped from None


@contextmanager
def ahead(items: Iterator[_Item], stop: threading.Event, count: int = 1) -> Iterator[Iterator[_Item]]:
    """Run an iterator in a thread, at most `count` items (and the one in the making) ahead of its reader.

    The reader does not wait beyond a stop, however long the iterator hangs.
    """
    made: queue.Queue[_Item | BaseException | _End] = queue.Queue(maxsize=count)
    over = threading.Event()

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_End())
        except BaseException as error:
            put(error)

    def put(item: _Item | BaseException | _End) -> bool:
        while not over.is_set():
            try:
                made.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def taken() -> Iterator[_Item]:
        while not isinstance(item := _next(made, stop), _End):
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="access-reader", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        over.set()
