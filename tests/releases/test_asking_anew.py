"""Records whose purge was undone: how often their source is asked, and with what that ends."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.publication import audit, wishes
from harvester_dagster.publication.wishes import Wish
from harvester_dagster.releases import alerts, asking_anew, taking_down
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.sets import attempts, steps
from harvester_dagster.sources import sharekit
from harvester_dagster.sources.kind import Kind, Single
from tests.push.pushing import WITH_SECRET, push, rounds
from tests.sets.conftest import OpenWorld
from tests.sets.world import KEY, World, check, configured


def named(world: World, name: str) -> Named:
    ((doc_id, set_id),) = world.rows("SELECT doc_id, set_id FROM document WHERE external_id = %s", name)
    return Named(doc_id, set_id, f"{KEY}:{name}")


def undone(world: World, *names: str) -> list[Wish]:
    """Records that were published, purged, and are to be asked for."""
    if not world.titles():
        world.source.put(*names, "other")
        world.night()
    for name in names:
        assert taking_down.take_down(world.installation, named(world, name), "case 12", purge=True).purge == "done"
        taking_down.undo(world.installation, named(world, name))
    return asking_anew.due(world.installation)


def all_wishes(world: World) -> list[Wish]:
    with world.installation.pool.connection() as connection:
        return wishes.all_wishes(connection)


def with_single(single: Callable[..., Single] | None) -> Catalog:
    """The usual kinds, of which one asks for a single record in another way, or in none."""
    kind: Kind = replace(sharekit.KIND, single=single)
    return Catalog(CATALOG.entities, {**CATALOG.kinds, "sharekit": kind}, ())


def of_another_set(request: Any, external_id: str, outside: Any) -> Single:
    return sharekit.single(request, external_id, outside)._replace(sets=("elsewhere",))


def retired(world: World) -> None:
    world.installation = replace(world.installation, config=configured(world.source, sets=["two"]))


def without_single(world: World) -> None:
    world.installation = replace(world.installation, catalog=with_single(None))


def in_another_set(world: World) -> None:
    world.installation = replace(world.installation, catalog=with_single(of_another_set))


def never_harvested_since(world: World) -> None:
    world.change("UPDATE harvest_set SET watermark = NULL")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (retired, "is retired"),
        (without_single, "no way to ask for one record"),
        (in_another_set, "not of this set but of elsewhere"),
        (never_harvested_since, "was never harvested"),
    ],
)
def test_what_no_asking_brings_back_ends_and_people_are_told_why(
    world: World, change: Callable[[World], None], why: str
) -> None:
    (wished,) = undone(world, "a")
    alerts.tell_acts(world.installation)
    change(world)
    asked = asking_anew.ask(world.installation, wished)
    assert asked.is_over and why in asked.reason and all_wishes(world) == []
    with world.installation.pool.connection() as connection:
        (row,) = audit.untold(connection)
    assert (row.act, row.subject, row.detail) == ("ask no more", f"{KEY}:a", {"reason": asked.reason})
    assert alerts.tell_acts(world.installation)
    assert why in world.one("SELECT body->>'message' FROM alert ORDER BY told_at DESC, cause LIMIT 1")
    world.forward(timedelta(days=2))
    assert not [one for one in alerts.standing(world.installation) if one.cause.startswith("asked-anew")]


def test_whoever_brings_the_record_ends_the_wish(open_world: OpenWorld) -> None:
    world = open_world(**WITH_SECRET)
    undone(world, "a", "b")
    push(world, world.source.record("b"))
    rounds(world)
    assert [one.external_id for one in all_wishes(world)] == ["a"]
    world.night(asked="full")
    assert all_wishes(world) == [] and set(world.titles()) == {"a", "b", "other"}
    check(world)


def test_a_rejected_candidate_that_brings_it_ends_nothing_until_it_is_accepted(open_world: OpenWorld) -> None:
    world = open_world(min_documents=1)
    world.source.put("x", "y", "z")
    undone(world, "a")
    world.source.forget("x", "y", "z", "other")
    assert world.night(asked="full").is_replaced and len(all_wishes(world)) == 1
    steps.accept(world.installation, KEY)
    assert all_wishes(world) == []


def test_it_is_asked_for_ever_more_seldom_up_to_once_a_day(world: World) -> None:
    undone(world, "a")
    world.source.status = 503
    tried = []
    for _ in range(5 * 144):
        for wished in asking_anew.due(world.installation):
            tried.append(world.now)
            assert not asking_anew.ask(world.installation, wished).is_over
        world.forward(asking_anew.PAUSE)
    pauses = [later - sooner for sooner, later in pairwise(tried)]
    assert pauses[0] == asking_anew.PAUSE and pauses[-1] == pauses[-2] == timedelta(days=1)
    assert pauses == sorted(pauses) and len(tried) < 20


def test_of_two_who_ask_at_once_one_does(world: World) -> None:
    (wished,) = undone(world, "a")
    world.source.status = 503
    asking_anew.ask(world.installation, wished)
    world.source.status = 200
    world.source.asked.clear()
    again = asking_anew.ask(world.installation, wished)  # who read it before the other one asked
    assert again.did is None and not again.is_over and "somebody else" in again.reason
    assert world.source.asked == [] and len(all_wishes(world)) == 1


def test_a_later_wish_for_the_same_record_is_not_ended_with_an_earlier_one(world: World) -> None:
    (earlier,) = undone(world, "a")
    world.forward(timedelta(hours=1))
    (later,) = undone(world, "a")
    with world.installation.pool.connection() as connection:
        assert not wishes.claim(connection, earlier, world.now)
        assert not wishes.fulfil(connection, earlier)
    assert all_wishes(world) == [later]


def test_what_somebody_dismissed_is_not_proposed_again(world: World) -> None:
    undone(world, "a", "b")
    world.change(
        """INSERT INTO attempt (set_id, mode, why, started_at, ended_at, base_gen, state)
           SELECT set_id, 'record', %s, %s, %s, accepted_gen, 'rejected' FROM harvest_set WHERE key = %s""",
        *(attempts.window_of_record("a").why, world.now, world.now, KEY),
    )
    steps.dismiss(world.installation, KEY)
    assert [one.external_id for one in all_wishes(world)] == ["b"]


def test_what_cannot_be_read_at_its_source_is_asked_for_again(world: World) -> None:
    (wished,) = undone(world, "a")
    world.source.spoil("a")
    asked = asking_anew.ask(world.installation, wished)
    assert asked.did == "unreadable" and not asked.is_over and "without attributes" in asked.reason
    world.source.put("a")
    world.forward(asking_anew.PAUSE)
    (again,) = asking_anew.due(world.installation)
    assert "without attributes" in again.reason
    assert asking_anew.ask(world.installation, again).did == "new" and all_wishes(world) == []


def test_what_its_source_says_is_deleted_is_over_and_nothing_is_to_be_published(world: World) -> None:
    (wished,) = undone(world, "a")
    world.source.delete("a")
    asked = asking_anew.ask(world.installation, wished)
    assert asked.is_over and "deleted" in asked.reason and all_wishes(world) == []


def test_a_mistake_with_one_record_keeps_no_other_waiting_and_a_run_has_its_end(open_world: OpenWorld) -> None:
    def single(request: Any, external_id: str, outside: Any) -> Single:
        if external_id == "a":
            raise ValueError("what it holds")
        return sharekit.single(request, external_id, outside)

    world = open_world(catalog=with_single(single))
    undone(world, "a", "b", "c")
    (first,) = asking_anew.ask_due(world.installation, most=timedelta())
    assert first.wish.external_id == "a" and first.reason == "a mistake in this program (ValueError)"
    found = list(asking_anew.ask_due(world.installation))
    assert [(one.wish.external_id, one.did) for one in found] == [("b", "new"), ("c", "new")]
    (left,) = all_wishes(world)
    assert (left.external_id, left.reason) == ("a", first.reason)
