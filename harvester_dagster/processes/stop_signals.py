"""Being asked to stop: SIGINT and SIGTERM, and a wait that they end.

A handler runs between any two steps of the main thread, also while that takes a lock or holds one. So it takes none:
one that sets an Event may wait for ever for a lock that its own thread holds, as soon as two signals come in a row. It
writes a byte into a pipe, and whoever waits, waits for that.

Belongs here: these two signals, for a process that ends in order. Does not belong here: what is ended how.
"""

import contextlib
import os
import select
import signal


class StopSignals:
    """From its making on, SIGINT and SIGTERM ask this process to stop, and do nothing else. In the main thread only;
    as long as the process lives. `answer` is written to stderr at once when the first one comes."""

    def __init__(self, answer: str = "") -> None:
        self._answer = answer.encode()
        asked, self._ask = os.pipe()
        os.set_blocking(self._ask, False)
        self._waiting = select.poll()
        self._waiting.register(asked, select.POLLIN)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._note())

    def _note(self) -> None:
        answer, self._answer = self._answer, b""
        with contextlib.suppress(OSError):
            os.write(2, answer)
        with contextlib.suppress(BlockingIOError):  # full: it was asked often enough
            os.write(self._ask, b"!")

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it was asked to stop, before or within so many seconds; None: until it is."""
        return bool(self._waiting.poll(None if seconds is None else seconds * 1000))
