"""Being asked to stop: SIGINT and SIGTERM, and a wait that they end.

A handler in Python runs between any two steps of the main thread, also of another handler and of whoever takes a lock
or holds one: signals in a row, each within the handler of the one before, end the process at Python's depth of
recursion, and an Event may wait for ever for a lock that its own thread holds. So there is none: the interpreter writes
a byte into a pipe (`signal.set_wakeup_fd`), and whoever waits, waits for that.

Belongs here: these two signals, for a process that ends in order. Does not belong here: what is ended how.
"""

import contextlib
import os
import select
import signal
import threading


class StopSignals:
    """From its making on, SIGINT and SIGTERM ask this process to stop, and do nothing else. In the main thread only;
    as long as the process lives, which runs no event loop there. `answer` is written to stderr as soon as one comes."""

    def __init__(self, answer: str = "") -> None:
        self._asked, wakes = os.pipe()
        for end in (self._asked, wakes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)  # full: it was asked often enough
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, "".format)  # which takes whatever it is given and, not in Python, runs no other one
        if answer:
            threading.Thread(target=self._answer, args=(answer.encode(),), name="stop", daemon=True).start()

    def _answer(self, answer: bytes) -> None:
        self.wait()
        with contextlib.suppress(OSError):
            os.write(2, answer)

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it was asked to stop, before or within so many seconds; None: until it is."""
        waiting = select.poll()  # one for each thread
        waiting.register(self._asked, select.POLLIN)
        return bool(waiting.poll(None if seconds is None else seconds * 1000))
