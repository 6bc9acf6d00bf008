"""Asking a Solr that does not answer now: as long as the patience lasts, as it asks for, and not beyond a stop."""

import threading
import time

import pytest

from harvester_dagster.access.solr.reader import interruptible, patiently
from harvester_dagster.failures import PermanentError, TransientError
from harvester_dagster.processes.read_ahead import Stopped


class _Asked:
    """Answers "here" after it failed with these, one by one."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.times: list[float] = []

    def __call__(self) -> str:
        self.times.append(time.monotonic())
        if self.failures:
            raise self.failures.pop(0)
        return "here"


def _away(retry_after: float | None = None) -> TransientError:
    return TransientError("status-503", "busy", status=503, retry_after=retry_after)


def test_it_is_asked_again_after_a_pause() -> None:
    asked = _Asked(_away())
    assert patiently(asked) == "here"
    first, second = asked.times
    assert second - first >= 0.4


def test_a_pause_is_as_long_as_it_asks_for() -> None:
    asked = _Asked(_away(retry_after=1.0))
    assert patiently(asked) == "here"
    first, second = asked.times
    assert second - first >= 1.0


@pytest.mark.parametrize(("failure", "patience"), [(_away(retry_after=30), 20.0), (_away(), 0.0)])
def test_nobody_waits_beyond_the_patience(failure: TransientError, patience: float) -> None:
    asked = _Asked(failure)
    with pytest.raises(TransientError, match="busy"):
        patiently(asked, patience=patience)
    assert len(asked.times) == 1


def test_what_will_not_pass_is_raised_at_once() -> None:
    asked = _Asked(PermanentError("status-400", "no such field", status=400))
    with pytest.raises(PermanentError, match="no such field"):
        patiently(asked)
    assert len(asked.times) == 1


def test_a_stop_ends_a_pause() -> None:
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        patiently(_Asked(_away(retry_after=60)), stop)
    assert time.monotonic() - began < 30


def test_an_interruptible_question_answers_or_raises() -> None:
    assert interruptible(_Asked(), threading.Event()) == "here"
    with pytest.raises(PermanentError):
        interruptible(_Asked(PermanentError("schema", "no field")), threading.Event())


def test_an_interruptible_question_that_hangs_is_left_behind() -> None:
    stop, let_go = threading.Event(), threading.Event()
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(Stopped):
        interruptible(let_go.wait, stop)
    let_go.set()
