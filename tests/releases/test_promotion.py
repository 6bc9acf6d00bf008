"""Promotions keep their order: releases at once, a rollback in between, and a release by day that does not succeed."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.explain import status
from harvester_dagster.publication import audit, log
from harvester_dagster.publication.audit import Doer
from harvester_dagster.releases import day_work, release
from harvester_dagster.releases.day_work import Waiting
from harvester_dagster.sets import steps, versions
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.sets.versions import Held, NotPromotable, Superseded, Version
from tests.sets.world import KEY, World

MINUTE = timedelta(minutes=1)


def night(world: World, title: str) -> None:
    world.source.put("a", title=title)
    world.night()


def released(world: World, by_hand: bool = False) -> Version:
    found = release.release(world.installation, by_hand=by_hand).version
    assert found is not None
    return found


def current(world: World) -> Version:
    with world.installation.pool.connection() as connection:
        found = versions.current(connection)
    assert found is not None
    return found


def held(world: World) -> str | None:
    with world.installation.pool.connection() as connection:
        return versions.hold(connection)


def roll_back(world: World) -> Version:
    with world.installation.pool.connection() as connection:
        earlier = versions.before_current(connection)
    return versions.promote(world.installation, earlier, rollback=True)


class TestARollbackDuringARelease:
    @pytest.mark.parametrize("by_hand", [False, True])
    def test_is_not_undone_by_it(self, world: World, by_hand: bool) -> None:
        """Whoever began the release: it had not seen that hold."""
        night(world, "1")
        first = released(world)
        night(world, "2")
        released(world)
        night(world, "3")

        def rolled_back(_: str) -> None:
            if held(world) is None:
                roll_back(world)

        world.overwrite("a", {"description": "makes the release say what it does"})
        if by_hand:
            with pytest.raises(Held, match="held: rolled back to version 1"):
                release.release(world.installation, by_hand=True, progress=rolled_back)
        else:
            said = release.release(world.installation, by_hand=False, progress=rolled_back).said
            assert "held: rolled back to version 1" in said
        assert current(world).version_id == first.version_id and held(world)

    def test_a_release_by_hand_ends_the_hold_with_its_promotion_and_not_before(self, world: World) -> None:
        night(world, "1")
        released(world)
        night(world, "2")
        released(world)
        roll_back(world)
        with world.installation.pool.connection() as connection:
            seen = versions.holding(connection)
        version = versions.prepare(world.installation)
        assert seen and version and held(world)
        assert released(world, by_hand=True).version_id == version.version_id
        assert held(world) is None

    def test_a_hold_that_was_not_seen_stays(self, world: World) -> None:
        night(world, "1")
        held_now = versions.hold_releases(world.installation, "a demonstration")
        earlier = (held_now.since - timedelta(minutes=1)).isoformat()
        for seen in ("", earlier):
            with pytest.raises(Held, match="which was not seen: held by dagster: a demonstration"):
                release.release(world.installation, by_hand=True, hold_seen=seen)
        assert held(world) == held_now.reason and world.one("SELECT count(*) FROM current_version") == 0
        release.release(world.installation, by_hand=True, hold_seen=held_now.since.isoformat())
        assert held(world) is None and current(world).version_id == 1
        night(world, "2")
        release.release(world.installation, by_hand=True, hold_seen=earlier)
        assert current(world).version_id == 2, "what was seen is over"

    def test_it_goes_back_only_from_what_was_seen(self, world: World) -> None:
        for number in "123":
            night(world, number)
            released(world)
        with world.installation.pool.connection() as connection:
            first = versions.by_id(connection, 1)
        for seen in (2, 0):
            with pytest.raises(Superseded, match="version 3 is current by now; hold releases"):
                release.roll_back(world.installation, first, instead_of=seen)
        assert current(world).version_id == 3 and held(world) is None
        for _ in "ab":  # a run that was killed after it had gone back is run again
            release.roll_back(world.installation, first, instead_of=3)
        assert current(world).version_id == 1 and held(world) == "rolled back to version 1"

    def test_a_release_by_hand_with_nothing_to_promote_ends_the_hold_too(self, world: World) -> None:
        night(world, "1")
        version = released(world)
        versions.promote(world.installation, version, rollback=True)
        assert "held" in release.release(world.installation, by_hand=False).said
        assert "stays" in release.release(world.installation, by_hand=True).said and held(world) is None
        ended = world.rows("SELECT outcome, detail ->> 'reason' FROM audit WHERE act = 'end hold'")
        assert ended == [("done", "rolled back to version 1")]


class TestASetThatIsLate:
    """The deadline has passed, and its run goes on: whatever day work it has waits for that run, not the release."""

    def test_is_not_waited_for_while_its_harvest_goes_on(self, world: World) -> None:
        night(world, "1")
        world.source.put("a", spec="two")
        world.night("src:two")
        first = released(world)
        for key in (KEY, "src:two"):
            world.overwrite("a", {"title": "by hand"}, key=key)
        steps.harvest(world.installation, KEY, run_id="late")
        with lock_set(world.installation, KEY):
            begun = time.monotonic()
            version = release.prepare(world.installation)
        assert time.monotonic() - begun < 3 < day_work.LOCK_PATIENCE
        moved = {set_id for set_id, gen in (version.generations if version else {}).items() if gen == 2}
        assert moved == {world.state("src:two").set_id} and first.generations.keys() > moved

    def test_is_waited_for_some_seconds_where_nobody_can_say_what_goes_on(self, world: World) -> None:
        night(world, "1")
        world.overwrite("a", {"title": "by hand"})
        told: list[str] = []
        with lock_set(world.installation, KEY):
            begun = time.monotonic()
            assert day_work.finish(world.installation, told.append) == []
        assert time.monotonic() - begun < 2 * day_work.LOCK_PATIENCE
        assert len(told) == 1 and told[0].startswith(f"{KEY}: another run has worked on this set for 5 s")
        assert day_work.finish(world.installation) == [KEY]


class TestTwoReleases:
    def test_at_once_make_one_version(self, world: World) -> None:
        night(world, "1")
        barrier = threading.Barrier(4)

        def one(_: int) -> Version:
            barrier.wait()
            return released(world)

        with ThreadPoolExecutor(4) as threads:
            found = {version.version_id for version in threads.map(one, range(4))}
        assert len(found) == 1
        assert world.one("SELECT count(*) FROM dataset_version") == 1

    def test_of_different_runs_share_what_was_prepared(self, world: World) -> None:
        night(world, "1")
        first = versions.prepare(world.installation, run_id="a")
        second = versions.prepare(world.installation, run_id="b")
        assert first and second and first.version_id == second.version_id
        promoted = versions.promote(world.installation, first)
        world.forward()
        assert versions.promote(world.installation, second) == promoted, "it is current already"

    def test_the_slower_one_prepares_anew_where_a_set_has_moved(self, world: World) -> None:
        night(world, "1")
        slow = versions.prepare(world.installation)
        assert slow is not None
        night(world, "2")
        fast = released(world)
        with pytest.raises(versions.Superseded):
            versions.promote(world.installation, slow)
        assert current(world) == fast and released(world) == fast


class TestTwins:
    def test_a_rollback_goes_to_something_else(self, world: World) -> None:
        night(world, "1")
        first = released(world)
        night(world, "2")
        second = released(world)
        roll_back(world)
        world.forward()
        twin = released(world, by_hand=True)
        assert twin.generations == second.generations and twin.version_id > second.version_id
        world.forward()
        assert roll_back(world).version_id == first.version_id

    def test_one_that_is_asked_for_is_refused(self, world: World) -> None:
        night(world, "1")
        released(world)
        night(world, "2")
        second = released(world)
        roll_back(world)
        released(world, by_hand=True)
        with pytest.raises(NotPromotable, match="same documents as the current version 3"):
            versions.promote(world.installation, second, rollback=True)
        assert held(world) is None

    def test_neither_to_what_was_never_current(self, world: World) -> None:
        night(world, "1")
        released(world)
        night(world, "2")
        prepared = versions.prepare(world.installation)
        assert prepared is not None
        with pytest.raises(NotPromotable, match="never been current"):
            versions.promote(world.installation, prepared, rollback=True)


class TestAReleaseByDayThatDoesNotSucceed:
    def mark(self, world: World) -> str:
        waiting = day_work.waiting(world.installation)
        assert isinstance(waiting, Waiting), waiting
        return waiting.mark

    def test_is_asked_for_again_within_minutes_then_within_the_hour(self, world: World) -> None:
        """The sensor asks once for each mark: a mark that never changed was asked for once for ever."""
        night(world, "1")
        marks: list[str] = []
        asked: list[datetime] = []
        for _ in range(5 * 60):
            if (mark := self.mark(world)) not in marks:
                marks.append(mark)
                asked.append(world.now)
            world.forward(MINUTE)
        gaps = [after - before for before, after in itertools.pairwise(asked)]
        assert max(gaps) <= timedelta(hours=1) and len(asked) >= 5
        released(world)
        assert day_work.waiting(world.installation) == "nothing waits"

    def test_it_is_asked_for_again_though_nothing_but_an_overwrite_waits(self, world: World) -> None:
        night(world, "1")
        released(world)
        world.overwrite("a", {"title": "By hand"})
        marks = set()
        for _ in range(3):
            marks.add(self.mark(world))
            world.forward(timedelta(hours=1))
        assert len(marks) == 3

    def test_status_says_that_it_is_due(self, world: World) -> None:
        night(world, "1")
        released(world)
        assert status.status(world.installation).release_due is None
        night(world, "2")
        due = status.status(world.installation).release_due
        assert due is not None and due.sets == 1 and due.times > 1 and due.since < world.now


@given(st.integers(0, 10_000), st.integers(0, 90))
def test_patience_is_bounded(waited: int, later: int) -> None:
    since = datetime.fromisoformat("2026-10-25T00:00:00+00:00")
    before = day_work.times_due(since, since + waited * MINUTE)
    after = day_work.times_due(since, since + (waited + later) * MINUTE)
    assert 1 <= before <= after
    if later >= 60:
        assert after > before


def test_releases_are_held_until_one_by_hand(world: World) -> None:
    night(world, "1")
    released(world)
    night(world, "2")
    held_now = versions.hold_releases(world.installation, "a demonstration\0 goes on")
    assert held_now.reason == "held by dagster: a demonstration\\x00 goes on"
    assert versions.hold_releases(world.installation, "another") == held_now, "the first reason stays"
    acts = world.rows("SELECT detail ->> 'why', detail ->> 'stood' FROM audit WHERE act = 'hold' ORDER BY audit_id")
    assert acts == [("a demonstration\\x00 goes on", None), ("another", held_now.reason)]
    assert release.release(world.installation, by_hand=False).said.startswith("held: held by dagster")
    assert world.titles() == {"a": "2"} and current(world).version_id == 1
    assert released(world, by_hand=True).version_id == 2 and held(world) is None


def test_a_candidate_that_was_accepted_late_is_quiet_from_then_on(world: World) -> None:
    """Its outputs were made in the night; nobody had accepted them then."""
    world.source.put(*(f"{number:02}" for number in range(60)))
    world.night()
    released(world)
    world.source.forget(*(f"{number:02}" for number in range(30)))
    world.night(asked="full")
    assert steps.accept_standing(world.installation, KEY, 2) is not None
    waits = day_work.waiting(world.installation)
    assert isinstance(waits, str) and "quiet for" in waits
    world.forward(world.installation.config.night.release_quiet_period)
    assert isinstance(day_work.waiting(world.installation), Waiting)


def test_a_hold_is_ended_by_hand_where_it_is_the_one_that_was_seen(world: World) -> None:
    with pytest.raises(versions.NotHeld, match="are not held"):
        versions.let_go_on(world.installation)
    seen = versions.hold_releases(world.installation, "a demonstration")
    world.forward(timedelta(hours=1))
    versions.let_go_on(world.installation, seen.since)
    later = versions.hold_releases(world.installation, "another")
    with pytest.raises(versions.NotHeld, match=r"another hold is there by now: .* another"):
        versions.let_go_on(world.installation, seen.since)
    assert versions.let_go_on(world.installation) == later
    acts = world.rows("SELECT act, outcome, detail ->> 'reason' FROM audit WHERE act LIKE '%%hold' ORDER BY audit_id")
    assert [act for act, *_ in acts] == ["hold", "end hold", "hold", "end hold"]
    assert acts[-1] == ("end hold", "done", "held by dagster: another")


def test_what_was_published_when_and_who_went_back(world: World) -> None:
    for name in "ab":
        world.source.put(name)
        world.night()
        promoted = release.prepare(world.installation)
        assert promoted
        versions.promote(world.installation, promoted)
    world.forward()
    with world.installation.pool.connection() as connection:
        first = versions.by_id(connection, 1)
    with audit.acting(Doer("cli:alice")):
        versions.promote(world.installation, first, rollback=True)
    with world.installation.pool.connection() as connection:
        found = log.entries(connection, 9)
        assert [(one.seq, one.version_id, one.before, one.is_back, one.back, one.sets) for one in found] == [
            (3, 1, 2, True, "cli:alice", 1),
            (2, 2, 1, False, "", 1),
            (1, 1, None, False, "", 1),
        ]
        assert [one.seq for one in log.entries(connection, 1, before=3)] == [2]
        connection.execute("DELETE FROM audit")
        assert log.entries(connection, 1)[0].is_back, "its set went to an earlier generation"
