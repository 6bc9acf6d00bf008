"""Pages that read much: so many are made at once, and who asks for more is told to come again.

What they share with all others is a pool of eight connections, and the threads that wait for them. Belongs here:
counting. Does not belong here: what is asked; the API's own bounds (`web/api/limits.py`).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException

AT_ONCE = 2


class DearQuestions:
    """Those of one kind of page."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = threading.BoundedSemaphore(at_once)

    @contextmanager
    def one(self) -> Iterator[None]:
        """One of them, while the block lasts. Raises HTTPException (429) while so many are answered already."""
        if not self._free.acquire(blocking=False):
            raise HTTPException(429, "Others ask for as much at this moment: try again in some seconds")
        try:
            yield
        finally:
            self._free.release()
