"""kill -9 at every commit and every object of a takedown with its purge; then it is simply asked for again."""

import uuid
from pathlib import Path

import pytest

from tests.databases import copy, named
from tests.kills.driver import mine, night, tasks
from tests.kills.takedown_driver import MARKER
from tests.kills.test_kills import differs, driven
from tests.push.pushing import push
from tests.sets.conftest import source
from tests.sets.scripted_source import ScriptedSource
from tests.sets.world import NIGHT, opened_world

__all__ = ["source"]


@pytest.mark.timeout(900)
def test_killed_anywhere_it_is_not_begun_or_is_finished_by_asking_again(
    postgres_url: str,
    migrated: str,
    source: ScriptedSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    template, home = f"before_{uuid.uuid4().hex}", tmp_path / "before"
    copy(postgres_url, migrated, template)
    monkeypatch.setenv("HARVESTER_HOME", str(home))
    source.page_size = 1
    with opened_world(named(postgres_url, template), source, catalog=tasks()) as world:
        source.put("a", "c", files=("shared/x",))
        source.put("b", title=MARKER, files=("own", "shared/x"))
        source.contents = {"b/own": MARKER.encode()}
        night(world, {}, "first")
        source.put("b", title=f"{MARKER} 2", files=("own", "shared/x"))
        world.overwrite("b", {"subtitle": MARKER})
        push(world, source.record("b", title=f"{MARKER} pushed"))
        night(world, {}, "second")
    story = {
        "admin": postgres_url,
        "template": template,
        "source": source.url,
        "now": (source.now or NIGHT).isoformat(),
        "home": str(tmp_path),
        "before": str(home),
        "settings": {},
        "part": 0,
        "parts": 1,
    }
    undisturbed, *kills = driven(story, "takedown_driver")
    events = undisturbed.pop("events")
    assert [kill["at"] for kill in kills] == list(mine(events, story)) and len(events) >= 6, events
    assert undisturbed["tables"] == [] and undisturbed["takedowns"] == [["case 12", "done"]]
    assert undisturbed["half"] is False and undisturbed["seqs"] == 1
    last = kills[-1]["ended"]
    assert last["audit"] == 2, "all was done: to ask again is an act of its own"
    last["audit"] = undisturbed["audit"]
    wrong = [
        f"killed before event {kill['at']}, {[*events, 'the end'][kill['at'] - 1]}: {found}"
        for kill in kills
        if (found := differs(kill, undisturbed))
    ]
    assert not wrong, "\n".join(wrong)
