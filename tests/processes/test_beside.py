"""Work beside what a process does is done again and again, whatever it raises, and ends with its block."""

import threading
import time

import pytest

from harvester_dagster.processes.beside import beside


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_goes_on_after_what_it_raises_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[float] = []
    third = threading.Event()

    def work() -> None:
        done.append(time.monotonic())
        if len(done) == 3:
            third.set()
        raise ValueError(f"turn {len(done)}")

    said: list[BaseException | None] = []
    usual, threading.excepthook = threading.excepthook, lambda told: said.append(told.exc_value)
    try:
        with beside("worker", work, 0.01):
            assert third.wait(10)
    finally:
        threading.excepthook = usual
    count = len(done)
    time.sleep(0.1)
    assert len(done) == count and [str(error) for error in said[:3]] == ["turn 1", "turn 2", "turn 3"]


def test_nobody_waits_for_it() -> None:
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        over.wait(30)

    at = time.monotonic()
    with beside("slow", work, 0, leave_seconds=0.2):
        assert begun.wait(10)
    assert time.monotonic() - at < 2
    over.set()
