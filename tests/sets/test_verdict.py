"""`check_set_integrity`: the rule as a pure function, and what a verdict moves and leaves."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.config import SetSettings
from harvester_dagster.releases import day_work, standings
from harvester_dagster.sets import attempts, differences, looked_at, steps
from harvester_dagster.sets.attempts import NotOpen
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.sets.looked_at import CandidateMoved
from harvester_dagster.sets.verdict import judge, may_go
from harvester_dagster.store.locks import Busy
from harvester_dagster.tasks.task import Outcome
from tests.sets.conftest import OpenWorld
from tests.sets.world import KEY, Scripted, World, catalog, check

EIGHT = ("a", "b", "c", "d", "e", "f", "g", "h")


def settings(min_documents: int = 50, max_shrink: float = 0.05) -> SetSettings:
    return SetSettings(kind="sharekit", url="https://example.org", min_documents=min_documents, max_shrink=max_shrink)


amounts = st.integers(0, 10_000)
shrinks = st.floats(0.001, 0.999)


@given(h=amounts, n=amounts, m=amounts, least=amounts, shrink=shrinks)
def test_more_documents_are_never_judged_worse(h: int, n: int, m: int, least: int, shrink: float) -> None:
    less, more = sorted((n, m))
    if judge(more, h, settings(least, shrink)).rejected:
        assert judge(less, h, settings(least, shrink)).rejected


@given(h=amounts, least=amounts, shrink=shrinks)
def test_nothing_left_of_something_is_rejected_however_small_the_set(h: int, least: int, shrink: float) -> None:
    assert judge(0, h, settings(least, shrink)).rejected == (h > 0)


@given(h=amounts, n=st.integers(1, 10_000), least=amounts, shrink=shrinks)
def test_the_ratio_counts_from_min_documents_on(h: int, n: int, least: int, shrink: float) -> None:
    rejected = judge(n, h, settings(least, shrink)).rejected
    assert rejected == (h > 0 and h >= least and h > n and (h - n) / n >= shrink)


@given(h=amounts, n=amounts, least=amounts, shrink=shrinks)
def test_growth_and_standstill_are_accepted(h: int, n: int, least: int, shrink: float) -> None:
    assert not judge(max(h, n), h, settings(least, shrink)).rejected


@pytest.mark.parametrize(
    ("n", "h", "rejected"), [(100, 105, True), (101, 106, False), (100, 104, False), (20, 49, False), (20, 50, True)]
)
def test_the_rule_by_example(n: int, h: int, rejected: bool) -> None:
    verdict = judge(n, h, settings())
    assert verdict.rejected == rejected
    assert f"{h}" in verdict.reason


@given(h=st.integers(1, 10_000), n=st.integers(1, 10_000), shrink=st.decimals("0.001", "0.999", places=3))
def test_what_may_go_at_most_is_what_the_rule_says(h: int, n: int, shrink: Decimal) -> None:
    """In exact arithmetic: the share is the one that is written in the configuration."""
    most = may_go(h, float(shrink))
    share = Fraction(shrink)
    assert 0 <= most < h
    assert Fraction(most, h - most) < share, "so many may go"
    assert most + 1 == h or Fraction(most + 1, h - most - 1) >= share, "and no more"
    rejected = n < h and Fraction(h - n, n) >= share
    assert judge(n, h, settings(1, float(shrink))).rejected == rejected == (h - n > most)


def test_the_reason_says_how_many_may_go() -> None:
    assert judge(12, 23, settings(1)).reason == "12 after 23: 11 fewer, at most 1 may go (max_shrink 0.05)"
    assert "at most 0 may go" in judge(1, 2, settings(1)).reason


class TestRejected:
    """Half of a set with 200 OK."""

    @pytest.fixture
    def world(self, open_world: OpenWorld) -> World:
        world = open_world(deletes="no", min_documents=5)
        world.source.put(*EIGHT)
        world.night()
        world.source.forget(*EIGHT[4:])
        world.source.put("a", title="Another")
        return world

    def test_the_set_stays_as_it_was(self, world: World) -> None:
        before, watermark = world.outputs(), world.state().watermark
        outcome = world.night()
        assert outcome.is_replaced and "4 after 8: 4 fewer, at most 0 may go (max_shrink 0.05)" in outcome.reason
        assert (outcome.generation, outcome.published) == (1, {"products": 8, "files": 8})
        assert world.outputs() == before
        assert world.state().watermark == watermark
        check(world)

    def test_it_stays_to_be_looked_at(self, world: World) -> None:
        world.night()
        assert set(world.titles(gen=2)) == set(EIGHT[:4])
        with world.installation.pool.connection() as connection:
            set_id = world.state().set_id
            changes = list(differences.listed(connection, {set_id: 1}, {set_id: 2}))
        assert {change.change for change in changes} == {"changed", "removed"}

    def test_the_next_harvest_takes_its_place(self, world: World) -> None:
        world.night()
        world.source.put(*EIGHT)
        outcome = world.night()
        assert not outcome.is_replaced
        assert world.attempts() == [("full", "accepted"), ("full", "superseded"), ("full", "accepted")]
        with pytest.raises(steps.NothingToAccept, match="no rejected candidate"):
            steps.accept(world.installation, KEY)
        check(world)
        assert world.outputs() == world.rebuilt()

    def test_it_is_taken_after_all(self, world: World) -> None:
        started = world.now
        world.night()
        outcome = steps.accept(world.installation, KEY)
        assert (outcome.generation, outcome.is_replaced) == (2, False)
        assert set(world.titles()) == set(EIGHT[:4]) and world.titles()["a"] == "Another"
        assert world.state().watermark == started
        assert world.outputs()["a"]["modified_at"] == "2026-03-03T01:30:00Z", "when it was accepted"
        check(world)
        assert world.outputs() == world.rebuilt()

    def test_what_a_dry_run_lists_is_what_accepting_does(self, world: World) -> None:
        world.night()
        attempt = steps.candidate(world.installation, KEY)
        with world.installation.pool.connection() as connection:
            listed = list(
                differences.listed(
                    connection, {attempt.set_id: attempt.base_gen}, {attempt.set_id: attempt.base_gen + 1}
                )
            )
        assert world.state().accepted_gen == 1
        before = world.outputs()
        world.forward()
        steps.accept(world.installation, KEY)
        after = world.outputs()
        really = {
            f"{KEY}:{name}": "added" if name not in before else "removed" if name not in after else "changed"
            for name in before.keys() | after.keys()
            if before.get(name) != after.get(name)
        }
        assert {change.srn: change.change for change in listed} == really
        assert len(listed) == len(really)

    def test_it_is_taken_after_work_of_the_day_was_accepted(self, world: World) -> None:
        world.night()
        world.overwrite("b", {"title": "By hand"})
        outcome = world.day_work()
        assert outcome.generation == 2 and world.titles()["b"] == "By hand" and len(world.titles()) == 8
        outcome = steps.accept(world.installation, KEY)
        assert outcome.generation == 3
        assert world.titles() == {**{name: f"Title of {name}" for name in "cd"}, "a": "Another", "b": "By hand"}
        check(world)
        assert world.outputs() == world.rebuilt()

    def test_it_is_taken_although_the_source_failed_since(self, world: World) -> None:
        world.night()
        world.source.status = 404
        world.night()
        assert steps.accept(world.installation, KEY).generation == 2
        assert set(world.titles()) == set(EIGHT[:4])

    def test_what_was_looked_at_is_taken(self, world: World) -> None:
        world.night()
        attempt, found = steps.look(world.installation, KEY)
        assert (found.proposed["products"], found.accepted["products"], found.removed) == (4, 8, 8)
        assert steps.accept(world.installation, KEY, attempt_id=attempt.attempt_id).generation == 2

    @pytest.mark.parametrize("named", [True, False])
    def test_another_harvest_that_took_its_place_is_asked_for_anew(self, world: World, named: bool) -> None:
        world.night()
        attempt, _ = steps.look(world.installation, KEY)
        world.source.forget("b")
        world.night()
        with pytest.raises(CandidateMoved, match=r"attempt 2 is not the candidate .* attempt 3 is: 3 products after 8"):
            steps.accept(world.installation, KEY, attempt_id=attempt.attempt_id if named else None)
        assert len(world.titles()) == 8
        again, _ = steps.look(world.installation, KEY)
        assert steps.accept(world.installation, KEY, attempt_id=again.attempt_id).published["products"] == 3

    def test_figures_that_moved_by_day_are_asked_for_anew(self, world: World) -> None:
        world.night()
        attempt, _ = steps.look(world.installation, KEY)
        world.overwrite("b", {"language": 7})  # invalid: one product less
        world.day_work()
        with pytest.raises(
            CandidateMoved,
            match=r"has moved since it was looked at: it was .*4 products.* it is .*3 products.*--dry-run",
        ):
            steps.accept(world.installation, KEY, attempt_id=attempt.attempt_id)
        assert len(world.titles()) == 8 and world.attempts()[1] == ("full", "rejected"), "it still waits"
        steps.look(world.installation, KEY)
        assert steps.accept(world.installation, KEY, attempt_id=attempt.attempt_id).published["products"] == 3
        check(world)

    def test_an_attempt_that_is_none_is_named(self, world: World) -> None:
        world.night()
        with pytest.raises(CandidateMoved, match="attempt 99 is not the candidate"):
            steps.accept(world.installation, KEY, attempt_id=99)

    def test_it_is_not_taken_twice(self, world: World) -> None:
        world.night()
        steps.accept(world.installation, KEY)
        with pytest.raises(steps.NothingToAccept):
            steps.accept(world.installation, KEY)

    def test_it_is_laid_aside_for_good(self, world: World) -> None:
        world.night()
        assert steps.dismiss(world.installation, KEY).state == "dismissed"
        with pytest.raises(steps.NothingToAccept, match="dismissed"):
            steps.accept(world.installation, KEY)
        assert len(world.titles()) == 8
        world.source.put(*EIGHT)
        assert not world.night().is_replaced
        check(world)

    def test_it_is_taken_at_once_where_it_still_stands(self, world: World) -> None:
        world.night()
        digest = seen(world)
        world.overwrite("b", {"title": "By hand"})
        with pytest.raises(
            CandidateMoved, match="attempt 2 has moved since it was looked at: it is 4 products after 8"
        ):
            steps.accept_standing(world.installation, KEY, 2, seen="another")
        world.day_work()
        assert world.titles()["b"] == "By hand", "what it took along was given back"
        assert steps.accept_standing(world.installation, KEY, 2, seen=digest) is None, "work of the day took its place"
        steps.look(world.installation, KEY)
        with pytest.raises(CandidateMoved, match="attempt 1 is not the candidate that waits; attempt 2 is"):
            steps.accept_standing(world.installation, KEY, 1, seen=digest)
        outcome = steps.accept_standing(world.installation, KEY, 2, seen=seen(world))
        assert outcome and (outcome.generation, set(world.titles())) == (3, set(EIGHT[:4]))
        check(world)
        assert world.outputs() == world.rebuilt()

    def test_what_became_stale_since_is_made_and_looked_at_before_it_is_taken(self, world: World) -> None:
        world.night()
        digest = seen(world)
        world.overwrite("a", {"title": "By hand"})
        with pytest.raises(CandidateMoved, match="has moved since it was looked at"):
            steps.accept_standing(world.installation, KEY, 2, seen=digest)
        outcome = steps.accept_standing(world.installation, KEY, 2, seen=seen(world))
        assert outcome and world.titles()["a"] == "By hand", "the same documents differ, and one says something else"
        assert not world.rows("SELECT FROM dirty")
        check(world)

    def test_a_page_names_what_it_showed_whatever_others_looked_at_since(self, world: World) -> None:
        world.night()
        digest = seen(world)
        world.overwrite("b", {"language": 7})  # invalid: one product less
        world.day_work()
        steps.look(world.installation, KEY)
        with pytest.raises(CandidateMoved, match="has moved since it was looked at: it is 3 products"):
            steps.accept(world.installation, KEY, attempt_id=2, seen=digest)
        assert steps.accept(world.installation, KEY, attempt_id=2, seen=seen(world)).published["products"] == 3

    def test_a_look_leaves_the_work_of_the_day_to_the_day(self, world: World) -> None:
        world.night()
        world.overwrite("b", {"title": "By hand"})
        steps.look(world.installation, KEY)
        assert world.day_work().generation == 2 and world.titles()["b"] == "By hand"

    def test_nobody_waits_long_for_a_page(self, world: World) -> None:
        world.night()
        with lock_set(world.installation, KEY):
            for act in (
                lambda: steps.accept_standing(world.installation, KEY, 2, patience=0.1),
                lambda: steps.dismiss(world.installation, KEY, patience=0.1),
            ):
                with pytest.raises(Busy, match="another run has worked on this set"):
                    act()

    def test_another_one_than_was_looked_at_is_not_laid_aside(self, world: World) -> None:
        world.night()
        world.night()
        with pytest.raises(CandidateMoved, match="attempt 2 is not the candidate that waits; attempt 3 is"):
            steps.dismiss(world.installation, KEY, attempt_id=2)
        assert world.attempts()[1:] == [("full", "superseded"), ("full", "rejected")]
        assert steps.dismiss(world.installation, KEY, attempt_id=3).state == "dismissed"

    def test_the_same_window_is_asked_for_again(self, open_world: OpenWorld) -> None:
        world = open_world(min_documents=5)
        world.source.put(*EIGHT)
        world.night()
        world.source.delete("a", "b", "c")
        assert world.night().is_replaced
        first = world.source.asked[-1]
        assert world.night().is_replaced
        assert [asked for asked in world.source.asked if "page" in asked and asked == first] != []
        assert world.attempts()[1:] == [("delta", "superseded"), ("delta", "rejected")]
        assert len(world.titles()) == 8

    def test_a_step_of_a_run_whose_attempt_was_replaced_says_so(self, world: World) -> None:
        steps.harvest(world.installation, KEY, run_id="first")
        steps.harvest(world.installation, KEY, run_id="second")
        with pytest.raises(NotOpen, match=r"attempt 2 of this run is no longer open \(attempt 3 took its place"):
            steps.documents(world.installation, KEY, run_id="first")
        attempt = steps.documents(world.installation, KEY, run_id="second")
        assert attempt is not None and attempt.state == "staged"


def seen(world: World) -> str:
    """The digest of what a page shows of the candidate."""
    with world.installation.pool.connection() as connection:
        (attempt,) = attempts.waiting(connection).values()
        return looked_at.figures(connection, world.state(), attempt).digest


@pytest.mark.parametrize("asked", ["full", "reset"])
def test_a_purge_or_a_reset_that_brings_half_is_rejected(open_world: OpenWorld, asked: str) -> None:
    world = open_world(min_documents=5)
    world.source.put(*EIGHT)
    world.night()
    world.source.forget(*EIGHT[:4])
    outcome = world.night(asked=asked)  # type: ignore[arg-type]
    assert outcome.is_replaced and len(world.titles()) == 8
    check(world)


def test_a_small_set_that_falls_to_nothing_is_never_taken_over_silently(open_world: OpenWorld) -> None:
    world = open_world(deletes="no")
    world.source.put("a", "b")
    world.night()
    world.source.forget("a", "b")
    outcome = world.night()
    assert outcome.is_replaced and "nothing is left of 2" in outcome.reason
    assert set(world.titles()) == {"a", "b"}


def test_a_delta_that_deletes_too_much_is_rejected(open_world: OpenWorld) -> None:
    world = open_world(min_documents=5)
    world.source.put(*EIGHT)
    world.night()
    world.source.delete("a", "b", "c")
    assert world.night().is_replaced
    assert len(world.titles()) == 8


def test_one_rejected_entity_rejects_both(open_world: OpenWorld) -> None:
    world = open_world(min_documents=5)
    world.source.put(*EIGHT)
    world.night()
    world.source.put(*EIGHT[:4], files=(), title="Without its file")
    outcome = world.night()
    assert outcome.is_replaced and outcome.reason.startswith("files: ")
    assert outcome.attempt is not None and outcome.attempt.verdict is not None
    assert [outcome.attempt.verdict[entity]["rejected"] for entity in ("products", "files")] == [False, True]
    assert set(world.titles().values()) == {f"Title of {name}" for name in EIGHT}


def test_a_source_that_fails_makes_its_set_fall_back(world: World) -> None:
    world.source.put("a", "b")
    world.night()
    watermark = world.state().watermark
    world.source.status = 404
    outcome = world.night()
    assert outcome.is_replaced and "404" in outcome.reason
    assert (world.state().watermark, set(world.titles())) == (watermark, {"a", "b"})
    world.source.status = 200
    assert not world.night().is_replaced
    assert world.attempts() == [("full", "accepted"), ("delta", "failed"), ("delta", "accepted")]


def test_a_source_that_fails_in_its_first_night_leaves_nothing(world: World) -> None:
    world.source.status = 404
    outcome = world.night()
    assert (outcome.is_replaced, outcome.generation, outcome.published) == (True, 0, {})
    world.source.status = 200
    world.source.put("a")
    assert world.night().published == {"products": 1, "files": 1}
    check(world)


def test_the_verdict_of_a_night_is_that_of_its_harvest_whatever_else_was_done_in_it(open_world: OpenWorld) -> None:
    """A source that failed, and a look that was due and found something else: output changes, the check stays red."""
    echo = Scripted()
    world = open_world(catalog=catalog(echo.row))
    echo.answer = lambda item: Outcome("retry", None, "later", None)
    world.source.put("a")
    world.night(run_id="1")
    echo.answer = lambda item: Outcome("success", {"saw": "it"})
    world.source.status = 404
    outcome = world.night(run_id="2")
    assert outcome.is_replaced and "404" in outcome.reason
    world.forward()
    assert standings.standings(world.installation)[0].standing == "on fallback"


def test_looks_that_were_due_count_although_the_candidate_is_rejected(open_world: OpenWorld) -> None:
    world = open_world(deletes="no", min_documents=5)
    world.source.put(*EIGHT)
    world.source.files = {"a/a": 404}
    world.night()
    assert len(world.outputs()) == 15, "a's file is not found"
    world.source.forget(*EIGHT[4:])
    world.source.files = {}
    assert world.night().is_replaced
    assert day_work.finish(world.installation) == [KEY]
    assert len(world.outputs()) == 16, "a's file is there again"
    check(world)
    assert world.outputs() == world.rebuilt()
    assert steps.accept(world.installation, KEY).published == {"products": 4, "files": 4}
    check(world)


def test_a_failed_run_does_not_disturb_the_attempt_of_another_one(world: World) -> None:
    """Its outputs are for its own attempt; day work waits while somebody harvests."""
    world.source.put("a", "b")
    world.night()
    world.source.status = 404
    steps.harvest(world.installation, KEY, run_id="failed")
    world.source.status = 200
    world.source.put("c")
    steps.harvest(world.installation, KEY, run_id="going-on")
    steps.documents(world.installation, KEY, run_id="going-on")
    world.overwrite("a", {"title": "By hand"})
    steps.conclude(world.installation, KEY, run_id="failed")
    steps.outputs(world.installation, KEY, run_id="going-on")
    outcome = steps.conclude(world.installation, KEY, run_id="going-on")
    assert outcome.attempt is not None and outcome.attempt.state == "accepted"
    assert world.titles() == {"a": "By hand", "b": "Title of b", "c": "Title of c"}


def test_day_work_that_was_cut_is_finished_by_the_next_release(world: World) -> None:
    world.source.put("a", "b")
    world.night()
    world.overwrite("a", {"title": "By hand"})
    steps.outputs(world.installation, KEY, run_id="cut")
    assert day_work.finish(world.installation) == [KEY]
    assert world.titles()["a"] == "By hand"


def test_accepting_takes_the_place_of_day_work_that_was_cut(open_world: OpenWorld) -> None:
    world = open_world(deletes="no", min_documents=5)
    world.source.put(*EIGHT)
    world.night()
    world.source.forget(*EIGHT[4:])
    world.night()
    world.overwrite("b", {"title": "By hand"})
    steps.outputs(world.installation, KEY, run_id="cut")
    assert steps.accept(world.installation, KEY).generation == 2
    assert world.titles()["b"] == "By hand" and len(world.titles()) == 4
    with pytest.raises(NotOpen):
        steps.conclude(world.installation, KEY, run_id="cut")
    world.source.put(*EIGHT)
    assert world.night().published == {"products": 8, "files": 8}
    check(world)
    assert world.outputs() == world.rebuilt()


def test_work_of_the_day_is_judged_too(open_world: OpenWorld) -> None:
    """Sixteen URLs that die in one night do not empty a set."""
    world = open_world(min_documents=5)
    world.source.put(*EIGHT)
    world.night()
    world.source.files = {f"{name}/a": 404 for name in EIGHT[:4]}
    world.tasks(again="all")
    outcome = steps.conclude(world.installation, KEY)
    assert outcome.is_replaced and len(world.outputs()) == 16
    assert day_work.finish(world.installation) == [], "it is not tried again before the next harvest"


def test_products_that_become_invalid_count_as_gone(open_world: OpenWorld) -> None:
    world = open_world(min_documents=5)
    products = world.installation.catalog.entity("products")
    world.source.put(*EIGHT)
    world.night()
    no_bad = {"properties": {"title": {"not": {"pattern": "Bad"}}}}
    strict = replace(products, schema=lambda: no_bad)
    catalogue = world.installation.catalog
    other = open_world(
        min_documents=5,
        catalog=replace(catalogue, entities=(strict, *catalogue.entities[1:])),
    )
    other.source.put("a", "b", title="Bad")
    outcome = other.night()
    assert outcome.is_replaced and "6 after 8" in outcome.reason
    steps.accept(other.installation, KEY)
    assert len(other.titles()) == 6
    assert other.one("SELECT count(*) FROM output_body WHERE reasons[1] LIKE 'title: %'") == 2
    check(other)
    assert other.outputs() == other.rebuilt()
