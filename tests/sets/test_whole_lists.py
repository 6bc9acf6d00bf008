"""A list that is not whole is no harvest; one that was cut goes on; no page that comes wrong deletes anything."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester_dagster.cli import printing
from harvester_dagster.explain.status import status
from harvester_dagster.explain.why import why
from harvester_dagster.releases import alerts, nights
from harvester_dagster.sets import replay, steps
from tests.sets.harvest_once import SETTINGS, SMALL
from tests.sets.paged_source import PagedSource, paged_source
from tests.sets.test_histories import fresh_world
from tests.sets.world import DAY, KEY, NIGHT, World, check, check_objects, opened_world
from tests.sources.misbehaving import Reply

Open = Callable[..., World]
DOWN = Reply(b"no", 404)
NAMES = tuple("abcdefg")


@pytest.fixture
def source() -> Iterator[PagedSource]:
    with paged_source(*NAMES) as running:
        yield running


@pytest.fixture
def open_world(database: str, source: PagedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    with ExitStack() as stack:

        def opened(**options: Any) -> World:
            return stack.enter_context(opened_world(database, source, limits=SMALL, **SETTINGS | options))

        yield opened


def newest(world: World, what: str) -> Any:
    return world.rows(f"SELECT {what} FROM attempt ORDER BY attempt_id DESC LIMIT 1")[0][0]


def test_a_list_that_is_not_whole_changes_nothing(open_world: Open, source: PagedSource) -> None:
    world = open_world()
    world.night()
    before, watermark = world.outputs(), world.state().watermark
    source.changed, source.announced = ["a"], 40
    source.titles["a"] = "Another"
    source.took()
    for _ in range(2):
        outcome = world.night()
        assert outcome.is_replaced and "1 of 40" in outcome.reason
        assert world.outputs() == before and world.state().watermark == watermark
        assert newest(world, "pages") == 1, "what was received stays for a look"
    assert source.took() == ["0 since"] * 2, "the same is asked again"
    source.announced = 1
    world.night()
    assert world.titles()["a"] == "Another" and world.state().watermark == NIGHT + 3 * DAY
    check_objects(world)


def test_a_list_that_stays_too_short_names_its_key_after_three_nights(
    open_world: Open, source: PagedSource, capsys: pytest.CaptureFixture[str]
) -> None:
    world = open_world()
    world.night()
    source.announced = 40
    causes = []
    for _ in range(4):
        world.night()
        (alert,) = alerts.standing(world.installation)
        causes.append(alert.cause.partition(" ")[0])
    assert causes == ["source-failed", "source-failed", "list-size", "list-size"]
    assert "list_size" in alert.mend and "7 of 40" in alert.message
    source.broken = {0: DOWN}
    world.night()
    assert alerts.standing(world.installation)[0].cause.startswith("source-failed")
    source.broken = {}
    lenient = open_world(list_size="estimate")
    lenient.at(world.now)
    assert not lenient.night().is_replaced
    assert not alerts.standing(lenient.installation)
    (line,) = [line for line in status(lenient.installation).sets if line.key == KEY]
    assert "7 of 40" in line.notes[0] and line.counts["products"]["notes"] == 1
    printing.status(status(lenient.installation))
    assert "7 of 40" in capsys.readouterr().out
    assert any("7 of 40" in stage.reason for stage in why(lenient.installation, f"{KEY}:a"))


def test_a_harvest_that_was_cut_goes_on(open_world: Open, source: PagedSource) -> None:
    world = open_world()
    source.broken = {2: DOWN}
    assert world.night().is_replaced
    assert source.took() == ["0", "1", "2"]
    source.broken = {}
    world.night()
    assert source.took() == ["1", "2", "3"], "the last page that was stored, to see that the list is as it was"
    assert sorted(world.titles()) == list(NAMES)
    assert world.state().watermark == NIGHT, "what changed since the list was begun may be missing of it"
    assert newest(world, "pages") == 4 and "goes on where attempt 1 was cut" in newest(world, "why")
    check(world)
    check_objects(world)
    source.titles["a"] = "Changed meanwhile"
    world.night()
    assert world.titles()["a"] == "Changed meanwhile"


@pytest.mark.parametrize(("run_id", "night_id"), [("one", None), ("two", 1)])
def test_a_harvest_that_was_cut_behind_its_list_asks_nothing_again(
    open_world: Open, source: PagedSource, run_id: str, night_id: int | None
) -> None:
    """The same step begun again, or the run that takes the place of a dead one in its night."""
    world = open_world()
    with world.installation.pool.connection() as connection:
        nights.open_night(connection, world.installation.config, world.now)
    first = steps.harvest(world.installation, KEY, run_id="one", night_id=night_id)
    source.took()
    again = steps.harvest(world.installation, KEY, run_id=run_id, night_id=night_id)
    assert first and again and source.took() == []
    assert (again.attempt_id, again.state, again.run_id) == (first.attempt_id, "fetched", run_id)
    steps.documents(world.installation, KEY, run_id=run_id)
    assert newest(world, "state") == "staged"


@pytest.mark.parametrize(
    "ask", [{"run_id": "two", "night_id": 2}, {"run_id": "two"}, {"run_id": "one", "asked": "reset"}]
)
def test_what_another_night_or_run_has_asked_for_is_not_taken_for_ones_own(
    open_world: Open, source: PagedSource, ask: dict[str, Any]
) -> None:
    world = open_world()
    with world.installation.pool.connection() as connection:
        for _ in range(2):
            nights.open_night(connection, world.installation.config, world.now)
    steps.harvest(world.installation, KEY, run_id="one", night_id=1)
    source.took()
    steps.harvest(world.installation, KEY, **ask)
    assert len(source.took()) == 4


def test_a_token_that_does_not_hold_any_more_begins_anew(open_world: Open, source: PagedSource) -> None:
    world = open_world()
    source.broken = {2: DOWN}
    world.night()
    source.took()
    source.broken, source.season = {}, 1
    del source.titles["b"]
    world.night()
    assert source.took() == ["1", "2", "0", "1", "2"]
    assert sorted(world.titles()) == list("acdefg"), "only the list as it is now counts"
    assert world.one("SELECT count(*) FROM page_bundle WHERE attempt_id = 2") == 5
    check_objects(world)


def test_a_list_in_which_records_moved_begins_anew(open_world: Open, source: PagedSource) -> None:
    world = open_world()
    source.broken = {2: DOWN}
    world.night()
    source.took()
    source.broken = {}
    del source.titles["b"]
    world.night()
    assert source.took() == ["1", "0", "1", "2"], "else e would have been on a page that is not looked at"
    assert sorted(world.titles()) == list("acdefg")


def test_tokens_that_are_spent_by_their_use_are_gone_on_with(open_world: Open, source: PagedSource) -> None:
    world = open_world()
    source.spends, source.broken = True, {2: DOWN}
    world.night()
    source.took()
    source.broken = {}
    world.night()
    assert source.took() == ["1", "2", "3"]
    assert sorted(world.titles()) == list(NAMES)


def test_a_list_counts_what_it_goes_on_with(open_world: Open, source: PagedSource) -> None:
    world = open_world()
    source.announced, source.broken = 7, {3: DOWN}
    world.night()
    source.broken = {}
    assert not world.night().is_replaced
    assert sorted(world.titles()) == list(NAMES)


@pytest.mark.parametrize("what", ["later", "another url", "another window"])
def test_what_is_not_the_same_list_is_asked_for_anew(what: str, open_world: Open, source: PagedSource) -> None:
    world = open_world()
    world.night()
    source.broken = {2: DOWN}
    world.night(asked="full")
    source.broken = {}
    source.took()
    if what == "later":
        world.forward(3 * DAY)
        world.night(asked="full")
    elif what == "another url":
        source.url += "/"
        other = open_world()
        other.at(world.now)
        other.night(asked="full")
    else:
        world.night()
    assert source.took()[0] == ("0 since" if what == "another window" else "0")


def test_a_source_that_fails_again_and_again_loses_no_page(open_world: Open, source: PagedSource) -> None:
    world = open_world()
    for number in (1, 2, 3):
        source.broken = {number: DOWN}
        assert world.night(pass_time=False).is_replaced
        world.forward(timedelta(hours=1))
    source.broken = {}
    assert not world.night().is_replaced
    assert source.took() == ["0", "1", "0", "1", "2", "1", "2", "3", "2", "3"]
    assert world.state().watermark == NIGHT
    assert sorted(world.titles()) == list(NAMES)


def test_a_mapping_is_replayed_from_pages_that_another_attempt_began(open_world: Open, source: PagedSource) -> None:
    world = open_world()
    source.broken = {2: DOWN}
    world.night()
    source.broken = {}
    world.night()
    found = replay.coverage(world.installation, world.state())
    assert (found.pages, found.missing) == (4, "")


@pytest.mark.parametrize("page", range(4))
def test_a_process_killed_at_any_page_loses_nothing_that_was_stored(
    page: int, open_world: Open, source: PagedSource, database: str
) -> None:
    world = open_world()
    command = [sys.executable, "-m", "tests.sets.harvest_once", database, source.url, NIGHT.isoformat()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "ready\n"
        source.kill_at = page, process.pid
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait() == -9
    source.kill_at = None
    killed = source.took()
    assert killed == [str(number) for number in range(page + 1)]
    world.night()
    again = source.took()
    assert again[-1] == "3" and len(again) == len(set(again))
    assert int(again[0]) >= page - 2, "the last stored page, before one that was on its way and the one asked for"
    assert sorted(world.titles()) == list(NAMES)
    check(world)
    check_objects(world)


@settings(
    max_examples=max(5, settings.default.max_examples // 5),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(order=st.lists(st.integers(0, 3), min_size=1, max_size=8), asked=st.sampled_from(["full", None, "reset"]))
def test_pages_cut_off_repeated_or_shuffled_delete_nothing_and_move_no_watermark_wrongly(
    postgres_url: str,
    migrated: str,
    source: PagedSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    order: list[int],
    asked: Any,
) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path / uuid.uuid4().hex))
    source.now, source.titles = NIGHT, {name: f"Title of {name}" for name in NAMES}
    source.order, source.announced = None, len(NAMES)
    with fresh_world(postgres_url, migrated, source, **SETTINGS) as world:
        world.night()
        before = world.outputs()
        watermark = world.state().watermark
        source.titles = {name: f"New title of {name}" for name in NAMES}
        source.order = order
        outcome = world.night(asked=asked)
        source.order = None
        if set(order) == {0, 1, 2, 3} and not outcome.is_replaced:
            assert set(world.titles().values()) == set(source.titles.values())
            assert world.state().watermark == NIGHT + DAY
        else:
            assert outcome.is_replaced
            assert world.outputs() == before and world.state().watermark == watermark
        world.night()
        assert world.titles() == source.titles
        check(world)
