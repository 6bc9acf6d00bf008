"""What a purge leaves: nothing of the record's content in any table, object or index; and everything of all others."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import zstandard
from opensearchpy import OpenSearch

from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.publication import takedowns
from harvester_dagster.publication.takedowns import NotTakenDown, Takedown
from harvester_dagster.releases import alerts, asking_anew, purging, release, retention, taking_down
from harvester_dagster.releases.taking_down import Named, TakenDown
from harvester_dagster.search import aliases
from harvester_dagster.sets import one_record, remap, steps, versions
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.sets.one_record import NotByItself
from harvester_dagster.sources import sharekit
from harvester_dagster.sources.kind import Record, Request, Unreadable
from harvester_dagster.store.objects import Folder, Objects, open_objects
from harvester_dagster.tasks import check_url, once_per_body
from harvester_dagster.tasks.task import Context, Item, Outcome, Task
from tests.push.pushing import SECRET, VARIABLE, WITH_SECRET, post, push, site
from tests.sets.conftest import OpenWorld, indexed, open_world, source
from tests.sets.world import KEY, World, catalog, check, check_objects, drawing
from tests.store.test_objects import bucket, client

__all__ = ["bucket", "indexed", "open_world", "source"]
MARKER = "Zeldzaamwoord"
SRN = f"{KEY}:secret"
AUTHOR = {"person": {"name": f"{MARKER} Janssen", "email": f"{MARKER}@example.org"}}


def reads(items: Sequence[Item], context: Context) -> Iterator[tuple[Item, Outcome]]:
    def text(item: Item) -> Outcome:
        body = once_per_body.body_of(item, context)
        return Outcome("success", {"text": body.path.read_text()})

    return once_per_body.each(items, context, text, threads=2)


READING = Task("read", "files", 1, ("$.url", "check_url.validator", "check_url.status"), reads, after=("check_url",))
TASKS = catalog(check_url.TASK, READING, drawing())


def prepared(world: World) -> None:
    """A record that has left something everywhere, beside others; one of them shares a file with it."""
    world.source.contents = {
        "secret/own": f"{MARKER} in a file".encode(),
        "z/x": b"first",
        "secret/twin": b"the same",
        "z/twin": b"the same",
        "shared/x": b"of both",
    }
    world.source.put("a", title="One", files=("shared/x",))
    world.source.put("z", title="Two", files=("x", "twin"))
    filled(world, f"{MARKER} first")
    world.night()
    release.release(world.installation, by_hand=True)
    filled(world, f"{MARKER} second")
    for name, content in (("secret/own", f"{MARKER} in another file"), ("z/x", "second")):
        world.source.contents[name] = content.encode()  # whose first texts nobody needs now
        world.source.files[name] = 200, "another"
    world.tasks(again="all")
    world.overwrite("secret", {"subtitle": f"{MARKER} by hand"})
    push(world, world.source.record("secret", title=f"{MARKER} pushed"))
    world.night()
    release.release(world.installation, by_hand=True)
    push(world, world.source.record("secret", title=f"{MARKER} waits"))


def filled(world: World, title: str) -> None:
    world.source.put(
        "secret",
        title=title,
        abstract=f"A {MARKER}.",
        authors=[AUTHOR],
        files=("own", "twin", "shared/x"),
        publishedAt=MARKER,
    )


def named(world: World, name: str = "secret") -> Named:
    ((doc_id, set_id),) = world.rows("SELECT doc_id, set_id FROM document WHERE external_id = %s", name)
    return Named(doc_id, set_id, f"{KEY}:{name}")


def purge(world: World) -> TakenDown:
    return taking_down.take_down(world.installation, named(world), "case 12", purge=True)


def tables_with(world: World, text: str = MARKER) -> list[str]:
    """Every table of the schema of which a row has it, as text or as bytes."""
    names = world.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'harvester'")
    asked = (f"%{text}%", f"%{text.encode().hex()}%")
    return sorted(
        name
        for (name,) in names
        if world.one(f"SELECT count(*) FROM harvester.{name} x WHERE x::text LIKE ANY (%s)", list(asked))
    )


def objects_with(world: World, text: str = MARKER) -> list[str]:
    found = []
    for one in world.installation.objects.list():
        content = world.installation.objects.get(one.key)
        if one.key.endswith(".zst"):
            content = zstandard.ZstdDecompressor().decompress(content)
        if text.encode() in content:
            found.append(one.key)
    return found


@pytest.fixture
def world(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv(VARIABLE, SECRET)
    return open_world(catalog=TASKS, min_documents=1000, **WITH_SECRET)


def results_of_others(world: World) -> set[tuple[str, str, str]]:
    """Whose, of which task, and what was found, of all results that were not made for the secret one alone."""
    return {
        (owner, task, (data or {}).get("text", ""))
        for owner, task, data in world.rows(
            """SELECT o.external_id, x.task, x.data FROM result x JOIN document d ON d.doc_id = x.made_for
               JOIN document o ON o.doc_id = coalesce(d.owner_id, d.doc_id) WHERE o.external_id <> 'secret'"""
        )
    }


def check_gone(world: World) -> None:
    assert tables_with(world) == []
    assert objects_with(world) == []
    check(world)
    check_objects(world)


def test_nothing_of_it_is_left_and_nothing_of_others_is_lost(world: World) -> None:
    prepared(world)
    had = {*tables_with(world)}
    assert had >= {"body", "output_body", "overwrite", "overwrite_log", "result", "push", "problem"}, had
    assert len(objects_with(world)) >= 4
    others = {name: body for name, body in world.outputs().items() if not name.startswith("secret")}
    results = results_of_others(world)
    assert ("z", "read", "first") in results, "nobody needs it any more, and it is young"
    done = purge(world)
    assert (done.purge, done.left, done.behind) == ("done", "", "")
    check_gone(world)
    assert world.outputs() == others and results_of_others(world) == results
    assert world.rows("SELECT reason, purge, actor FROM takedown") == [("case 12", "done", "dagster")]
    assert world.rows("SELECT subject FROM audit WHERE act = 'takedown'") == [(SRN,)]
    world.forward()
    world.night()
    assert world.outputs() == others == world.rebuilt()


def test_purged_once_more_it_is_known_by_the_key_of_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(world)
    assert purge(world).purge == "done"
    with world.installation.pool.connection() as connection:
        connection.execute("UPDATE takedown SET mark = sha256('of a key that was lost')")
    world.forward()
    world.night()
    assert tables_with(world) != [], "hidden, but stored"
    assert purge(world).purge == "done"
    check_gone(world)
    world.forward()
    world.night()
    check_gone(world)


def test_what_was_made_beside_an_undoing_is_shown(world: World) -> None:
    world.source.put("secret")
    world.night()
    taking_down.take_down(world.installation, named(world), "case 12")
    world.source.put("secret", title="Another")
    steps.harvest(world.installation, KEY)
    steps.documents(world.installation, KEY)
    world.tasks()
    steps.outputs(world.installation, KEY)
    taking_down.undo(world.installation, named(world))
    with world.installation.pool.connection() as connection:  # as a transaction left it that the undoing did not see
        connection.execute("UPDATE output SET published = false WHERE from_gen = 2")
    steps.conclude(world.installation, KEY)
    assert world.titles() == {"secret": "Another"}
    check(world)


def test_on_s3(open_world: OpenWorld, bucket: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    endpoint = request.getfixturevalue("s3")
    objects: Objects = open_objects(f"s3://{bucket}/kept", tmp_path / "copies", lambda: client(endpoint))
    world = open_world(catalog=TASKS, min_documents=1000, objects=objects)
    prepared(world)
    assert len(objects_with(world)) >= 4
    assert purge(world).purge == "done"
    check_gone(world)
    copies = [path for path in (tmp_path / "copies").rglob("*") if path.is_file()]
    assert [path for path in copies if MARKER.encode() in path.read_bytes()] == []


def test_no_index_has_it(open_world: OpenWorld, indexed: dict[str, Any], opensearch_url: str) -> None:
    world = open_world(catalog=TASKS, min_documents=1000, installed=indexed)
    prepared(world)
    with OpenSearch(opensearch_url) as search:
        assert len(search.indices.get(index=f"{indexed['platform']}-*")) == 2
        assert purge(world).purge == "done"
        (name,) = search.indices.get(index=f"{indexed['platform']}-*")
        stats = search.indices.stats(index=name, metric="docs")["indices"][name]["primaries"]["docs"]
        assert stats == {"count": 2, "deleted": 0}, "nothing that is only marked as deleted"
        shards = requests.get(f"{opensearch_url}/{name}/_segments", timeout=30).text
        assert '"deleted_docs":0' in shards and MARKER not in json.dumps(search.search(index=name))
    assert aliases.reconcile(world.installation) == ""
    filled(world, f"{MARKER} again")
    world.source.put("z", title="Three")
    world.night()
    release.release(world.installation, by_hand=True)
    check_gone(world)
    with world.installation.pool.connection() as connection:
        first = versions.by_id(connection, 1)
    release.roll_back(world.installation, first)
    check_gone(world)


def test_when_its_source_sends_it_again_it_is_left_out_and_counted(world: World) -> None:
    prepared(world)
    purge(world)
    for asked in (None, "full", "reset"):
        filled(world, f"{MARKER} once more")
        outcome = world.night(asked=asked)
        assert not outcome.is_replaced, outcome
        check_gone(world)
        (tally,) = world.rows("SELECT tally FROM attempt ORDER BY attempt_id DESC LIMIT 1")
        assert tally[0]["ignored"] == 1, "one record that came counts as nothing new"
        assert "were left out" in world.one("SELECT reason FROM problem ORDER BY attempt_id DESC LIMIT 1")
    assert remap.remap(world.installation, KEY).attempt is not None
    check_gone(world)
    with site(world.installation) as url:
        answer = post(url, world.source.record("secret", title=MARKER))
        assert answer.json() == {"srn": SRN, "stored": False}
    with pytest.raises(NotByItself, match="was purged"):
        one_record.harvest(world.installation, KEY, "secret")
    check_gone(world)


def test_undone_its_source_is_asked_for_it_anew(world: World) -> None:
    prepared(world)
    purge(world)
    assert taking_down.undo(world.installation, named(world)).documents == 0
    (wished,) = asking_anew.due(world.installation)
    assert asking_anew.ask(world.installation, wished) == (wished, "new", "", True)
    release.release(world.installation, by_hand=True)
    assert world.outputs()["secret"]["title"] == f"{MARKER} second"
    check(world)
    assert world.outputs() == world.rebuilt() and asking_anew.due(world.installation) == []


def test_a_source_that_is_away_is_asked_later(world: World) -> None:
    prepared(world)
    purge(world)
    taking_down.undo(world.installation, named(world))
    (wished,) = asking_anew.due(world.installation)
    kept = world.source.records["one"].pop("secret")
    world.source.status = 503
    asked = asking_anew.ask(world.installation, wished)
    assert not asked.is_over and asked.reason
    assert asking_anew.due(world.installation) == [], "not at once again"
    world.source.status = 200
    world.source.records["one"]["secret"] = kept
    world.forward(asking_anew.PAUSE)
    (wished,) = asking_anew.due(world.installation)
    assert wished.reason
    world.forward(timedelta(days=1))
    assert [alert.cause for alert in alerts.standing(world.installation)] == [f"asked-anew {wished.doc_id}"]
    assert asking_anew.ask(world.installation, wished).did == "new"
    assert asking_anew.due(world.installation) == alerts.standing(world.installation) == []


def test_while_its_set_waits_for_somebody_it_waits_with_it(open_world: OpenWorld) -> None:
    world = open_world(catalog=TASKS, min_documents=1, max_shrink=0.1)
    prepared(world)
    purge(world)
    world.source.forget("a", "z")
    assert world.night(asked="full").is_replaced
    taking_down.undo(world.installation, named(world))
    (wished,) = asking_anew.due(world.installation)
    assert "candidate waits" in asking_anew.ask(world.installation, wished).reason
    steps.accept(world.installation, KEY)
    world.forward(asking_anew.PAUSE)
    assert [asking_anew.ask(world.installation, one).did for one in asking_anew.due(world.installation)] == ["new"]


def test_nobody_asks_for_what_its_source_has_no_more_nor_for_what_is_taken_down_again(world: World) -> None:
    prepared(world)
    purge(world)
    kept = world.source.records["one"].pop("secret")
    taking_down.undo(world.installation, named(world))
    (wished,) = asking_anew.due(world.installation)
    asked = asking_anew.ask(world.installation, wished)
    assert asked.is_over and asked.did is None and "no record" in asked.reason
    world.source.records["one"]["secret"] = kept
    purge(world)
    taking_down.undo(world.installation, named(world))
    taking_down.take_down(world.installation, named(world), "case 13")
    assert asking_anew.due(world.installation) == []


def test_a_list_that_was_cut_goes_on_and_is_whole(world: World) -> None:
    prepared(world)
    world.source.page_size, world.source.breaks_at = 1, 2
    filled(world, f"{MARKER} cut")
    world.source.put("a", "z", title="Third")
    world.night()
    assert objects_with(world)
    purge(world)
    world.source.breaks_at = None
    assert not world.night().is_replaced
    assert world.titles()["z"] == "Third"
    check_gone(world)


def test_a_candidate_that_waits_has_nothing_of_it(open_world: OpenWorld) -> None:
    world = open_world(catalog=TASKS, min_documents=1, max_shrink=0.1)
    prepared(world)
    world.source.forget("a", "z")
    filled(world, f"{MARKER} in a candidate")
    assert world.night(asked="full").is_replaced
    purge(world)
    check_gone(world)
    steps.accept(world.installation, KEY)
    check_gone(world)
    assert world.outputs() == {}


def test_while_a_run_works_on_its_set_it_waits_and_the_night_finishes_it(world: World) -> None:
    prepared(world)
    asked = named(world)
    with lock_set(world.installation, KEY):
        taken = taking_down.take_down(world.installation, asked, "case 12", purge=True, patience=0)
        assert taken.purge == "asked" and "another run" in taken.left
        assert "secret" not in world.outputs()
        with pytest.raises(NotTakenDown, match="under way"):
            taking_down.undo(world.installation, asked)
    retention.clean_up(world.installation)
    check_gone(world)
    with world.installation.pool.connection() as connection:
        assert [one.purge for one in takedowns.listed(connection)] == ["done"]
    assert purging.finish(world.installation) == []


def test_a_set_that_is_worked_on_is_waited_for_once_however_much_of_it_is_asked_for(world: World) -> None:
    names = ("a", "b", "c", "d")
    world.source.put(*names)
    world.night()
    with lock_set(world.installation, KEY):
        for name in names:
            taking_down.take_down(world.installation, named(world, name), "case 12", purge=True, patience=0)
        begun = time.monotonic()
        assert len(purging.finish(world.installation, patience=1)) == len(names)
    assert time.monotonic() - begun < 3
    assert purging.finish(world.installation) == []


def test_of_a_set_that_is_no_longer_configured_the_pages_go(open_world: OpenWorld) -> None:
    prepared(open_world(catalog=TASKS, min_documents=1000))
    world = open_world(catalog=TASKS, sets=["two"])
    assert purge(world).purge == "done"
    check_gone(world)


def test_of_a_set_that_is_of_another_kind_now_the_pages_go(open_world: OpenWorld) -> None:
    prepared(open_world(catalog=TASKS, min_documents=1000))
    world = open_world(catalog=TASKS, kind="oai-pmh", format="oai_dc", metadata_prefix="oai_dc")
    assert purge(world).left == ""
    check_gone(world)
    assert purging.finish(world.installation) == []


def test_what_a_task_of_before_found_for_others_stays(open_world: OpenWorld) -> None:
    """Whoever goes back to the code of before finds it."""
    prepared(open_world(catalog=TASKS, min_documents=1000))
    world = open_world(catalog=catalog(check_url.TASK, replace(READING, version=2), drawing()), min_documents=1000)
    world.tasks()
    made = "result x JOIN document d ON d.doc_id = x.made_for"
    count = f"SELECT version, count(*) FROM {made} WHERE task = 'read' {{}} GROUP BY 1"
    others = count.format("AND external_id NOT LIKE 'secret%%'")
    before = dict(world.rows(others))
    assert before.keys() == {1, 2}
    assert purge(world).purge == "done"
    check_gone(world)
    assert dict(world.rows(others)) == before


def test_files_that_only_a_page_remembers_go_too(open_world: OpenWorld) -> None:
    """Of a candidate that was rejected and superseded nothing is kept but what was fetched for it, and its pages."""
    world = open_world(catalog=TASKS, min_documents=1, max_shrink=0.1)
    world.source.put("a", "z", "secret")
    world.night()
    world.source.contents = {"secret/old": f"{MARKER} in a file".encode()}
    kept = world.source.records["one"].pop("a")
    world.source.put("secret", files=("old",))
    assert world.night(asked="full").is_replaced
    world.source.records["one"]["a"] = kept
    world.source.put("secret", files=("new",))
    assert not world.night(asked="full").is_replaced
    assert "body" not in tables_with(world, "secret/old") and len(objects_with(world)) == 2
    assert purge(world).purge == "done"
    check_gone(world)
    assert tables_with(world, "secret/old") == []


class Counted(Folder):
    """Counts how often raw pages are read."""

    read = 0

    def get(self, key: str) -> bytes:
        self.read += key.startswith("pages/")
        return super().get(key)


def test_some_of_a_set_are_purged_by_one_look_at_its_pages(open_world: OpenWorld, tmp_path: Path) -> None:
    objects = Counted(tmp_path / "counted")
    world = open_world(catalog=TASKS, min_documents=1000, objects=objects)
    world.source.put("a", "b", "c", title=MARKER)
    world.source.put("z")
    world.night()
    world.source.put("z", title="Changed")
    world.night()
    with lock_set(world.installation, KEY):
        for name in ("a", "b", "c"):
            taking_down.take_down(world.installation, named(world, name), "case 12", purge=True, patience=0)
    objects.read = 0
    assert purging.finish(world.installation) == []
    assert objects.read == 2 + 2, "each of both bundles once, and once more to be written anew"
    check_gone(world)


def test_a_harvest_of_a_set_with_marks_extracts_each_record_once(open_world: OpenWorld) -> None:
    extracted: list[int] = []

    def extract(page: bytes, indices: Sequence[int], request: Request) -> Iterator[Record | Unreadable]:
        extracted.extend(indices)
        return sharekit.extract(page, indices, request)

    kinds = {**CATALOG.kinds, "sharekit": replace(sharekit.KIND, extract=extract)}
    world = open_world(catalog=Catalog(CATALOG.entities, kinds, ()), min_documents=1000)
    world.source.put("a", "b", "c", "secret")
    world.night()
    assert purge(world).purge == "done"
    extracted.clear()
    world.source.put("a", "b", "c", "secret", title="Changed")
    world.night(asked="full")
    assert world.titles() == dict.fromkeys(("a", "b", "c"), "Changed")
    assert len(extracted) == 4, "and what stands in the place of what was purged"


def test_a_record_that_came_back_is_purged_again_and_forgotten_again(world: World) -> None:
    prepared(world)
    for _ in range(2):
        purge(world)
        world.forward(timedelta(days=world.installation.config.store.history_days + 1))
        retention.clean_up(world.installation)
        assert tables_with(world, "secret") == []
        (srn,) = {one.srn for one in listed(world)}
        taking_down.undo(world.installation, named(world, srn.removeprefix(f"{KEY}:")))
        world.night(asked="full")
        assert "secret" in world.outputs()
    assert world.one("SELECT count(*) FROM document WHERE external_id LIKE 'removed:%%' AND owner_id IS NULL") == 2


def listed(world: World) -> list[Takedown]:
    with world.installation.pool.connection() as connection:
        return takedowns.listed(connection)


def test_its_srn_goes_with_the_history_and_it_is_known_by_its_mark_still(world: World) -> None:
    prepared(world)
    purge(world)
    retention.clean_up(world.installation)
    assert {*tables_with(world, "secret")} >= {"audit", "document"}
    world.forward(timedelta(days=world.installation.config.store.history_days + 1))
    retention.clean_up(world.installation)
    assert tables_with(world, "secret") == []
    filled(world, MARKER)
    world.night()
    check_gone(world)
    assert tables_with(world, "secret") == []
