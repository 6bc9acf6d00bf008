"""kill -9 at every commit, every call to the outside and every object written of a night; then it is simply run again.

The outcome must be that of a night that nothing disturbed: nothing lost, nothing doubled, nothing left open.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.databases import copy, named
from tests.kills.driver import mine, night, tasks
from tests.push.pushing import push
from tests.sets.conftest import source
from tests.sets.scripted_source import ScriptedSource
from tests.sets.world import DAY, NIGHT, World, opened_world

ROOT = Path(__file__).parents[2]
__all__ = ["source"]

Prepare = Callable[[World], None]


def first(_world: World) -> None:
    """Everything is new."""


def later(world: World) -> None:
    """New, changed and deleted records, a file that is gone and one that is there again, an overwrite."""
    world.source.files = {"b/x": 404}
    night(world, {}, "before")
    world.source.files = {"c/y": 404}
    world.source.now += DAY
    world.source.put("a", title="Another", files=("x", "y"))
    world.source.put("d", files=("x",))
    world.source.delete("b")
    world.overwrite("c", {"title": "By hand"})


def by_hand(world: World) -> None:
    """A rejected candidate is taken after all, when work of the day has taken its room."""
    night(world, {}, "before")
    world.source.now += DAY
    world.source.forget("b", "c")
    world.source.put("a", title="Another", files=("x", "z", "w"))
    world.source.files = {"a/w": 404}
    world.night(pass_time=False)
    world.overwrite("a", {"subtitle": "By hand"})
    world.day_work()
    assert [state for _, state in world.attempts()] == ["accepted", "rejected", "accepted"]


def pushed(world: World) -> None:
    """New, changed and deleted records and an old one were pushed, and wait; so does an overwrite."""
    old = world.source.record("c", title="Old")
    night(world, {}, "before")
    world.source.now += DAY
    world.source.files = {"d/y": 404}
    world.overwrite("c", {"subtitle": "By hand"})
    push(
        world,
        world.source.record("a", title="Another", files=("x", "z")),
        world.source.record("d", files=("x", "y")),
        {"id": "b", "meta": {"status": "deleted"}},
        old,
        world.source.record("a", title="And another", files=("x", "z")),
    )


PARTS = 3
"""Processes that share the kills of one night."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(
    ("prepare", "settings", "least"),
    [
        (first, {}, 30),
        (later, {}, 30),
        (by_hand, {"deletes": "no", "min_documents": 2}, 10),
        (pushed, {}, 20),
    ],
    ids=["first", "later", "by hand", "pushed"],
)
def test_a_night_killed_anywhere_and_run_again_ends_right(
    postgres_url: str,
    migrated: str,
    source: ScriptedSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Prepare,
    settings: dict[str, Any],
    least: int,
    part: int,
) -> None:
    template = f"before_{uuid.uuid4().hex}"
    copy(postgres_url, migrated, template)
    home = tmp_path / "before"
    monkeypatch.setenv("HARVESTER_HOME", str(home))
    source.page_size = 1
    with opened_world(named(postgres_url, template), source, catalog=tasks(), **settings) as world:
        source.put("a", "b", "c", files=("x", "y"))
        prepare(world)
    story = {
        "admin": postgres_url,
        "template": template,
        "source": source.url,
        "now": (source.now or NIGHT).isoformat(),
        "home": str(tmp_path),
        "before": str(home),
        "settings": settings,
        "accept": prepare is by_hand,
        "push": prepare is pushed,
        "part": part,
        "parts": PARTS,
    }
    lines = driven(story)
    undisturbed, kills = lines[0], lines[1:]
    events = undisturbed.pop("events")
    assert [kill["at"] for kill in kills] == list(mine(events, story)) and len(events) >= least
    assert undisturbed["as rebuilt"] and not undisturbed["open"] and not undisturbed["waiting"]
    wrong = [
        f"killed before event {kill['at']}, {[*events, 'the end'][kill['at'] - 1]}: {found}"
        for kill in kills
        if (found := differs(kill, undisturbed))
    ]
    assert not wrong, "\n".join(wrong)


def differs(kill: dict[str, Any], undisturbed: dict[str, Any]) -> Any:
    """What is not as it should be; nothing: all is."""
    if kill["killed"] != "killed" or not isinstance(kill["ended"], dict):
        return kill
    return {name: (kill["ended"][name], value) for name, value in undisturbed.items() if kill["ended"][name] != value}


def driven(story: dict[str, Any], driver: str = "driver") -> list[dict[str, Any]]:
    """What a driver of this folder says: first of a story that nothing disturbs, then of each kill."""
    ran = subprocess.run(
        [sys.executable, "-m", f"tests.kills.{driver}", json.dumps(story)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    print(ran.stderr[-5000:])
    return [json.loads(line) for line in ran.stdout.splitlines()]
