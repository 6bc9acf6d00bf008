"""A set beside its source's whole list of identifiers: what deltas had missed comes, goes, and is told."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harvester_dagster.cli.sets import set_app
from harvester_dagster.explain import status
from harvester_dagster.explain.status import SetLine
from harvester_dagster.releases import alerts, retention
from harvester_dagster.sets import attempts, reconcile, remap, steps
from harvester_dagster.sets.reconcile import NothingToReconcile
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.walk import NotWhole
from tests.sets.harvest_once import SETTINGS, SMALL
from tests.sets.paged_source import PagedSource, paged_source
from tests.sets.test_at_once import waited
from tests.sets.world import DAY, KEY, World, check, check_objects, commanded, opened_world
from tests.sources.misbehaving import Reply

Open = Callable[..., World]
DOWN = Reply(b"no", 404)
OLD = "2026-01-15T00:00:00Z"
"""Newer than what is known, older than any watermark."""


@pytest.fixture
def source() -> Iterator[PagedSource]:
    with paged_source(*"abcdefg") as running:
        yield running


@pytest.fixture
def open_world(database: str, source: PagedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    with ExitStack() as stack:
        paged: Any = source
        yield lambda **options: stack.enter_context(
            opened_world(database, paged, limits=SMALL, **SETTINGS | {"purge_after_days": 1000} | options)
        )


@pytest.fixture
def world(open_world: Open, source: PagedSource) -> World:
    world = open_world()
    world.night()
    source.changed = []
    world.night()
    source.took()
    return world


def drift(source: PagedSource) -> None:
    """New under an old date, changed under an old date, deleted under an old date, gone without a word."""
    source.titles |= {"h": "New", "a": "Another", "b": None}
    source.datestamps = {"h": OLD, "a": OLD, "b": OLD}
    del source.titles["c"]


WHOLE = {name: f"Title of {name}" for name in "defg"} | {"a": "Another", "h": "New"}


def test_what_deltas_had_missed(world: World, source: PagedSource) -> None:
    drift(source)
    world.night()
    before = world.state()
    source.took()
    assert sorted(world.titles()) == list("abcdefg")
    report, outcome = reconcile.reconcile(world.installation, KEY)
    assert (report.listed, report.known, report.missed) == (7, 7, 4)
    assert (report.missing, report.backdated, report.deleted, report.left) == (1, 1, 1, 1)
    assert report.examples == {"missing": ["h"], "backdated": ["a"], "deleted": ["b"], "left": ["c"]}
    assert source.took() == ["ids 0", "ids 1", "ids 2", "ids 3", "one h", "one a"]
    assert outcome.attempt and (outcome.attempt.mode, outcome.attempt.state) == ("reconcile", "accepted")
    assert world.titles() == WHOLE and world.outputs() == world.rebuilt()
    after = world.state()
    assert (after.watermark, after.refreshed_at) == (before.watermark, before.refreshed_at)
    assert after.reconciled_at == world.now
    again, outcome = reconcile.reconcile(world.installation, KEY)
    assert again.missed == 0 and outcome.attempt and outcome.attempt.generation is None
    assert "one" not in " ".join(source.took())
    check(world)
    check_objects(world)


def test_what_the_next_delta_brings_is_left_to_it(world: World, source: PagedSource) -> None:
    new = world.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    source.titles |= {"h": "New", "a": "Another", "b": None}
    source.datestamps = dict.fromkeys("hab", new)
    report, _ = reconcile.reconcile(world.installation, KEY)
    assert (report.missed, report.to_come) == (0, 3)
    assert sorted(world.titles()) == list("abcdefg")


def test_new_dates_that_said_nothing_new_are_remembered(world: World, source: PagedSource) -> None:
    source.datestamps = dict.fromkeys("abcdefg", OLD)
    world.night(asked="full")
    source.took()
    report, _ = reconcile.reconcile(world.installation, KEY)
    assert report.missed == 0 and not [asked for asked in source.took() if asked.startswith("one")]


def test_days_are_compared_with_seconds(world: World, source: PagedSource) -> None:
    source.datestamps = {"a": "2026-01-01", "b": "2026-01-02", "c": "yesterday", "d": ""}
    report, _ = reconcile.reconcile(world.installation, KEY)
    assert report.examples == {"backdated": ["b"]}


def test_too_many_that_left_are_rejected_and_may_be_accepted(open_world: Open, source: PagedSource) -> None:
    world = open_world(min_documents=2, max_shrink=0.2)
    world.night()
    source.listed = ["a", "b"]
    report, outcome = reconcile.reconcile(world.installation, KEY)
    assert report.left == 5 and outcome.is_replaced and "2 after 7" in outcome.reason
    assert len(world.titles()) == 7 and world.state().reconciled_at is None
    assert steps.accept(world.installation, KEY).published["products"] == 2
    assert sorted(world.titles()) == ["a", "b"]
    check(world)


def test_a_rejected_half_is_shown_to_be_a_lie(open_world: Open, source: PagedSource) -> None:
    world = open_world(min_documents=2, max_shrink=0.2)
    world.night()
    source.order = [0]
    assert world.night(asked="full").is_replaced
    assert "rejected" in reconcile.all_due(world.installation)[KEY]
    source.order = None
    report, outcome = reconcile.reconcile(world.installation, KEY)
    assert report.missed == 0 and not outcome.is_replaced
    assert [state for _, state in world.attempts()] == ["accepted", "superseded", "accepted"]
    assert not reconcile.all_due(world.installation)


def test_a_reconciliation_that_is_rejected_waits_where_everybody_looks(open_world: Open, source: PagedSource) -> None:
    world = open_world(min_documents=2, max_shrink=0.2)
    world.night()
    source.order = [0]
    assert world.night(asked="full").is_replaced
    source.order, source.listed = None, ["a", "b"]
    reconcile.reconcile(world.installation, KEY)
    assert [state for _, state in world.attempts()] == ["accepted", "superseded", "rejected"]
    line = line_of(world)
    assert (line.verdict, line.standing, line.needs_a_hand) == ("rejected", "on fallback", True)
    assert line.waits and (line.waits.attempt, line.waits.mode) == (3, "reconcile")
    assert "2 after 7" in line.waits.reason
    with world.installation.pool.connection() as connection:
        assert [candidate.attempt_id for candidate in attempts.waiting(connection).values()] == [3]
    (alert,) = alerts.standing(world.installation)
    assert alert.cause == f"reconciliation-rejected {KEY}"
    source.broken = {0: DOWN}
    world.night()
    line = line_of(world)
    assert line.verdict == "source failed" and line.waits and line.waits.attempt == 3, "a failure takes no place"
    source.broken = {}
    steps.accept(world.installation, KEY)
    line = line_of(world)
    assert line.waits is None and line.verdict == "source failed"
    assert not world.night(asked="full").is_replaced
    assert not line_of(world).needs_a_hand


def test_a_rejected_reconciliation_of_a_fresh_set_needs_a_hand_too(open_world: Open, source: PagedSource) -> None:
    world = open_world(min_documents=2, max_shrink=0.2)
    world.night(pass_time=False)
    source.listed = ["a", "b"]
    reconcile.reconcile(world.installation, KEY)
    line = line_of(world)
    assert (line.standing, line.harvest, line.verdict, line.needs_a_hand) == ("fresh", "accepted", "rejected", True)
    assert "2 after 7" in line.reason


def line_of(world: World) -> SetLine:
    found = status.set_line(world.installation, world.state())
    assert found is not None
    (same,) = (line for line in status.status(world.installation).sets if line.key == KEY)
    assert same.waits == found.waits
    return found


def test_an_empty_list_ends_nothing_unjudged(world: World, source: PagedSource) -> None:
    source.listed = []
    report, outcome = reconcile.reconcile(world.installation, KEY)
    assert report.left == 7 and outcome.is_replaced and "nothing is left" in outcome.reason
    assert len(world.titles()) == 7


@pytest.mark.parametrize("what", ["short", "down", "circle"])
def test_a_list_that_is_not_whole_changes_nothing(world: World, source: PagedSource, what: str) -> None:
    before = world.outputs()
    if what == "short":
        source.announced = 40
    elif what == "down":
        source.broken = {2: DOWN}
    else:
        source.order = [0] * 200
    with pytest.raises(NotWhole if what == "short" else SourceError):
        reconcile.reconcile(world.installation, KEY)
    assert world.outputs() == before and world.attempts()[-1] == ("reconcile", "failed")
    assert not steps.outcome(world.installation, KEY).is_replaced, "the set's harvest stands"


def test_a_list_that_may_lack_some_ends_none_of_them(
    open_world: Open, source: PagedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.titles = {f"n{number:03}": "Title" for number in range(200)}
    source.page_size = 50
    world = open_world()
    world.night()
    source.announced, source.listed = 200, [f"n{number:03}" for number in range(197)]
    report, _ = reconcile.reconcile(world.installation, KEY)
    assert (report.left, len(world.titles())) == (0, 200)
    (note,) = world.rows("SELECT reason FROM problem")[0]
    assert "3 known records were not listed" in note


def test_a_record_that_is_listed_and_not_given_costs_itself(world: World, source: PagedSource) -> None:
    drift(source)
    source.broken_singles = {"h": Reply(b""), "a": source.single("d")}
    report, _ = reconcile.reconcile(world.installation, KEY)
    assert report.not_given == 2 and report.examples["not given"] == ["h", "a"]
    assert sorted(world.titles()) == list("adefg") and world.titles()["a"] == "Title of a"


def test_a_source_that_goes_down_meanwhile_is_gone_on_with(world: World, source: PagedSource) -> None:
    drift(source)
    source.broken_singles = {"a": DOWN}
    with pytest.raises(SourceError):
        reconcile.reconcile(world.installation, KEY)
    source.took()
    source.broken_singles = {}
    reconcile.reconcile(world.installation, KEY)
    assert source.took() == ["one a"], "the list is whole and h is stored"
    assert world.titles() == WHOLE
    check_objects(world)


def test_a_replay_takes_it_along(world: World, source: PagedSource) -> None:
    drift(source)
    reconcile.reconcile(world.installation, KEY)
    world.forward(40 * DAY)
    retention.clean_up(world.installation)
    assert world.one("SELECT count(*) FROM page_bundle WHERE holds = 'identifiers'") == 0
    remap.remap(world.installation, KEY)
    assert world.titles() == WHOLE
    check_objects(world)


def test_a_look_changes_nothing(world: World, source: PagedSource) -> None:
    drift(source)
    attempts = world.attempts()
    assert reconcile.look(world.installation, KEY).missed == 4
    assert world.attempts() == attempts and sorted(world.titles()) == list("abcdefg")


def test_a_look_waits_while_as_many_as_may_already_ask_the_source(world: World) -> None:
    assert waited(world, lambda tell: reconcile.look(world.installation, KEY, tell)).missed == 0


def test_not_before_the_first_harvest_or_beside_another(open_world: Open) -> None:
    world = open_world()
    with pytest.raises(NothingToReconcile, match="was never harvested"):
        reconcile.reconcile(world.installation, KEY)
    world.night()
    steps.harvest(world.installation, KEY)
    with pytest.raises(NothingToReconcile, match="a harvest is going on"):
        reconcile.reconcile(world.installation, KEY)


def test_when_it_is_due(open_world: Open, source: PagedSource) -> None:
    world = open_world(reconcile_after_days=10)
    assert not reconcile.all_due(world.installation)
    world.night()
    source.changed = []
    for _ in range(8):
        world.night()
    assert not reconcile.all_due(world.installation)
    world.forward(timedelta(days=1))
    assert reconcile.all_due(world.installation) == {KEY: "a reconciliation is due every 10 days"}
    reconcile.reconcile(world.installation, KEY)
    assert not reconcile.all_due(world.installation)
    source.announced = 40
    world.night(asked="full")
    assert reconcile.all_due(world.installation) == {KEY: "the list of its newest harvest was short"}


PLACES: list[tuple[str, Any]] = [*(("kill_at", number) for number in range(4)), ("kill_for", "h"), ("kill_for", "a")]


@pytest.mark.parametrize(("where", "at"), PLACES)
def test_killed_at_any_call_it_loses_and_doubles_nothing(
    where: str, at: Any, world: World, source: PagedSource, database: str
) -> None:
    drift(source)
    command = [
        sys.executable,
        "-m",
        "tests.sets.harvest_once",
        database,
        source.url,
        world.now.isoformat(),
        "reconcile",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "ready\n"
        setattr(source, where, (at, process.pid))
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait() == -9
    setattr(source, where, None)
    killed = source.took()
    report, _ = reconcile.reconcile(world.installation, KEY)
    again = source.took()
    assert report.missed == 4 and world.titles() == WHOLE
    assert len(set(killed) & set(again)) <= 3, "the last stored page, one on its way, and the one that was asked for"
    assert world.one("SELECT count(*) FROM page_bundle WHERE holds = 'gone'") == 1
    check(world)
    check_objects(world)


def test_the_command(world: World, source: PagedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commanded(
        world,
        tmp_path,
        monkeypatch,
        'kind = "oai-pmh"\nmetadata_prefix = "oai_dc"\nmin_documents = 1000',
    )

    def harvester(*arguments: str) -> Any:
        return CliRunner().invoke(set_app, ["reconcile", *arguments])

    drift(source)
    found = json.loads(harvester(KEY, "--dry-run", "--json").stdout)
    assert found["report"]["missing"] == 1 and len(world.attempts()) == 2
    said = harvester(KEY)
    assert said.exit_code == 0, said.output
    assert "deltas had missed 1 that were missing, 1 that changed under an old date" in " ".join(said.output.split())
    assert json.loads(harvester(KEY, "--json").stdout)["outcome"]["attempt"]["state"] == "accepted"
    assert "was never harvested" in harvester("src:two").stderr
