"""A disk that is full: a sentence and its mend, nothing lost; with room again, the next night ends as it should.

Real small disks (tmpfs), which only some users may mount.
"""

import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from harvester_dagster.failures import mendable
from harvester_dagster.services import launcher
from harvester_dagster.store import database
from harvester_dagster.store.objects import Folder
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.scripted_source import ScriptedSource
from tests.sets.world import World, check, check_objects, opened_world

__all__ = ["open_world", "source"]
IDS = [f"r{number}" for number in range(20)]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def more_room(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def large(source: ScriptedSource) -> None:
    """Records whose texts no compression makes small."""
    noise = random.Random(1)
    for name in IDS:
        source.put(name, files=("x",), abstract=noise.randbytes(100_000).hex())


def test_the_disk_of_the_objects(open_world: OpenWorld, source: ScriptedSource, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    with small_disk(folder, "1m"):
        world = open_world(objects=Folder(folder))
        source.put("before")
        world.night()
        large(source)
        with pytest.raises(Exception) as full:
            world.night()
        said = str(mendable(full.value))
        assert "is full" in said and "make room" in said
        assert set(world.titles()) == {"before"}
        more_room(folder, "64m")
        world.night()
        assert set(world.titles()) == {"before", *IDS}
        check(world)  # the bundle that did not fit keeps its row until retention removes both


@pytest.mark.service
def test_the_disk_of_postgresql(source: ScriptedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    state = tmp_path / "small"
    filler = state / "filler"
    with small_disk(state, "400m"), ExitStack() as stack:
        world = opened(stack, state, tmp_path, source)
        source.put("before")
        world.night()
        large(source)
        filled(filler)
        with pytest.raises(Exception) as full:
            world.night()
        said = str(mendable(full.value))
        assert "disk is full" in said or "the store (PostgreSQL) fails" in said
        filler.unlink()
        with suppress(psycopg.Error):
            stack.close()
        world = opened(stack, state, tmp_path, source)
        world.night()
        assert set(world.titles()) == {"before", *IDS}
        check(world)
        check_objects(world)


def filled(filler: Path) -> None:
    """Write until nothing more fits."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(64 * 1024))


def opened(stack: ExitStack, state: Path, home: Path, source: ScriptedSource) -> World:
    url = stack.enter_context(launcher.postgres(state))
    database.migrate(url)
    return stack.enter_context(opened_world(url, source, objects=Folder(home / "objects")))
