"""The record that a document was made from, found in the pages that are kept."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.explain import source_record
from harvester_dagster.explain import why as explain
from harvester_dagster.explain.source_record import Looked
from harvester_dagster.explain.why import FoundDocument
from harvester_dagster.releases import taking_down
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.sets import fetch
from harvester_dagster.sets.locked_set import lock_set
from tests.sets.conftest import OpenWorld
from tests.sets.harvest_once import SETTINGS
from tests.sets.paged_source import paged_source
from tests.sets.world import KEY, World, opened_world

NOTHING = Looked(None, is_whole=True)


def found(world: World, external_id: str = "a") -> FoundDocument:
    with world.installation.pool.connection() as connection:
        return explain.look_up(world.installation, connection, f"{KEY}:{external_id}")


def look(world: World, external_id: str = "a") -> Looked:
    return source_record.look(world.installation, found(world, external_id))


def content(world: World, external_id: str = "a") -> str:
    record = look(world, external_id).record
    assert record
    return record.content.decode()


def test_the_newest_that_its_source_sent(world: World) -> None:
    world.source.put("a", "aa", title="First")
    world.night()
    world.source.put("a", title="Second")
    world.night()
    assert json.loads(content(world))["attributes"]["title"] == "Second"
    assert json.loads(content(world, "aa"))["attributes"]["title"] == "First"
    record = look(world).record
    assert record and (record.attempt_id, record.harvested_at.day) == (2, 2)
    file = world.one("SELECT external_id FROM document WHERE entity = 'files' AND external_id LIKE 'a:%%'")
    assert json.loads(content(world, file))["id"] == "a", "of a part that of what it is a part of"
    world.source.delete("a")
    world.night()
    assert json.loads(content(world))["meta"]["status"] == "deleted"


@pytest.mark.parametrize("name", ["c/d", 'é "x" & <y>', "1", "x" * 300, "..", "日本"])
def test_whatever_its_id_is(world: World, name: str) -> None:
    world.source.put("11", "x", name, "日")
    world.night()
    assert json.loads(content(world, name))["id"] == name


def test_of_pages_in_xml_whatever_their_encoding(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    name = "oai:x.example:a+b/1"
    with paged_source("oai:x.example:a", name) as running:
        source: Any = running
        with opened_world(database, source, **SETTINGS) as world:
            world.night()
            assert "Title of oai:x.example:a+b/1" in content(world, name)
            key = world.one("SELECT object_key FROM page_bundle")
            pages = [page.decode().replace("UTF-8", "UTF-16") for page in fetch.bundled(world.installation, key)]
            for encoding in ("utf-16-le", "utf-16-be"):
                with lock_set(world.installation, KEY) as locked:
                    fetch.put_bundle(locked, key, [f"\ufeff{page}".encode(encoding) for page in pages])
                assert look(world, name).record, encoding


def test_nothing_where_it_is_not_kept_or_must_not_be_shown(open_world: OpenWorld) -> None:
    world = open_world(min_documents=0)
    world.source.put("a", "b")
    world.night()
    taken = found(world, "b")
    taking_down.take_down(world.installation, Named(taken.doc_id, taken.set_id, f"{KEY}:b"), "case 12")
    assert look(world, "b") == NOTHING
    assert look(world).record
    retired = open_world(sets=["two"])
    assert look(retired) == NOTHING
    world.installation.objects.delete([key for (key,) in world.rows("SELECT object_key FROM page_bundle")])
    assert look(world) == NOTHING


def test_a_search_that_takes_long_ends(world: World) -> None:
    for title in ("First", "Second", "Third"):
        world.source.put("a" if title == "First" else "b", title=title)
        world.night()
    ticks = itertools.count()
    late = source_record.look(world.installation, found(world), now=lambda: float(next(ticks)), seconds=2)
    assert late == Looked(None, is_whole=False)
    assert source_record.look(world.installation, found(world), now=lambda: float(next(ticks)), seconds=4).record
