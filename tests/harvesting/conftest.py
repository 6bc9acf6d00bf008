"""Fixtures of the tests of the harvest core: a scripted source, and worlds over it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harvesting.scripted_source import ScriptedSource, scripted_source
from tests.harvesting.world import World, opened_world

OpenWorld = Callable[..., World]


@pytest.fixture
def source() -> Iterator[ScriptedSource]:
    with scripted_source() as server:
        yield server


@pytest.fixture
def open_world(
    database: str, source: ScriptedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenWorld]:
    """Opens a world; opened twice (another configuration or catalog), both are over the same store."""
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(opened_world(database, source, **options))


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    return open_world()
