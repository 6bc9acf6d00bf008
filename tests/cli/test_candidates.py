"""Accepting a rejected candidate at a terminal: what was shown there is taken, and nothing else."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harvester_dagster.sets import steps
from tests.cli.conftest import Run
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, World, commanded

__all__ = ["open_world", "source"]


@pytest.fixture
def rejected(open_world: OpenWorld, folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Four of eight are gone."""
    world = open_world(min_documents=2, deletes="no")
    world.source.put(*"abcdefgh", files=())
    world.night()
    world.source.forget(*"efgh")
    world.night()
    commanded(world, folder, monkeypatch, 'kind = "sharekit"\nmin_documents = 2\ndeletes = "no"')
    return world


def accepted(meanwhile: Callable[[], None]) -> tuple[int, str]:
    """Types the command, waits for its question, lets something happen, and says yes: its exit code, what it said."""
    ours, its = pty.openpty()
    command = [str(Path(sys.executable).with_name("harvester")), "accept", KEY]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, close_fds=True) as process:
        os.close(its)
        said = b""
        while b"Accept attempt 2?" not in said:
            said += os.read(ours, 4096)
        meanwhile()
        os.write(ours, b"y\n")
        try:
            while more := os.read(ours, 4096):
                said += more
        except OSError:  # it has ended
            pass
        return process.wait(60), said.decode()


@pytest.mark.parametrize("moves", ["another attempt", "its figures"])
def test_what_moves_while_it_is_thought_over_is_not_taken(rejected: World, moves: str) -> None:
    def meanwhile() -> None:
        if moves == "another attempt":
            rejected.source.forget("d")
            rejected.night()
        else:
            rejected.overwrite("b", {"language": 7})
            rejected.day_work()
        steps.look(rejected.installation, KEY)  # by somebody else

    code, said = accepted(meanwhile)
    assert code == 1 and "--dry-run" in said, said
    assert len(rejected.titles()) == 8


def test_what_stands_is_taken(rejected: World) -> None:
    code, said = accepted(lambda: None)
    assert code == 0 and "Accepted as generation 2" in said, said
    assert len(rejected.titles()) == 4


def test_a_dry_run_shows_all_that_would_change(
    open_world: OpenWorld, folder: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    world = open_world(min_documents=2, deletes="no")
    names = [f"p{number:02}" for number in range(50)]
    world.source.put(*names, files=())
    world.night()
    world.source.forget(*names[:40])
    world.night()
    commanded(world, folder, monkeypatch, 'kind = "sharekit"\nmin_documents = 2\ndeletes = "no"')
    said = run("accept", KEY, "--dry-run").stdout
    assert all(f"{KEY}:{name}" in said for name in names[:40]) and "--json" not in said
