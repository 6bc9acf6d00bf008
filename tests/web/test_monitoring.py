"""What a monitor asks: does it live, can it answer, its figures; and the rules that ship."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from harvester_dagster.web import measures
from harvester_dagster.web.app import create_app
from harvester_dagster.web.monitoring import Monitoring
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import World

__all__ = ["open_world", "source"]
RULES = Path(__file__).parents[2] / "docs" / "alerts.yml"
TOKEN = {"Authorization": "Bearer s3cret"}
Figures = dict[tuple[str, ...], float]


@pytest.fixture
def world(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    return open_world(installed={"index": {"url": "none"}})


def asked(world: World, kept_seconds: float = 0) -> TestClient:
    return TestClient(create_app(world.installation.config.web, Monitoring(world.installation, kept_seconds).routes()))


def figures(client: TestClient, **headers: str) -> Figures:
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@contextmanager
def store_away(world: World) -> Iterator[None]:
    """Nobody gets a connection to it, and those there were are gone."""
    name = world.one("SELECT current_database()")
    with psycopg.connect(world.url, dbname="postgres", autocommit=True) as beside:
        beside.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        beside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        yield
        beside.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_the_figures_of_a_night(world: World) -> None:
    client = asked(world)
    before = figures(client)
    assert before["harvester_store_up",] == 1 and before["harvester_left_out",] == 0
    assert ("harvester_published_version",) not in before
    world.source.put("a", "b", files=("x",))
    world.night(pass_time=False)
    version = release.prepare(world.installation)
    assert version
    waiting = figures(client)
    assert waiting["harvester_waiting", "sets to release"] == 1
    versions.promote(world.installation, version)
    world.forward(timedelta(hours=2))
    found = figures(client)
    assert found["harvester_left_out",] == 0
    assert found["harvester_published_documents", "products"] == 2
    assert found["harvester_published_version",] == found["harvester_published_seq",] == 1
    assert found["harvester_set_age_seconds", "src:one"] == 7200
    assert found["harvester_sets", "fresh"] == 1 and found["harvester_sets", "stale"] == 0
    assert found["harvester_verdict", "src:one", "accepted"] == 1
    assert found["harvester_attempts", "full", "accepted"] == 1
    assert found["harvester_waiting", "sets to release"] == 0


def test_names_of_hosts_need_a_token(world: World) -> None:
    for url, ok, reason in (
        ("https://user:secret@a.example.org/x", True, ""),
        ("https://b.example.org:8080/y", False, "status-503: it is away"),
        ('https://"}evil{/', False, "What? <script>"),
    ):
        world.change(
            "INSERT INTO harvester.fetch (url, ok, reason, fetched_at) VALUES (%s, %s, %s, now())", url, ok, reason
        )
    client = asked(world)
    found = figures(client)
    assert found["harvester_outside_calls", "success"] == found["harvester_outside_calls", "status-503"] == 1
    assert not re.search(r"example|evil|<script", client.get("/metrics").text)
    found = figures(client, **TOKEN)
    assert found["harvester_outside_calls_of_host", "a.example.org", "true"] == 1
    assert found["harvester_outside_calls_of_host", "b.example.org", "false"] == 1
    assert "secret" not in client.get("/metrics", headers=TOKEN).text


def test_the_store_is_asked_once_in_a_while(world: World) -> None:
    client = asked(world, kept_seconds=60)
    assert ("harvester_verdict", "src:one", "accepted") not in figures(client)
    world.source.put("a")
    world.night()
    assert ("harvester_verdict", "src:one", "accepted") not in figures(client)
    assert ("harvester_verdict", "src:one", "accepted") in figures(asked(world))


@contextmanager
def standing_still(world: World) -> Iterator[None]:
    """The backends of those who read: they live, and say nothing."""
    backends = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
    pids = [pid for (pid,) in world.rows(backends, "harvester api")]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(("path", "status"), [("/ready", 503), ("/metrics", 200)])
def test_a_store_that_stands_still_is_told_in_time_and_costs_no_thread(world: World, path: str, status: int) -> None:
    client = asked(world)
    assert client.get(path).status_code == 200
    before = threading.active_count()
    with standing_still(world):
        begun = time.monotonic()
        answer = client.get(path)
        assert time.monotonic() - begun < 10 and answer.status_code == status
        assert path == "/ready" or "harvester_store_up 0.0" in answer.text
        assert client.get("/ready").status_code == 200, "by another connection"
    assert client.get("/ready").status_code == 200
    assert threading.active_count() <= before + 1


def test_it_is_ready_when_the_store_is(world: World) -> None:
    client = asked(world)
    assert client.get("/ready").json() == {"status": "ready"}
    version = world.one("SELECT version_num FROM alembic_version")
    world.change("UPDATE alembic_version SET version_num = '0001'")
    assert client.get("/ready").status_code == 503
    world.change("UPDATE alembic_version SET version_num = %s", version)
    with store_away(world):
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        assert figures(client)["harvester_store_up",] == 0
    assert client.get("/ready").status_code == 200


def test_rules_are_about_figures_that_there_are() -> None:
    known = {f"harvester_{family.name}" for family in measures.FAMILIES}
    known |= {f"harvester_{name}" for name in ("store_up", "left_out", "sets", "index_behind", "index_lag_seconds")}
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    named = {name for rule in rules for name in re.findall(r"harvester_\w+", rule["expr"])}
    assert named <= known and len(named) > 8
    assert sum("absent(" in rule["expr"] for rule in rules) >= 3
    assert all({"summary", "mend"} <= rule["annotations"].keys() for rule in rules)


def test_the_rules_are_valid() -> None:
    if not shutil.which("promtool"):
        pytest.fail("promtool is not installed: apt-get install prometheus (`make test` does so)")
    checked = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
