"""Work that goes on beside what a process does, so that this waits for none of it.

Belongs here: doing it again and again in a thread of its own, and its end. Does not belong here: what is done.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LEAVE_SECONDS = 5.0
"""Seconds for a piece of work that is under way at the end; then it ends with the process."""


@contextmanager
def beside(
    name: str, work: Callable[[], object], seconds: float, leave_seconds: float = LEAVE_SECONDS
) -> Iterator[None]:
    """While the block lasts, do this again and again, so many seconds after it was done. What it raises is told on
    stderr, and it is done again all the same. At the block's end it is waited for `leave_seconds` at most."""
    over = threading.Event()
    thread = threading.Thread(target=_go_on, args=(work, seconds, over), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(leave_seconds)


def _go_on(work: Callable[[], object], seconds: float, over: threading.Event) -> None:
    while not over.wait(seconds):
        try:
            work()
        except Exception as error:
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))
