"""Extraction and outputs in processes of their own: the same night, and no night lost with a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harvester_dagster.installation import Limits
from tests.sets.conftest import OpenWorld
from tests.sets.world import KEY, Scripted, World, catalog, check

ROOT = Path(__file__).parents[2]
AT_ONCE = Limits(seconds_alone=0)


@pytest.fixture
def at_once(open_world: OpenWorld) -> World:
    """A world that starts further processes with the first work."""
    return open_world(limits=AT_ONCE)


def test_without_much_work_nothing_is_started(world: World) -> None:
    world.source.put("a", "b")
    world.night()
    assert world.installation.workers.run(pid, None) == os.getpid()


def test_a_night_in_other_processes_is_the_same_night(open_world: OpenWorld) -> None:
    echo = Scripted()
    world = open_world(catalog=catalog(echo.row), limits=AT_ONCE)
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


def test_what_a_killed_process_had_is_done_again(at_once: World) -> None:
    at_once.source.put("a", "b", "c")
    started(at_once)
    killed = {at_once.installation.workers.run(pid, None) for _ in range(10)}
    for process in killed:
        os.kill(process, signal.SIGKILL)
    at_once.night()
    assert sorted(at_once.titles()) == ["a", "b", "c"]
    started(at_once)
    assert at_once.installation.workers.run(pid, None) not in {*killed, os.getpid()}, "new ones were started"


def test_what_a_process_that_is_killed_at_work_had_is_done_here(at_once: World) -> None:
    started(at_once)
    for _ in range(at_once.installation.workers.count):
        assert at_once.installation.workers.run(killed_elsewhere, os.getpid()) == os.getpid()
    started(at_once)


@pytest.mark.service
def test_a_worker_ends_with_its_parent() -> None:
    program = """
import os, time
from harvester_dagster import config
from harvester_dagster.catalog import CATALOG, World
from harvester_dagster.processes.workers import Workers
from tests.processes.test_workers import pid
workers = Workers(World(CATALOG, config.parse({})))
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


def test_what_a_function_raises_is_raised_here_and_costs_no_process(at_once: World) -> None:
    started(at_once)
    with pytest.raises(ZeroDivisionError):
        at_once.installation.workers.run(divided, 0)
    assert at_once.installation.workers.run(divided, 5) == 2
    assert at_once.installation.workers.run(pid, None) != os.getpid()


def test_a_worker_ends_with_its_installation(at_once: World) -> None:
    started(at_once)
    process = psutil.Process(at_once.installation.workers.run(pid, None))
    at_once.installation.workers.close()
    process.wait(10)


def started(world: World) -> None:
    """Workers that are ready."""
    world.installation.workers.run(pid, None)
    deadline = time.monotonic() + 30
    while world.installation.workers.run(pid, None) == os.getpid():
        assert time.monotonic() < deadline


def pid(_world: object, _: None) -> int:
    return os.getpid()


def killed_elsewhere(_world: object, here: int) -> int:
    if os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return here


def divided(_world: object, by: int) -> int:
    print("what is printed is no answer")
    return 10 // by
