"""A set's lock as a thing: what it knows of the set, and what becomes of it when its connection is lost."""

import pytest

from harvester_dagster.sets import generations, steps
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.store.locks import Busy
from tests.sets.conftest import OpenWorld
from tests.sets.test_tasks import statements
from tests.sets.world import KEY, World, check


def test_one_accept_asks_for_the_row_of_its_set_once(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world = open_world(deletes="no", min_documents=1)
    world.source.put("a", "b", "c", "d")
    world.night()
    world.source.forget("a", "b", "c")
    assert world.night().is_replaced
    with statements(monkeypatch) as sent:
        assert steps.accept(world.installation, KEY).generation == 2
    asked = [statement for statement in sent if "FROM harvest_set WHERE" in statement]
    assert len([statement for statement in asked if "WHERE key" in statement]) == 1, asked
    assert len([statement for statement in asked if "accepted_gen" in statement]) == 1, asked
    assert len([statement for statement in asked if "FOR UPDATE" in statement]) == 1, "so that no takedown comes amid"
    assert len(asked) == 3, "its id, to lock it, its row, and that row held for the verdict"


def test_what_is_known_of_a_set_follows_what_is_changed_of_it(world: World) -> None:
    world.source.put("a")
    world.night()
    with lock_set(world.installation, KEY) as locked:
        assert locked.state == world.state()
        with locked.connection() as connection:
            locked.move(connection, withdrawn_at=world.now, watermark=None)
        assert locked.state == world.state()
        assert (locked.state.withdrawn_at, locked.state.watermark) == (world.now, None)


def test_a_set_is_known_as_it_is_when_its_lock_is_had(world: World) -> None:
    """Not as it was when the waiting began."""
    world.source.put("a")
    world.night()
    with lock_set(world.installation, KEY) as locked, locked.connection() as connection:
        locked.move(connection, accepted_gen=7)
    with lock_set(world.installation, KEY) as locked:
        assert locked.state.accepted_gen == 7


def test_two_at_once_are_refused_with_a_way_out(world: World) -> None:
    with lock_set(world.installation, KEY):
        refused = pytest.raises(Busy, match=r"src:one: another run .* harvest/set=src:one")
        with refused, lock_set(world.installation, KEY, patience=0.2):
            pass
        with lock_set(world.installation, "src:two", patience=0.2) as other:
            assert other.key == "src:two"


def test_who_lost_the_lock_takes_nothing_away_that_was_accepted_meanwhile(open_world: OpenWorld) -> None:
    world, another = open_world(), open_world()
    world.source.put("a", "b")
    world.night()
    with pytest.raises(Busy, match="lock was lost"), lock_set(world.installation, KEY) as locked:
        world.change(
            """SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
            locked.set_id,
        )
        world.source.put("c")
        assert another.night().generation == 2
        with locked.connection() as connection:
            generations.clean(connection, locked, 1)
    assert set(world.titles()) == {"a", "b", "c"}
    check(world)
