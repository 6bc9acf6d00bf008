"""One installation for all tests here: `harvester up` takes some ten seconds to start, a night under it as many."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.dagster.installed import SETS, Ears, Source, Up, serving


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Running, with two sets of ten records; its schedule opens a night every minute until a test stops it."""
    with ExitStack() as stack:
        source, ears = Source(), Ears()
        stack.enter_context(serving(source))
        stack.enter_context(serving(ears))
        for spec in SETS:
            source.fill(spec, 0, 10)
        home: Path = tmp_path_factory.mktemp("up")
        installed = Up(home, source, ears)
        try:
            installed.start()
            yield installed
        finally:
            installed.stop()


@pytest.fixture
def ears() -> Iterator[Ears]:
    server = Ears()
    with serving(server):
        yield server
