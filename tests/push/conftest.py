"""Fixtures of the tests of pushes: a world whose set takes them, harvested and released once."""

from collections.abc import Iterator

import pytest

from tests.push.pushing import SECRET, VARIABLE, WITH_SECRET, released, site
from tests.sets.conftest import OpenWorld, indexed, open_world, source
from tests.sets.world import World

__all__ = ["indexed", "open_world", "source"]


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    opened = open_world(**WITH_SECRET)
    opened.source.put("a", "b", "c")
    opened.night()
    released(opened)
    opened.source.asked.clear()
    return opened


@pytest.fixture
def url(world: World) -> Iterator[str]:
    with site(world.installation) as address:
        yield address
