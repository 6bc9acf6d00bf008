"""What people are told: posted as JSON to a real server and sent to Sentry, once per cause."""

import gzip
import time
from pathlib import Path

import dagster as dg
import pytest

from harvester_dagster import definitions
from harvester_dagster.releases import alerts, nights, release, taking_down
from harvester_dagster.releases.takedown_rounds import TakedownRounds
from harvester_dagster.releases.taking_down import Named
from tests.dagster.installed import Ears
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, World

__all__ = ["open_world", "source"]


@pytest.fixture
def world(open_world: OpenWorld, ears: Ears, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("HARVESTER_ALERT_URL", f"{ears.url}/alerts")
    opened: World = open_world(min_documents=5, deletes="no")
    opened.source.put(*(f"p{number}" for number in range(10)))
    opened.night()
    return opened


def shrink(world: World) -> None:
    world.source.forget(*(f"p{number}" for number in range(5)))


def told(world: World) -> list[str]:
    """The causes that are told now."""
    return [alert.cause for alert in alerts.tell(world.installation, alerts.standing(world.installation))]


def test_a_set_rejected_for_three_nights_is_told_once_with_what_to_do(world: World, ears: Ears) -> None:
    shrink(world)
    for heard in (0, 0, 1, 1):
        world.night()
        told(world)
        assert len(ears.heard) == heard
    assert ears.raw[0][0] == "/alerts"
    assert ears.heard[0]["cause"] == f"fallback {KEY}"
    assert "3 nights in a row" in ears.heard[0]["message"]
    assert f"harvester accept {KEY} --dry-run" in ears.heard[0]["mend"]


def test_every_takedown_purge_and_undoing_is_told_once_whatever_was_told_before(world: World, ears: Ears) -> None:
    release.release(world.installation, by_hand=True)
    named = one(world)
    taking_down.take_down(world.installation, named, "case 12")
    taking_down.take_down(world.installation, named, "case 12")
    taking_down.undo(world.installation, named)
    taking_down.take_down(world.installation, named, "case 12")
    taking_down.take_down(world.installation, named, "case 12", purge=True)
    taking_down.undo(world.installation, named)
    heard = [said["message"].removeprefix(f"{KEY}:p1 ") for said in ears.heard]
    assert heard == [
        "was taken down by dagster",
        "is shown again: dagster undid its takedown",
        "was taken down by dagster",
        "was taken down by dagster, and what is kept of it is removed",
        "is shown again: dagster undid its takedown",
    ]
    assert "case 12" not in str(ears.raw)
    told(world)
    assert alerts.tell_acts(world.installation) and len(ears.heard) == 5


@pytest.mark.parametrize("by", ["rounds", "night"])
def test_a_takedown_that_nobody_heard_of_is_told_later(world: World, ears: Ears, by: str) -> None:
    """Its process was killed before, or the address did not answer."""
    ears.status = 400
    taking_down.take_down(world.installation, one(world), "case 12")
    assert len(ears.heard) == 1
    ears.heard.clear()
    ears.status = 200
    if by == "rounds":
        rounds = TakedownRounds(world.installation)
        deadline = time.monotonic() + 30
        while rounds.round() or not ears.heard:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    else:
        with world.installation.pool.connection() as connection:
            night = nights.open_night(connection, world.installation.config, world.now)
        release.end_night(world.installation, night.night_id)
    assert [said["message"] for said in ears.heard] == [f"{KEY}:p1 was taken down by dagster"]


def one(world: World) -> Named:
    ((doc_id, set_id),) = world.rows("SELECT doc_id, set_id FROM document WHERE external_id = 'p1'")
    return Named(doc_id, set_id, f"{KEY}:p1")


def test_two_rejections_on_one_day_are_one_night(world: World) -> None:
    shrink(world)
    for _ in range(4):
        world.night(pass_time=False)
    assert told(world) == []


def test_a_cause_that_comes_back_is_told_again(world: World, ears: Ears) -> None:
    for status in (503, 503, 200, 404):
        world.source.status = status
        world.night()
        told(world)
    assert ears.causes == [f"source-failed {KEY}"] * 2


def test_what_nobody_heard_is_told_again(world: World, ears: Ears) -> None:
    world.source.status = 404
    world.night()
    ears.status = 500
    told(world)
    ears.status = 200
    told(world)
    told(world)
    assert ears.causes == [f"source-failed {KEY}"] * 2


def test_sentry_gets_the_message_and_no_secret(world: World, ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARVESTER_ALERT_URL")
    monkeypatch.setenv("SENTRY_DSN", ears.url.replace("//", "//key@") + "/7")
    world.source.status = 404
    world.night()
    assert told(world) == [f"source-failed {KEY}"]
    ((path, body),) = ears.raw
    sent = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    assert path == "/api/7/envelope/"
    assert f"{KEY}: its source failed".encode() in sent
    assert b"postgres" not in sent


def test_a_release_that_failed_is_told_and_ends_its_night(
    world: World, ears: Ears, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = world.installation.config
    away = config.model_copy(update={"index": config.index.model_copy(update={"url": "http://127.0.0.1:9"})})
    monkeypatch.setenv(config.store.postgres_url_env, world.url)
    with world.installation.pool.connection() as connection:
        night = nights.open_night(connection, config, world.now)
    defs = definitions.build(away)
    with dg.DagsterInstance.ephemeral() as instance:
        released = defs.resolve_job_def("release").execute_in_process(
            instance=instance, tags={"harvest/night": str(night.night_id)}, raise_on_error=False
        )
        assert not released.success
    assert [cause for cause in ears.causes if cause.startswith("release-missed")]
    assert world.one("SELECT count(*) FROM night WHERE ended_at IS NULL") == 0
    assert world.rows("SELECT * FROM current_version") == []
