"""What the web application asks of Dagster's webserver, and what the webserver shows of our resources."""

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests

from harvester_dagster.cli.dagster_runs import DagsterLauncher
from harvester_dagster.web.launching import NotStarted
from tests.dagster.installed import KEYS, Up, eventually
from tests.dagster.test_under_daemon import stop_schedule

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(1500)]

RESOURCES = """
query ($s: RepositorySelector!) { allTopLevelResourceDetailsOrError(repositorySelector: $s) {
  __typename ... on ResourceDetailsList { results {
    name description configuredValues { key value type } nestedResources { name type } } } } }
"""


def test_a_run_that_the_pages_start_is_dagsters_and_ends_the_request(up: Up) -> None:
    pages = f"http://127.0.0.1:{up.config.web.port}"
    started = requests.post(f"{pages}/harvest/create", data={"mode": "full", "endpoint": "dtu"}, timeout=60)
    assert started.status_code == 202, started.text
    request = up.one("SELECT max(run_id) FROM access_run")
    (run,) = eventually(lambda: up.runs(access_request=str(request)), "the run in Dagster")
    assert run.job_name == "decide_access" and run.tags["dagster/partition"] == "dtu:full"
    assert run.tags["access/endpoint"] == "dtu"
    ended = eventually(
        lambda: up.rows("SELECT reason FROM access_run WHERE run_id = %s AND ended_at IS NOT NULL", request),
        "the end of the request",
    )
    assert "127.0.0.1:9" in ended[0][0], "no Solr is there"


def test_a_set_that_is_harvested_from_its_page_is_released_from_there_too(up: Up) -> None:
    pages = f"http://127.0.0.1:{up.config.web.port}"
    key, before = KEYS[0], up.current() or 0
    for path, job in ((f"/set/{key}/harvest", "harvest_set"), ("/release", "release")):
        begun = requests.post(pages + path, timeout=60)
        assert begun.status_code == 200 and begun.history[0].status_code == 303, begun.text
        (run_id,) = re.findall(rf"{re.escape(up.url)}/runs/([0-9a-f-]{{36}})", begun.text)
        told = [json.loads(line[6:]) for line in followed(f"{pages}/run/{run_id}/events") if line.startswith("data:")]
        run = eventually(partial(ended, up, run_id), f"the end of the run of {path}")
        assert (run.job_name, run.is_success) == (job, True)
        assert told[-1]["state"] == "done" and told[-1]["over"] and len(told) > 1
        assert any(told[-1]["said"]), "what its steps have said"
        after = requests.get(begun.url, timeout=60).text
        assert (key if job == "harvest_set" else "Current: ") in after
        audited = up.rows("SELECT actor, outcome FROM audit WHERE detail ->> 'run' = %s ORDER BY audit_id", run_id)
        assert audited == [("local", "asked for"), ("dagster", "done")], path
    assert (up.current() or 0) >= before
    assert key in requests.get(pages + "/", timeout=60).text


def followed(url: str) -> Iterator[str]:
    with requests.get(url, stream=True, timeout=300) as answer:
        assert answer.status_code == 200
        yield from answer.iter_lines(decode_unicode=True)


def test_a_candidate_is_accepted_on_its_page_and_its_checks_turn_green(up: Up) -> None:
    undisturbed(up)
    pages, key = f"http://127.0.0.1:{up.config.web.port}", KEYS[1]
    kept: dict[str, Any] = {}
    for most in (100, 2):  # all of it, then no more than two
        for name in list(up.source.records["two"])[most:]:
            kept[name] = up.source.records["two"].pop(name)
        run_id = DagsterLauncher(up.socket).harvest(key)
        eventually(partial(ended, up, run_id), "the end of the harvest")
    page = requests.get(f"{pages}/set/{key}/", timeout=60).text
    attempt, seen = re.findall(r'name="attempt" value="(\d+)"><input type="hidden" name="seen" value="(\w+)"', page)[0]
    refused = DagsterLauncher(up.socket).accept(key, int(attempt), "another")
    eventually(partial(ended, up, refused), "the end of the run that is refused")
    found = DagsterLauncher(up.socket).seen(refused)
    assert found and (found.act, found.subject, found.state) == ("accept", key, "failed")
    assert found.reason.startswith(f"{key}: attempt {attempt} has moved since it was looked at"), found.reason
    assert up.rows("SELECT outcome, address FROM audit WHERE act = 'accept' AND subject = %s", key) == [
        ("refused", f"run {refused}")
    ]
    answer = requests.post(f"{pages}/set/{key}/accept", data={"attempt": attempt, "seen": seen}, timeout=60)
    assert answer.status_code == 200 and "Accepted, and not published yet" in answer.text
    event = up.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(dg.AssetKey(["products", "set"]), "check_set_integrity")]
    )
    (record,) = event.values()
    assert record.status.value == "SUCCEEDED"
    up.source.records["two"].update(kept)
    up.run("harvest", key, "--full")


def undisturbed(up: Up) -> None:
    """No night goes on, and none is opened but by the test."""
    stop_schedule(up)
    for (night,) in up.rows("SELECT night_id FROM night WHERE ended_at IS NULL"):
        up.wait_for_night(night)


def test_a_night_that_is_stopped_ends_its_runs_and_releases_nothing(up: Up) -> None:
    undisturbed(up)
    pages = f"http://127.0.0.1:{up.config.web.port}"
    with up.source.holding("two"):
        night = up.night()
        eventually(lambda: "two" in up.source.waiting, "the run that asks for src:two")
        assert f"/night/{night}/stop" in requests.get(f"{pages}/", timeout=60).text
        stopped = requests.post(f"{pages}/night/{night}/stop", timeout=120)
        assert stopped.status_code == 200, stopped.text
        eventually(lambda: all(run.is_finished for run in up.runs(harvest_night=str(night))), "the end of its runs")
    (run,) = up.runs(harvest_set="src:two", harvest_night=str(night))
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert up.releases(night) == [] and up.one("SELECT released_at FROM night WHERE night_id = %s", night) is None
    ((reason,),) = eventually(
        lambda: up.rows(
            """SELECT a.reason FROM attempt a JOIN harvest_set s USING (set_id)
               WHERE a.night_id = %s AND s.key = 'src:two' AND a.state = 'failed'""",
            night,
        ),
        "the end of its attempt",
    )
    assert reason == f"night {night} was stopped"
    assert requests.post(f"{pages}/set/src:two/harvest", timeout=60).status_code == 200


def test_a_retry_is_one_run_for_all_of_its_sets(up: Up) -> None:
    finished = "SELECT min(finished_at) FROM task_report JOIN harvest_set USING (set_id) WHERE task = 'check_url'"
    before = up.one(finished)
    run_id = DagsterLauncher(up.socket).retry("check_url", KEYS)
    run = eventually(partial(ended, up, run_id), "the end of the retry")
    assert (run.job_name, run.is_success) == ("retry", True)
    assert up.one(finished) > before, "the task ran over each set"


def ended(up: Up, run_id: str) -> dg.DagsterRun | None:
    found = up.instance.get_run_by_id(run_id)
    return found if found and found.is_finished else None


def test_a_webserver_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    for file in (tmp_path / "ui.sock", tmp_path / "nowhere" / "ui.sock"):
        with pytest.raises(NotStarted, match=rf"^Dagster at {file} did not start it: .*$") as caught:
            DagsterLauncher(file).launch("dtu", "full", 1)
        assert "\n" not in str(caught.value) and "query" not in str(caught.value)


def test_what_dagster_refuses_is_one_sentence_to_each_who_asked(up: Up) -> None:
    launcher = DagsterLauncher(up.socket, job="no_such_job")
    with ThreadPoolExecutor(4) as pool:
        for error in pool.map(lambda number: refusal(launcher, number), range(4)):
            assert re.search(r"JobNotFoundError: .*`no_such_job`", str(error)) and "\n" not in str(error)


def refusal(launcher: DagsterLauncher, request: int) -> NotStarted:
    with pytest.raises(NotStarted) as caught:
        launcher.launch("dtu", "full", request)
    return caught.value


def test_the_resources_show_their_fields_and_no_secret(up: Up) -> None:
    selector = {"repositoryLocationName": "harvester_dagster.definitions", "repositoryName": "__repository__"}
    answer = requests.post(f"{up.url}/graphql", json={"query": RESOURCES, "variables": {"s": selector}}, timeout=60)
    assert os.environ["HARVESTER_POSTGRES_URL"] not in answer.text
    found = {each["name"]: each for each in answer.json()["data"]["allTopLevelResourceDetailsOrError"]["results"]}
    assert set(found) == {"store", "objects", "outside", "search", "settings", "harvester"}
    (address,) = found["store"]["configuredValues"]
    assert address == {"key": "postgres_url", "value": "HARVESTER_POSTGRES_URL", "type": "ENV_VAR"}
    assert {each["name"] for each in found["harvester"]["nestedResources"]} >= {"store", "objects", "settings"}
    (settings,) = found["settings"]["configuredValues"]
    assert json.loads(settings["value"])["night"]["max_concurrent_sets"] == 4
