"""A sample source server of its own for each test: its lies and changes are state."""

from collections.abc import Iterator

import pytest

from harvester_dagster.demo.server import SampleServer, serve
from tests.demo.clients import NOW, SLOWNESS


@pytest.fixture
def sample() -> Iterator[SampleServer]:
    with serve(now=lambda: NOW, slowness=SLOWNESS) as running:
        yield running
