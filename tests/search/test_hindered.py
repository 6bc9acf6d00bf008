"""What stands between an alias and the version that it is to show: tried before the promotion, told, and mended."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from harvester_dagster.explain import status
from harvester_dagster.releases import alerts, release
from harvester_dagster.search import aliases
from harvester_dagster.search.search_side import SearchSide, search_side
from harvester_dagster.sets.versions import NotPromotable
from tests.search.conftest import OpenWorld
from tests.search.proxy import Asked, Instead, meddling
from tests.search.world import World, product

Hinders = Callable[[World], Any]


def edition(world: World, number: int) -> None:
    world.accept({f"p{n}": product(f"p{n}", f"editie {number}") for n in range(3)})


def released(world: World) -> None:
    version = world.prepare()
    release.bring_up_index(world.installation, version)
    release.release(world.installation, by_hand=False)


def side(world: World) -> SearchSide:
    found = search_side(world.installation)
    assert found is not None
    return found


@contextmanager
def an_index_of_that_name(world: World) -> Iterator[None]:
    shown = world.client.indices.exists_alias(name=world.alias)
    if shown:
        world.client.indices.delete_alias(index="*", name=world.alias)
    world.client.indices.create(index=world.alias)
    try:
        yield
    finally:
        world.client.indices.delete(index=world.alias)


@contextmanager
def a_block(world: World) -> Iterator[None]:
    (name,) = world.aliased()
    world.client.indices.put_settings(index=name, body={"index.blocks.read_only": True})
    try:
        yield
    finally:
        world.client.indices.put_settings(index=name, body={"index.blocks.read_only": None})


@pytest.mark.parametrize(
    ("hinders", "said"),
    [(an_index_of_that_name, "delete or rename"), (a_block, "lift that block")],
)
def test_what_hinders_the_alias_hinders_the_promotion(world: World, hinders: Hinders, said: str) -> None:
    edition(world, 1)
    released(world)
    edition(world, 2)
    with hinders(world):
        with pytest.raises(NotPromotable, match="version 2 is not announced"):
            released(world)
        current = world.current()
        assert current is not None and current.version_id == 1, "the one before it goes on serving"
        found = side(world)
        assert (found.state, found.version_id) == ("hindered", 2) and found.mend
        assert said in f"{found.reason}; {found.mend}"
        shown = status.status(world.installation)
        assert shown.search == found and shown.version_id == 1
        (alert,) = alerts.of_search(world.installation)
        assert alert.cause == "search-hindered" and found.reason in alert.message and alert.mend
    released(world)
    assert side(world).state == "follows" and alerts.of_search(world.installation) == []
    assert set(world.shown().values()) == {"editie 2"}


def test_a_first_release_is_hindered_by_an_index_of_that_name(world: World) -> None:
    """As clients make one that write to the alias before it is there."""
    edition(world, 1)
    with an_index_of_that_name(world):
        with pytest.raises(NotPromotable, match=r"an index has the name .*; delete or rename it"):
            released(world)
        assert world.current() is None
        assert status.status(world.installation).search == side(world)._replace(state="hindered", version_id=1)
    released(world)
    assert side(world) == SearchSide("follows", 1)


def test_rights_that_are_lacking_hinder_it(world: World, open_world: OpenWorld, opensearch_url: str) -> None:
    edition(world, 1)
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as there:
        proxy.before = lambda asked: Instead(403) if "_aliases" in asked.path else None
        with pytest.raises(NotPromotable, match="not allowed"):
            released(there)
        assert there.current() is None and side(there).state == "hindered" and side(there).mend


def test_nothing_moves_while_it_is_tried(world: World) -> None:
    edition(world, 1)
    released(world)
    edition(world, 2)
    version = world.prepare()
    release.bring_up_index(world.installation, version)
    before = world.aliased()
    aliases.rehearse(world.installation, version)
    assert world.aliased() == before


def test_an_installation_that_can_do_without_promotes_and_says_that_searches_are_behind(open_world: OpenWorld) -> None:
    with open_world(require=False) as world:
        edition(world, 1)
        released(world)
        edition(world, 2)
        with an_index_of_that_name(world):
            released(world)
            current = world.current()
            assert current is not None and current.version_id == 2
            found = side(world)
            assert (found.state, found.version_id, found.mend) == ("behind", 2, "delete or rename it")
            assert [alert.cause for alert in alerts.of_search(world.installation)] == ["search-behind"]
            assert aliases.behind(world.installation) == 2, "the sensor has it mended"
            assert "has the name" in release.catch_up(world.installation), "and again, as long as it takes"
        assert release.catch_up(world.installation) == ""
        assert side(world).state == "follows" and set(world.shown().values()) == {"editie 2"}


def test_a_move_that_fails_after_the_commit_is_made_up_for(
    world: World, open_world: OpenWorld, opensearch_url: str
) -> None:
    edition(world, 1)
    released(world)
    edition(world, 2)
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as there:
        tried: list[Asked] = []

        def second_time(asked: Asked) -> Instead | None:
            if "_aliases" in asked.path:
                tried.append(asked)
            return Instead(503) if len(tried) > 1 and "_aliases" in asked.path else None

        proxy.before = second_time
        released(there)
        current = there.current()
        assert current is not None and current.version_id == 2, "it is current: the store decides"
        found = side(there)
        assert found.state == "behind" and "503" in found.reason and found.is_built
        assert "503" in release.catch_up(there.installation)
        since = side(there).since
        assert since == found.since, "since it was found out first"
        proxy.before = lambda _asked: None
        assert release.catch_up(there.installation) == "" and side(there).state == "follows"
    assert set(world.shown().values()) == {"editie 2"}


def test_an_index_that_could_not_be_built_is_built_when_the_server_is_back(open_world: OpenWorld) -> None:
    with open_world(url="http://127.0.0.1:1", require=False) as away:
        edition(away, 1)
        released(away)
        found = side(away)
        assert (found.state, found.is_built) == ("behind", False) and "no connection" in found.reason
        assert aliases.behind(away.installation) is None, "not at once again: it may be a large one"
        with away.installation.pool.connection() as connection:
            connection.execute("UPDATE search_report SET at = at - %s", (timedelta(hours=2),))
        assert aliases.behind(away.installation) == 1
    with open_world(require=False) as world:
        assert release.catch_up(world.installation) == ""
        assert side(world).state == "follows" and len(world.shown()) == 3
