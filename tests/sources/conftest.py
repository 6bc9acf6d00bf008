"""What tests of sources share: a way out that may call loopback, and requests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester_dagster.outside.http import Outside

RECORDINGS = Path(__file__).parent / "recordings"


@pytest.fixture
def outside() -> Iterator[Outside]:
    with Outside(allow_hosts=("127.0.0.1",), per_host_per_second=100_000, back_off=0.001) as out:
        yield out


@pytest.fixture
def recordings() -> Path:
    return RECORDINGS
