"""A sample source server of its own for each test: its lies and changes are state."""

from collections.abc import Iterator

import pytest

from harvester_dagster.services.sample.server import Sample, serve
from tests.sample.clients import NOW


@pytest.fixture
def sample() -> Iterator[Sample]:
    with serve(now=lambda: NOW) as running:
        yield running
