"""Extraction and outputs in processes of their own: the same night, and no night lost with a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harvester_dagster import workers
from tests.harvesting.conftest import OpenWorld
from tests.harvesting.world import KEY, Scripted, World, catalog, check

ROOT = Path(__file__).parents[2]


def test_without_much_work_nothing_is_started(world: World) -> None:
    world.source.put("a", "b")
    world.night()
    assert world.installation.workers.run(pid, None) == os.getpid()


def test_a_night_in_other_processes_is_the_same_night(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "START_AFTER", 0)
    echo = Scripted()
    world = open_world(catalog=catalog(echo.row))
    world.source.page_size = 5
    names = [f"{number:03}" for number in range(40)]
    world.source.put(*names)
    started(world)
    world.night()
    world.source.put(*names[::3], title="Another")
    world.source.delete(*names[1::7])
    world.night()
    assert world.installation.workers.run(pid, None) != os.getpid()
    assert world.titles(KEY)["000"] == "Another" and "001" not in world.titles(KEY)
    assert world.outputs() == world.rebuilt()
    check(world)


def test_what_a_killed_process_had_is_done_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "START_AFTER", 0)
    world.source.put("a", "b", "c")
    started(world)
    killed = {world.installation.workers.run(pid, None) for _ in range(10)}
    for process in killed:
        os.kill(process, signal.SIGKILL)
    world.night()
    assert sorted(world.titles()) == ["a", "b", "c"]
    started(world)
    assert world.installation.workers.run(pid, None) not in {*killed, os.getpid()}, "new ones were started"


def test_what_a_process_that_is_killed_at_work_had_is_done_here(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "START_AFTER", 0)
    started(world)
    for _ in range(world.installation.workers.count):
        assert world.installation.workers.run(killed_elsewhere, os.getpid()) == os.getpid()
    started(world)


def test_a_worker_ends_with_its_parent() -> None:
    program = """
import os, time
from harvester_dagster import config
from harvester_dagster.catalog import CATALOG
from harvester_dagster.workers import Workers
from tests.harvesting.test_workers import pid
workers = Workers(CATALOG, config.parse({}))
workers.prepare()
while workers.run(pid, None) == os.getpid():
    time.sleep(0.01)
print(*{workers.run(pid, None) for _ in range(10)}, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout
    processes = [psutil.Process(int(process)) for process in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    assert processes
    for process in processes:
        process.wait(10)


def test_what_a_function_raises_is_raised_here_and_costs_no_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "START_AFTER", 0)
    started(world)
    with pytest.raises(ZeroDivisionError):
        world.installation.workers.run(divided, 0)
    assert world.installation.workers.run(divided, 5) == 2
    assert world.installation.workers.run(pid, None) != os.getpid()


def test_a_worker_ends_with_its_installation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "START_AFTER", 0)
    started(world)
    process = psutil.Process(world.installation.workers.run(pid, None))
    world.installation.workers.close()
    process.wait(10)


def started(world: World) -> None:
    """Workers that are ready."""
    world.installation.workers.run(pid, None)
    deadline = time.monotonic() + 30
    while world.installation.workers.run(pid, None) == os.getpid():
        assert time.monotonic() < deadline


def pid(_world: workers.World, _: None) -> int:
    return os.getpid()


def killed_elsewhere(_world: workers.World, here: int) -> int:
    if os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return here


def divided(_world: workers.World, by: int) -> int:
    print("what is printed is no answer")
    return 10 // by
