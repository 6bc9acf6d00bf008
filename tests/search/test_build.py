"""Bringing an index up to a version, and promoting it: on a real OpenSearch."""

import pytest

from harvester_dagster.search import build, swap
from harvester_dagster.search.build import EntityReport, IndexReport
from tests.search.conftest import OpenWorld
from tests.search.world import World, product


def _ready(report: IndexReport) -> EntityReport:
    assert (report.outcome, report.reason) == ("ready", "")
    (entity,) = report.entities
    return entity


def _release(world: World) -> EntityReport:
    version = world.prepare()
    made = _ready(build.bring_up(world.installation, version))
    assert swap.publish(world.installation, version).behind == ""
    return made


def _many(count: int, title: str = "Boek") -> dict[str, dict[str, object] | None]:
    return {f"p{n}": product(f"p{n}", f"{title} {n}") for n in range(count)}


def test_a_first_version_is_built_verified_and_shown(world: World) -> None:
    world.accept(_many(30))
    made = _release(world)
    assert (made.how, made.documents, made.added, made.rejected) == ("full", 30, 30, 0)
    assert made.name == f"{world.alias}--main-1"
    assert world.aliased() == {made.name}
    assert world.shown()["a:one:p7"] == "Boek 7"


def test_a_next_version_is_a_clone_with_only_the_difference(world: World) -> None:
    world.accept(_many(30))
    first = _release(world)
    world.accept({"p1": product("p1", "Anders"), "p2": None, "new": product("new", "Nieuw")})
    made = _release(world)
    assert (made.how, made.added, made.changed, made.removed, made.documents) == ("clone", 1, 1, 1, 30)
    shown = world.shown()
    assert (shown["a:one:p1"], shown["a:one:new"], "a:one:p2" in shown) == ("Anders", "Nieuw", False)
    assert world.shown(first.name)["a:one:p1"] == "Boek 1"
