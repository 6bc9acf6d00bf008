"""Worlds for the tests of the index: a store of their own, a platform of their own on the session's OpenSearch."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import OpenSearch

from harvester_dagster import config, installation
from harvester_dagster.sets import sets
from tests.search.world import World

SOURCE = {"kind": "sharekit", "url": "https://example.org", "sets": ["one", "two"]}

OpenWorld = Callable[..., AbstractContextManager[World]]


@pytest.fixture
def open_world(
    database: str, opensearch_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenWorld]:
    """Opens a world; settings of `[index]` may be given."""
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    platform = f"t{uuid.uuid4().hex[:12]}"
    with OpenSearch(opensearch_url, timeout=30) as client:

        @contextmanager
        def opened(**index: Any) -> Iterator[World]:
            settings = {"url": opensearch_url, **index}
            network = {"allow_hosts": ["127.0.0.1"]}
            given = {"platform": platform, "sources": {"a": SOURCE}, "index": settings, "network": network}
            read = config.parse(given)
            with installation.opened(read, database) as one:
                sets.synchronise(one.pool, read, one.clock())
                yield World(one, client)

        yield opened
        for name in client.indices.get(index=f"{platform}-*"):
            client.indices.delete(index=name)


@pytest.fixture
def world(open_world: OpenWorld) -> Iterator[World]:
    with open_world() as opened:
        yield opened
