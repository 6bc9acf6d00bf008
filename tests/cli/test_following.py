"""What is seen of a night as it goes on, and what its report says of each record."""

import re
from datetime import timedelta

import pytest

from harvester_dagster.cli import printing
from harvester_dagster.cli.following import Following
from harvester_dagster.config import NightSettings
from harvester_dagster.explain import status
from harvester_dagster.explain.night_progress import RELEASE, lines
from harvester_dagster.releases import nights, release
from harvester_dagster.sets import steps
from tests.sets.conftest import open_world, source, world
from tests.sets.world import World

__all__ = ["open_world", "source", "world"]


def said(world: World, night_id: int, **settings: int) -> dict[str, str]:
    with world.installation.pool.connection() as connection:
        found = lines(connection, night_id, 3, world.now, NightSettings(**settings))
    return {line.key: line.said for line in found}


def night(world: World) -> int:
    with world.installation.pool.connection() as connection:
        return nights.open_night(connection, world.installation.config, world.now).night_id


def test_a_set_that_waits_says_for_what(world: World) -> None:
    world.source.put("a")
    opened = night(world)
    assert said(world, opened)["src:two"] == "waits for Dagster to start its run"
    steps.harvest(world.installation, "src:one", night_id=opened)
    assert "1 pages" in said(world, opened)["src:one"]
    assert "night.max_concurrent_sets" in said(world, opened, max_concurrent_sets=1)["src:two"]
    assert "1 sets of src run" in said(world, opened, max_concurrent_sets=2)["src:two"]


def test_seconds_count_from_the_opening_where_nothing_has_begun(world: World) -> None:
    opened = night(world)
    world.forward(timedelta(seconds=7))
    with world.installation.pool.connection() as connection:
        assert {line.seconds for line in lines(connection, opened, 3, world.now)} == {7.0}


def test_the_release_says_how_far_it_is(world: World) -> None:
    world.source.put("a")
    opened = night(world)
    steps.harvest(world.installation, "src:one", night_id=opened)
    steps.documents(world.installation, "src:one")
    steps.conclude(world.installation, "src:one")
    with world.installation.pool.connection() as connection:
        for key in ("src:one", "src:two"):
            nights.set_ended(connection, opened, key, "success", world.now)
    assert said(world, opened)[RELEASE].startswith("waits for Dagster")
    with world.installation.pool.connection() as connection:
        nights.release_begun(connection, opened, {}, world.now)
    assert "is prepared" in said(world, opened)[RELEASE]
    release.release(world.installation, by_hand=False, night_id=opened)
    assert "version 1 is current" in said(world, opened)[RELEASE]


def test_without_a_terminal_each_line_has_a_clock(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    opened = night(world)
    with Following(world.installation.config.zone) as shown, world.installation.pool.connection() as connection:
        shown.show(lines(connection, opened, 3, world.now))
        shown.show(lines(connection, opened, 3, world.now))
    printed = capsys.readouterr().out
    assert re.findall(r"\d\d:\d\d:\d\d src:(one|two): waits for Dagster", printed) == ["one", "two"]


def test_each_record_is_in_one_column(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    source = world.source
    source.put("kept", "changes", "goes", "spoils")
    world.night()
    source.put("changes", title="Another")
    source.put("new", "odd")
    source.delete("goes", "never-known")
    source.spoil("spoils", "odd")
    for asked in (None, "full", "reset"):
        world.night(asked=asked)
        (line,) = [line for line in status.status(world.installation).sets if line.key == "src:one"]
        parts = [line.tally[name] for name in ("new", "changed", "unchanged", "deleted", "aside", "ignored")]
        assert sum(parts) == line.records and all(part >= 0 for part in parts), (asked, line.tally)
        assert line.tally["aside"] == 2
    printing.status(status.status(world.installation))
    assert "records = new + changed + same + deleted + aside + ignored" in capsys.readouterr().out


def test_a_version_without_a_harvest_says_why_it_came(world: World) -> None:
    world.source.put("a", "b")
    world.night()
    release.release(world.installation, by_hand=False)
    world.overwrite("a", {"title": "By hand"})
    release.release(world.installation, by_hand=False)
    said = status.status(world.installation).news
    assert "though the sources had nothing new: 1 documents have another overwrite" in said
    world.source.put("c")
    world.night()
    release.release(world.installation, by_hand=False)
    assert "sources sent" in status.status(world.installation).news


def test_a_night_whose_set_failed_names_it(world: World) -> None:
    opened = night(world)
    with world.installation.pool.connection() as connection:
        nights.set_ended(connection, opened, "src:one", "success", world.now)
        nights.set_ended(connection, opened, "src:two", "failure", world.now, "it broke")
        assert nights.failed(connection, opened) == {"src:two": "it broke"}
