"""Runs that the pages start elsewhere: asked for in Postgres first, and no longer where their launcher refuses."""

from datetime import UTC, datetime

import pytest

from harvester_dagster.access.runs import run_rows
from harvester_dagster.access.runs.run_rows import InProgress
from harvester_dagster.store.database import Pool
from harvester_dagster.web.launching import LaunchedRuns, NotStarted


class Launching:
    """Remembers what it was asked for; refuses with a sentence when it has one."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.launched: list[tuple[str, str, int]] = []

    def launch(self, endpoint: str, mode: str, request: int) -> None:
        if self.refusal:
            raise NotStarted(self.refusal)
        self.launched.append((endpoint, mode, request))


def clock() -> datetime:
    return datetime.now(UTC)


def test_a_launched_run_is_the_one_that_was_asked_for(pool: Pool) -> None:
    launcher = Launching()
    runs = LaunchedRuns(launcher, pool, clock)
    runs.start("dtu", "full")
    ((endpoint, mode, request),) = launcher.launched
    (row,) = run_rows.latest(pool)
    assert (endpoint, mode, request) == ("dtu", "full", row.run_id) == (row.endpoint, row.mode, row.run_id)
    assert row.in_progress
    with pytest.raises(InProgress):
        runs.start("dtu", "partial")
    assert len(launcher.launched) == 1


def test_a_run_that_its_launcher_refuses_is_over_and_another_can_be_asked_for(pool: Pool) -> None:
    launcher = Launching("Dagster did not start it: it is away")
    runs = LaunchedRuns(launcher, pool, clock)
    with pytest.raises(NotStarted, match="it is away"):
        runs.start("dtu", "full")
    (row,) = run_rows.latest(pool)
    assert not row.in_progress and row.reason == "Dagster did not start it: it is away"
    launcher.refusal = ""
    runs.start("dtu", "full")
    assert [mode for _, mode, _ in launcher.launched] == ["full"]
