"""What an index must hold is added up once; after that a push reckons from what it changes."""

import random

import pytest

from harvester_dagster.releases import release, taking_down
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.search import bulk_lines
from harvester_dagster.search.bulk_lines import Sums
from harvester_dagster.search.connection import Refused
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import Version
from tests.search.test_aliases import patched
from tests.search.world import World, product

NAMES = [f"p{n}" for n in range(12)]
SETS = ("a:one", "a:two")


def _complete(world: World) -> list[int] | None:
    with world.installation.pool.connection() as connection:
        row = connection.execute("SELECT complete FROM search_index WHERE shown AND entity = 'products'").fetchone()
    assert row is not None
    found: list[int] | None = row[0]
    return found


def _sums(world: World, version: Version) -> Sums:
    with world.installation.pool.connection() as connection:
        return bulk_lines.sums(connection, version, "products")


def _released(world: World) -> None:
    release.release(world.installation, by_hand=True)
    assert world.current() is not None


def _changes(drawn: random.Random, edition: int) -> dict[str, dict[str, object] | None]:
    names = drawn.sample(NAMES, drawn.randint(1, 6))
    return {name: None if drawn.random() < 0.3 else product(name, f"{name} {edition}") for name in names}


def test_the_sums_of_a_version_follow_from_those_of_any_other_one(world: World, seed: int) -> None:
    drawn = random.Random(seed)
    found: list[Version] = []
    for edition in range(6):
        world.accept(_changes(drawn, edition), key=drawn.choice(SETS))
        found.append(world.prepare())
        versions.promote(world.installation, found[-1])
        if drawn.random() < 0.5:
            with world.installation.pool.connection() as connection:
                rows = connection.execute("SELECT doc_id, set_id, external_id FROM document").fetchall()
            doc_id, set_id, name = drawn.choice(rows)
            taking_down.take_down(world.installation, Named(doc_id, set_id, f"a:one:{name}"), "case 12")
    for old in found:
        for new in found:
            with world.installation.pool.connection() as connection:
                moved = bulk_lines.moved(connection, old, new, "products")
            assert _sums(world, old).plus(moved) == _sums(world, new)


def test_a_push_reckons_and_a_release_adds_up(world: World) -> None:
    world.accept({name: product(name, "oud") for name in NAMES})
    _released(world)
    for edition in range(3):
        world.accept({"p1": product("p1", f"nieuw {edition}")})
        version = world.prepare()
        (made,) = patched(world, version) or ()
        documents, *parts = _complete(world) or ()
        assert made.how == "patch" and Sums(documents, tuple(parts)) == _sums(world, version)
    with world.installation.pool.connection() as connection:
        connection.execute("UPDATE search_index SET complete[1] = complete[1] + 1")
    world.accept({"p1": product("p1", "het nieuwst")})
    with pytest.raises(Refused, match=r"documents differ \(12 in the index, 13 expected\)"):
        patched(world, world.prepare())
    report = release.bring_up_index(world.installation, None)
    assert report is not None and report.outcome == "ready"
    with world.installation.pool.connection() as connection:
        rows = connection.execute("SELECT complete[1] FROM search_index WHERE version_id IS NOT NULL").fetchall()
    assert (12,) in rows


def test_after_a_takedown_all_is_added_up_again(world: World) -> None:
    world.accept({name: product(name, "oud") for name in NAMES})
    _released(world)
    with world.installation.pool.connection() as connection:
        doc_id, set_id = connection.execute(
            "SELECT doc_id, set_id FROM document WHERE external_id = 'p3'"
        ).fetchone() or (0, 0)
    assert taking_down.take_down(world.installation, Named(doc_id, set_id, "a:one:p3"), "case 12").behind == ""
    assert _complete(world) is None
    world.accept({"p1": product("p1", "nieuw")})
    version = world.prepare()
    assert patched(world, version)
    complete = _complete(world)
    assert complete is not None and complete[0] == 11
    assert "a:one:p3" not in world.shown()
