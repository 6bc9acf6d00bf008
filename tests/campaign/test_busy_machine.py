"""Nights, and a backfill from the UI, on a machine whose processors are busy with other things: nothing fails. Nights
while sessions of the store end all the time, and while backends are killed: no set loses its night.

How many nights is in CAMPAIGN_NIGHTS, the seed in CAMPAIGN_SEED.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.campaign.test_power_cuts import Twin, twin
from tests.dagster.installed import KEYS, Up, eventually
from tests.dagster.test_under_daemon import LOCATION, graphql
from tests.sessions import Ender

__all__ = ["twin"]
pytestmark = [pytest.mark.campaign, pytest.mark.timeout(0)]
NIGHTS = int(os.environ.get("CAMPAIGN_NIGHTS", "10"))
COUNTS = "while True: pass"
FORKS = """
import os
while True:
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        os._exit(0)
"""
BACKFILL = """mutation ($asked: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $asked) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """For each processor one that counts, and one that begins processes without end."""
    programs = [COUNTS, FORKS] * (os.cpu_count() or 1)
    running = [subprocess.Popen([sys.executable, "-S", "-c", program]) for program in programs]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_on_a_busy_machine_nothing_fails(twin: Twin) -> None:
    up = twin.up
    with busy():
        for number in range(NIGHTS):
            twin.change()
            begun = time.monotonic()
            night = up.night()
            up.wait_for_night(night)
            assert up.outcomes(night) == dict.fromkeys(KEYS, "success")
            assert failed(up) == [], up.said()
            print(f"busy night {number + 1}: {time.monotonic() - begun:.0f} s", flush=True)
        twin.change()
        asked = {
            "selector": {"repositorySelector": LOCATION, "partitionSetName": "harvest_set_partition_set"},
            "partitionNames": list(KEYS),
        }
        found = graphql(up, BACKFILL, asked=asked)["launchPartitionBackfill"]
        assert found["__typename"] == "LaunchBackfillSuccess", found
        eventually(lambda: _status(up, found["backfillId"]) != "REQUESTED", "the end of the backfill")
        assert _status(up, found["backfillId"]) == "COMPLETED_SUCCESS" and failed(up) == []
    twin.check()


def _status(up: Up, backfill: str) -> str:
    found = up.instance.get_backfill(backfill)
    assert found is not None
    return found.status.value


def failed(up: Up) -> list[tuple[str, str]]:
    """The runs that came to another end than success."""
    return [(run.job_name, run.status.value) for run in up.instance.get_runs() if run.status.value != "SUCCESS"]


@pytest.mark.parametrize(("act", "seconds"), [("terminate", 0.3), ("kill", 10)])
def test_whatever_sessions_end_no_set_loses_its_night(twin: Twin, act: str, seconds: float) -> None:
    up = twin.up
    for number in range(NIGHTS):
        twin.change()
        ender = Ender(up.store_url, seed=twin.random.randrange(1_000_000))
        with ender.going_on(getattr(ender, act), seconds):
            night = _whole_night(up)
        assert up.outcomes(night) == dict.fromkeys(KEYS, "success"), up.said()
        print(f"night {number + 1}: {act} {ender.ended} times", flush=True)
    twin.check()


def _whole_night(up: Up) -> int:
    night = eventually(lambda: _begun(up), "a night")
    eventually(lambda: _is_over(up, night), f"the end of night {night}", up.said)
    return night


def _begun(up: Up) -> int | None:
    with contextlib.suppress(psycopg.OperationalError):
        return up.night()
    return None


def _is_over(up: Up, night: int) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        return up.one("SELECT ended_at FROM night WHERE night_id = %s", night) is not None
    return False
