"""Fixtures of the tests of the harvest core: a scripted source, and worlds over it."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import OpenSearch

from tests.sets.scripted_source import ScriptedSource, scripted_source
from tests.sets.world import World, opened_world

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
def indexed(opensearch_url: str) -> Iterator[dict[str, Any]]:
    """Settings of an installation whose indices are its own on the session's OpenSearch."""
    platform = f"t{uuid.uuid4().hex[:12]}"
    yield {"platform": platform, "index": {"url": opensearch_url}}
    with OpenSearch(opensearch_url) as client:
        for name in client.indices.get(index=f"{platform}-*"):
            client.indices.delete(index=name)


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    return open_world()
