"""A process that is asked to stop again and again, at any moment, stops; and nobody sets an Event in a handler."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.house.trees import ROOT

WAITING = """
import time
from harvester_dagster.processes.stop_signals import StopSignals
stop = StopSignals()
print("ready", flush=True)
while not stop.wait(0.001):
    pass
end = time.monotonic() + 1
while time.monotonic() < end:
    stop.wait(0.001)
print("over", flush=True)
time.sleep(60)
"""
HANDLES = {
    "harvester_dagster/processes/stop_signals.py",
    "harvester_dagster/cli/main.py",  # its handlers raise, as the next two
    "harvester_dagster/cli/dagster_ui.py",
    "harvester_dagster/processes/workers.py",  # ignores one
    "harvester_dagster/services/keeper.py",
}


@contextmanager
def _waiting() -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.service
def test_signals_in_a_row_and_within_one_another_hold_nothing_up() -> None:
    """With an Event: a lock is waited for that the same thread holds, or handlers begin in one another without end."""
    with _waiting() as process:
        assert process.stdout
        over = selectors.DefaultSelector()
        over.register(process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + 20
        while not over.select(0):
            assert time.monotonic() < deadline and process.poll() is None
            for number in [signal.SIGTERM, signal.SIGINT] * 25:
                os.kill(process.pid, number)
        assert process.stdout.readline() == "over\n"


@pytest.mark.service
def test_it_waits_as_long_as_nobody_asks() -> None:
    with _waiting() as process:
        assert process.stdout
        asked = selectors.DefaultSelector()
        asked.register(process.stdout, selectors.EVENT_READ)
        assert not asked.select(1.5)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "over\n"


def test_nobody_else_handles_signals() -> None:
    rooms = ("harvester_dagster", "assets", "resources", "sensors")
    found = {
        str(path.relative_to(ROOT))
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if "signal.signal(" in path.read_text(encoding="utf-8")
    }
    assert found == HANDLES
