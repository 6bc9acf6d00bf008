"""Two processes that run one set's night at the same time: both end, and the set is right."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from harvester_dagster import canonical
from harvester_dagster.releases import release
from harvester_dagster.sets import one_record, steps, versions
from harvester_dagster.store.source_slots import source_slot
from tests.kills.driver import tasks
from tests.sets.conftest import OpenWorld
from tests.sets.world import KEY, World, check

Came = TypeVar("Came")
ROOT = Path(__file__).parents[2]
RUN = """
import json, sys
from harvester_dagster.sets.attempts import NotOpen
from tests.kills.driver import KEY, opened
story = json.loads(sys.argv[1])
with opened(story["database"], story) as world:
    print("ready", flush=True)
    sys.stdin.readline()
    for night in range(story["nights"]):
        try:
            print(world.night(run_id=f"{story['name']} {night}", pass_time=False).generation, flush=True)
        except NotOpen as error:
            print(f"took its place: {error}", flush=True)
"""


def started(story: dict[str, Any]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(story)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    return open_world(catalog=tasks(), deletes="no")


def test_two_runs_of_one_set_at_once_both_end_and_leave_it_right(world: World, database: str) -> None:
    names = [f"{number:03}" for number in range(30)]
    world.source.put(*names, files=("x", "y"))
    world.night(pass_time=False)
    world.source.put(*names[::2], files=("x", "z"), title="Another")
    world.source.forget("001")
    story = {
        "source": world.source.url,
        "now": world.now.isoformat(),
        "settings": {"deletes": "no"},
        "database": database,
        "nights": 4,
    }
    both = [started({**story, "name": name}) for name in ("left", "right")]
    ended = []
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        said, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors[-2000:]
        ended.append(said.splitlines())
    assert all(len(lines) == 4 for lines in ended), ended
    assert all(line == "2" or "is no longer open" in line for lines in ended for line in lines[1:]), ended
    world.night()
    assert world.state().accepted_gen == 2
    assert len(world.titles(KEY)) == 29 and world.titles(KEY)["002"] == "Another"
    assert world.one("SELECT count(*) FROM attempt WHERE state IN ('open', 'fetched', 'staged')") == 0
    check(world)
    assert canonical.encode(world.outputs()) == canonical.encode(world.rebuilt())
    version = release.prepare(world.installation)
    assert version is not None and versions.promote(world.installation, version).is_current


def test_a_set_waits_while_as_many_as_may_already_ask_its_source(world: World) -> None:
    attempt = waited(world, lambda tell: steps.harvest(world.installation, KEY, progress=tell))
    assert attempt is not None and attempt.state == "fetched"


def test_a_look_at_one_record_waits_too(world: World) -> None:
    world.source.put("a")
    world.night()
    world.source.put("a", title="Another")
    assert waited(world, lambda tell: one_record.look(world.installation, KEY, "a", tell)).did == "changed"


def waited(world: World, ask: Callable[[Callable[[str], None]], Came]) -> Came:
    """What asking comes to, of which nothing is asked, and nothing begun, while all slots of the source are taken."""
    pool, slots = world.installation.pool, world.installation.config.night.sets_of_one_source
    waits, said = threading.Event(), []
    attempts = world.attempts()

    def progress(line: str) -> None:
        said.append(line)
        waits.set()

    with ThreadPoolExecutor(1) as threads:
        with ExitStack() as others:
            for _ in range(slots):
                others.enter_context(source_slot(pool, "src", slots))
            asking = threads.submit(ask, progress)
            assert waits.wait(10)
            assert said == [f"waits: {slots} already ask source src"]
            assert not asking.done() and world.attempts() == attempts
        return asking.result(timeout=30)
