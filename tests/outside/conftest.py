"""A hostile server and a way out that may call it, for each test."""

from collections.abc import Iterator

import pytest

from harvester_dagster.outside.outside import Outside
from tests.outside.hostile_site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site()
    yield served
    served.close()


@pytest.fixture
def outside() -> Iterator[Outside]:
    """Loopback is allowed by its names only; retries come at once; no politeness."""
    with Outside(allow_hosts=("127.0.0.1", "localhost"), per_host_per_second=0, back_off=0.01) as way_out:
        yield way_out
