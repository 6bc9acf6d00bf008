"""Nights under a running daemon, from the schedule's tick to the release; runs and daemons that die.

One story over one installation: the tests run in their order, on one worker.
"""

from typing import Any

import psutil
import pytest
import requests

from harvester_dagster.installation import utc_now
from tests.dagster.installed import KEYS, Up, eventually

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(1500)]


def graphql(up: Up, query: str, **variables: object) -> dict[str, Any]:
    answer = requests.post(f"{up.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
    assert "errors" not in answer, answer
    return answer["data"]


LOCATION = {"repositoryLocationName": "harvester_dagster.definitions", "repositoryName": "__repository__"}
REQUESTED = """{ __typename ... on DryRunInstigationTick { evaluationResult {
    error { message } skipReason runRequests { runKey jobName tags { key value } } } } }"""


def stop_schedule(up: Up) -> None:
    found = graphql(
        up,
        """query ($s: ScheduleSelector!) { scheduleOrError(scheduleSelector: $s)
           { __typename ... on Schedule { scheduleState { id } } ... on PythonError { message } } }""",
        s={**LOCATION, "scheduleName": "nightly"},
    )["scheduleOrError"]
    graphql(
        up,
        """mutation ($id: String!) { stopRunningSchedule(id: $id)
           { __typename ... on PythonError { message } } }""",
        id=found["scheduleState"]["id"],
    )


def test_a_tick_of_the_schedule_ends_in_a_released_version(up: Up) -> None:
    night = eventually(lambda: up.rows("SELECT night_id FROM night WHERE origin = 'schedule'"), "a tick")[0][0]
    stop_schedule(up)
    up.wait_for_night(night)
    assert up.outcomes(night) == dict.fromkeys(KEYS, "success")
    harvests = [run for run in up.runs(harvest_night=str(night)) if run.job_name == "harvest_set"]
    assert sorted(run.tags["harvest/set"] for run in harvests) == sorted(KEYS)
    assert [run.status.value for run in up.releases(night)] == ["SUCCESS"]
    assert up.generations() == dict.fromkeys(KEYS, 1)
    for other in up.rows("SELECT night_id FROM night WHERE ended_at IS NULL"):  # of a tick before it was stopped
        up.wait_for_night(other[0])


def previewed(up: Up, of: str, name: str, **variables: object) -> dict[str, Any]:
    """What "Preview tick result" of the UI shows of a schedule or a sensor."""
    selector = {**LOCATION, f"{of}Name": name}
    declared, given = {
        "schedule": ("$s: ScheduleSelector!, $at: Float", "timestamp: $at"),
        "sensor": ("$s: SensorSelector!, $cursor: String", "cursor: $cursor"),
    }[of]
    query = f"mutation ({declared}) {{ {of}DryRun(selectorData: $s, {given}) {REQUESTED} }}"
    tick = graphql(up, query, s=selector, **variables)[f"{of}DryRun"]
    assert tick["__typename"] == "DryRunInstigationTick", tick
    assert tick["evaluationResult"]["error"] is None
    found: dict[str, Any] = tick["evaluationResult"]
    return found


def test_a_tick_that_is_previewed_at_noon_opens_no_night_and_starts_no_run(up: Up) -> None:
    def there() -> tuple[object, ...]:
        return up.rows("SELECT * FROM night"), up.rows("SELECT * FROM night_set"), len(up.instance.get_runs())

    before = there()
    noon = utc_now().replace(hour=12, minute=0, second=0, microsecond=0)
    for _ in range(2):
        requests = previewed(up, "schedule", "nightly", at=noon.timestamp())["runRequests"]
        assert [request["runKey"] for request in requests] == [f"night-{noon.isoformat()}:{key}" for key in KEYS]
        for sensor in ("night_watch", "day_work"):
            assert previewed(up, "sensor", sensor, cursor="")["runRequests"] in ([], None)
    assert there() == before


def test_a_killed_run_is_seen_and_run_again_in_the_same_night(up: Up) -> None:
    up.source.fill("two", 10, 12)
    with up.source.holding("two"):
        night = up.night()
        eventually(lambda: "two" in up.source.waiting, "the run that asks for src:two")
        (run,) = up.runs(harvest_set="src:two", harvest_night=str(night))
        psutil.Process(up.pid(run.run_id)).kill()
        eventually(lambda: len(up.runs(harvest_set="src:two", harvest_night=str(night))) > 1, "another run")
        assert up.one("SELECT released_at FROM night WHERE night_id = %s", night) is None
    up.wait_for_night(night)
    again, first = up.runs(harvest_set="src:two", harvest_night=str(night))
    assert (first.status.value, again.status.value) == ("FAILURE", "SUCCESS")
    assert up.outcomes(night) == dict.fromkeys(KEYS, "success")
    assert up.generations() == {"src:one": 1, "src:two": 2}


def test_at_the_deadline_the_release_goes_on_without_a_set_that_is_not_ready(up: Up) -> None:
    up.source.fill("one", 10, 12)
    up.source.fill("two", 12, 14)
    with up.source.holding("two"):
        night = up.night()
        eventually(lambda: "two" in up.source.waiting, "the run that asks for src:two")
        eventually(lambda: up.outcomes(night)["src:one"] == "success", "the other set")
        assert up.one("SELECT released_at FROM night WHERE night_id = %s", night) is None
        with up.store.connection() as connection:
            connection.execute("UPDATE night SET deadline_at = %s WHERE night_id = %s", (utc_now(), night))
        up.wait_for_night(night)
        assert up.generations() == {"src:one": 2, "src:two": 2}
        assert up.outcomes(night)["src:two"] is None
    check = _evaluation(up, up.releases(night)[0].run_id, "all_sets_fresh")
    assert check == {"success": False, "description": "1 of 2 sets are not fresh"}
    eventually(lambda: "left-behind src:two" in up.ears.causes, "the alert", lambda: str(up.ears.heard))
    eventually(lambda: up.generations().get("src:two") == 3, "the late set's release, as work of the day")


def test_two_nights_at_once_are_two_nights_and_one_version(up: Up) -> None:
    before = up.current()
    up.source.fill("one", 12, 14)
    first, second = up.night(), up.night()
    for night in (first, second):
        up.wait_for_night(night)
        assert up.outcomes(night) == dict.fromkeys(KEYS, "success")
        assert [run.status.value for run in up.releases(night)] == ["SUCCESS"]
    assert up.generations() == {"src:one": 3, "src:two": 3}
    assert up.one("SELECT count(*) FROM dataset_version WHERE version_id > %s AND promoted_at IS NOT NULL", before) == 1


def test_a_daemon_that_is_killed_in_a_night_is_started_again_and_goes_on(up: Up) -> None:
    up.source.fill("one", 14, 16)
    with up.source.holding("one"):
        night = up.night()
        eventually(lambda: "one" in up.source.waiting, "the run that asks for src:one")
        killed = eventually(up.daemon, "the daemon")
        killed.kill()
        new = eventually(lambda: (daemon := up.daemon()) and daemon.pid != killed.pid and daemon, "another daemon")
    up.wait_for_night(night)
    assert new.is_running()
    assert len(up.releases(night)) == 1
    assert up.outcomes(night) == dict.fromkeys(KEYS, "success")
    assert up.generations() == {"src:one": 4, "src:two": 3}


def test_the_process_that_runs_are_forks_of_may_be_killed(up: Up) -> None:
    with up.source.holding("two"):
        night = up.night()
        eventually(lambda: "two" in up.source.waiting, "the run that asks for src:two")
        (run,) = up.runs(harvest_set="src:two", harvest_night=str(night))
        forked = psutil.Process(up.pid(run.run_id)).parent()
        assert forked and "forkserver" in " ".join(forked.cmdline())
        forked.kill()
        eventually(lambda: not forked.is_running(), "its end")
    up.wait_for_night(night)
    assert up.outcomes(night) == dict.fromkeys(KEYS, "success")


def test_commands_at_once_do_not_hurt_each_other(up: Up) -> None:
    before = up.generations()["src:two"]
    up.source.fill("two", 14, 16)
    both = [up.begin("harvest", "src:two") for _ in range(2)]
    status = up.run("status", "--json")
    said = [process.communicate(timeout=500)[0] for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes, said
    for code, text in zip(codes, said, strict=True):  # one may find that the other took its attempt's place
        assert code == 0 or "run the set again" in " ".join(text.split()), text
    assert status.returncode == 0, status.stderr
    accepted = up.rows("SELECT gen FROM generation g JOIN harvest_set s USING (set_id) WHERE s.key = 'src:two'")
    assert sorted(accepted) == [(gen,) for gen in range(1, before + 2)]
    eventually(lambda: up.generations().get("src:two") == before + 1, "its release, as work of the day")
    assert up.runs(harvest_release="day")


def _evaluation(up: Up, run_id: str, name: str) -> dict[str, object]:
    """A check as a run left it."""
    for entry in up.instance.all_logs(run_id):
        event = entry.dagster_event
        if event and event.event_type_value == "ASSET_CHECK_EVALUATION":
            found = event.event_specific_data
            if found.check_name == name:
                return {"success": found.passed, "description": found.description or ""}
    raise AssertionError(f"run {run_id} has no check {name}")
