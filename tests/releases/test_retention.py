"""Retention over bodies, what was made of them, pages, vocabularies and figures: on real stores, folder and S3."""

import hashlib
import json
import random
import string
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as ClientConfig

from harvester_dagster import canonical
from harvester_dagster.failures import StorageError
from harvester_dagster.installation import utc_now
from harvester_dagster.publication import audit
from harvester_dagster.releases import body_sweep, release, retention
from harvester_dagster.releases.retention import Cleaned
from harvester_dagster.services.launcher import S3Endpoint
from harvester_dagster.sets import steps, versions
from harvester_dagster.store import keys
from harvester_dagster.store.objects import Folder, open_objects
from harvester_dagster.tasks import check_url, pictures
from harvester_dagster.tasks.task import Context, Outcome, Task
from harvester_dagster.vocabularies.refresh import Refresh
from tests.sets.conftest import OpenWorld
from tests.sets.test_tasks import statements
from tests.sets.world import DAY, KEY, Scripted, World, catalog, check, check_objects, drawing
from tests.vocabularies.installations import Open, VocabularyServer

LONG = 20 * DAY
DRAWN = catalog(check_url.TASK, drawing())


def filled(world: World, *names: str) -> World:
    """Products, each with a file of its own and one that all share."""
    world.source.contents |= {f"{name}/{file}": f"{name} {file}".encode() for name in names for file in "xy"}
    world.source.put(*names, files=("x", "shared/s"))
    world.night()
    publish(world)
    return world


def publish(world: World) -> None:
    version = release.prepare(world.installation)
    assert version is not None
    versions.promote(world.installation, version)


def changed(world: World, name: str = "a", **values: Any) -> None:
    world.source.put(name, **values)
    world.night()
    publish(world)


def cleaned(world: World) -> Cleaned:
    """After the retention of whatever was removed or superseded now."""
    world.forward(LONG)
    found = retention.clean_up(world.installation)
    check(world)
    check_objects(world)
    return found


def digest_of(world: World, path: str) -> str:
    """Of the body behind a file."""
    found = world.one(
        "SELECT encode(digest, 'hex') FROM harvester.fetch WHERE url = %s", f"{world.source.url}/files/{path}"
    )
    assert isinstance(found, str)
    return found


def objects_of(world: World, digest: str) -> list[str]:
    """The body, and what was made of it, wherever it lies."""
    return sorted(found.key for found in world.installation.objects.list() if digest in found.key)


def put(world: World, *names: str) -> None:
    for key in names:
        world.installation.objects.put(key, b"made")


@pytest.fixture(params=["folder", "s3"])
def drawn(request: pytest.FixtureRequest, open_world: OpenWorld) -> World:
    if request.param == "folder":
        return filled(open_world(catalog=DRAWN, purge_after_days=1000), "a", "b")
    endpoint: S3Endpoint = request.getfixturevalue("s3")
    client = boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        aws_access_key_id=endpoint.access_key,
        aws_secret_access_key=endpoint.secret_key,
        region_name="us-east-1",
        config=ClientConfig(s3={"addressing_style": "path"}),
    )
    bucket = f"retention-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    kept = open_objects(f"s3://{bucket}/prefix", request.getfixturevalue("tmp_path") / "objects", lambda: client)
    return filled(open_world(catalog=DRAWN, purge_after_days=1000, objects=kept), "a", "b")


def test_a_body_goes_with_all_that_was_ever_made_of_it_whoever_made_it(drawn: World) -> None:
    gone, stays = digest_of(drawn, "a/x"), digest_of(drawn, "b/x")
    for digest in (gone, stays):
        put(drawn, f"previews/pdf_preview-1/{digest}/preview.jpg", f"texts/tika-1/{digest}/outcome.json")
    put(drawn, f"previews/no_more-7/{gone}/a.jpg", f"texts/tika-0/{gone}/outcome.json")
    put(drawn, f"{keys.derived(gone, 'no_more-2')}deep/er.jpg", f"{keys.derived(gone, 'image_preview-0')}a.jpg")
    before = objects_of(drawn, stays)
    assert before[0] == keys.body(stays) and f"{keys.derived(stays, 'image_preview-1')}preview_small.jpg" in before
    changed(drawn, files=("y", "shared/s"))
    found = cleaned(drawn)
    assert (found.bodies, found.versions) == (1, 1) and found.results == 2, "of check_url and of the picture"
    assert objects_of(drawn, gone) == []
    assert objects_of(drawn, stays) == before
    assert objects_of(drawn, digest_of(drawn, "shared/s")) and objects_of(drawn, digest_of(drawn, "a/y"))
    assert not drawn.rows("SELECT FROM harvester.fetch WHERE url LIKE '%%/a/x'")


def test_a_body_goes_some_time_after_another_came_from_its_address(drawn: World) -> None:
    """The record stays as it is: only what its file says has changed."""
    url, newest = f"{drawn.source.url}/files/a/x", digest_of(drawn, "a/x")
    older = hashlib.sha256(b"as it was").hexdigest()
    put(drawn, keys.body(older), f"{keys.derived(older, 'image_preview-0')}a.jpg")
    drawn.change(
        """INSERT INTO harvester.fetch (url, validator, ok, digest, length, media_type, fetched_at)
           SELECT url, 'older', ok, %s, length, media_type, fetched_at - interval '1 hour' FROM harvester.fetch
           WHERE url = %s""",
        bytes.fromhex(older),
        url,
    )
    changed(drawn, "b", files=("y",))
    assert retention.clean_up(drawn.installation).bodies == 0, "not at once"
    cleaned(drawn)
    assert objects_of(drawn, older) == [] and objects_of(drawn, newest) != []
    assert drawn.rows("SELECT encode(digest, 'hex') FROM harvester.fetch WHERE url = %s", url) == [(newest,)]


@pytest.fixture
def folder(open_world: OpenWorld) -> World:
    return filled(open_world(catalog=DRAWN, purge_after_days=1000), "a", "b")


def test_while_a_kept_version_shows_a_document_its_files_stay(folder: World) -> None:
    digest = digest_of(folder, "a/x")
    changed(folder, files=("y",))
    folder.forward(10 * DAY)
    assert retention.clean_up(folder.installation).bodies == 0
    assert len(objects_of(folder, digest)) == 3
    assert cleaned(folder).bodies == 1


def test_of_a_deleted_document_the_end_is_remembered_and_nothing_of_its_files(folder: World) -> None:
    digest = digest_of(folder, "a/x")
    folder.source.delete("a")
    folder.night()
    publish(folder)
    assert cleaned(folder).bodies == 1
    assert objects_of(folder, digest) == []
    assert folder.one("SELECT to_gen FROM revision JOIN document USING (doc_id) WHERE external_id = 'a'") == 2
    assert folder.rows("SELECT FROM task_use JOIN document USING (doc_id) WHERE external_id LIKE 'a%%'") == []


def test_what_came_of_age_later_goes_without_anything_else_being_removed(folder: World) -> None:
    """The file is looked at again shortly before its document is gone for all."""
    changed(folder, files=("y",))
    folder.forward(LONG)
    folder.change("UPDATE harvester.fetch SET fetched_at = %s WHERE url LIKE '%%/a/x'", folder.now - DAY)
    assert retention.clean_up(folder.installation).bodies == 0
    folder.forward(15 * DAY)
    assert retention.clean_up(folder.installation)[:3] == (0, 0, 0) and not objects_of(folder, "a/x")
    assert not folder.rows("SELECT FROM harvester.fetch WHERE url LIKE '%%/a/x'")
    check_objects(folder)


def test_a_picture_from_elsewhere_stays_while_a_result_names_it(open_world: OpenWorld) -> None:
    """As `video_preview` does: no document has the URL that the body was fetched from."""

    def run(items: Any, context: Context) -> Any:
        for item in items:
            body = context.bodies.get(f"{item.subject.properties['url']}/thumb", None)
            key = f"{keys.derived(body.digest, 'video_preview-1')}preview_small.jpg"
            context.objects.put(key, body.path.read_bytes())
            yield item, Outcome("success", {"full_size": body.key, "preview_small": key})

    video = Task("video_preview", "files", 1, ("$.url",), run)
    world = open_world(catalog=catalog(video), purge_after_days=1000)
    world.source.contents = {f"{name}/x/thumb": name.encode() for name in "ab"}
    filled(world, "a", "b")
    thumbs = [digest_of(world, f"{name}/x/thumb") for name in "ab"]
    changed(world, title="Another", files=("x", "shared/s"))
    assert cleaned(world).bodies == 0
    assert [len(objects_of(world, digest)) for digest in thumbs] == [2, 2]
    changed(world, files=("y",))
    assert cleaned(world).bodies == 1
    assert [len(objects_of(world, digest)) for digest in thumbs] == [0, 2]


def test_what_a_long_result_names_stays_while_it_is_in_use(open_world: OpenWorld) -> None:
    """A text, and a picture whose body was fetched from an address that no document has."""

    def run(items: Any, context: Context) -> Any:
        for item in items:
            body = context.bodies.get(f"{item.subject.properties['url']}/thumb", None)
            text = "".join(random.Random(0).choices(string.ascii_letters, k=60_000))
            yield item, Outcome("success", {"text": text, "preview_small": body.key})

    world = open_world(catalog=catalog(Task("read", "files", 1, ("$.url",), run)), purge_after_days=1000)
    world.source.contents = {f"{name}/x/thumb": name.encode() for name in "ab"}
    filled(world, "a", "b")
    assert world.one("SELECT min(pg_column_size(data)) FROM result WHERE names IS NOT NULL") > 8_000
    thumbs = [digest_of(world, f"{name}/x/thumb") for name in "ab"]
    changed(world, title="Another", files=("x", "shared/s"))
    assert cleaned(world).bodies == 0
    assert [len(objects_of(world, digest)) for digest in thumbs] == [1, 1]
    changed(world, files=("y",))
    assert cleaned(world).bodies == 1
    assert [len(objects_of(world, digest)) for digest in thumbs] == [0, 1]


def test_what_an_output_shows_that_is_still_to_be_made_anew_stays(open_world: OpenWorld) -> None:
    """Its picture is another one since tonight, and the day work of its set is not done yet."""
    pictured = ["one"]

    def run(items: Any, context: Context) -> Any:
        for item in items:
            body = context.bodies.get(f"{item.subject.properties['url']}/{pictured[0]}", None)
            yield item, Outcome("success", dict.fromkeys(pictures.SIZES, body.key))

    task = Task("image_preview", "files", 1, ("$.url",), run, publishes=(pictures.PREVIEWS,))
    world = open_world(catalog=catalog(task), purge_after_days=1000)
    world.source.contents = {"a/x/one": b"one", "a/x/two": b"two"}
    world.source.put("a", files=("x",))
    world.night()
    publish(world)
    pictured[0] = "two"
    world.forward(LONG)
    world.tasks(again="all")
    retention.clean_up(world.installation)
    assert objects_of(world, digest_of(world, "a/x/one"))
    world.day_work()
    publish(world)
    assert cleaned(world).bodies == 1


class TestWhatIsMoreThanIsLookedAtTogether:
    """One of the results that no revision has any more is shown by a version that somebody may go back to."""

    @pytest.fixture
    def newer(self, open_world: OpenWorld) -> World:
        names = [f"n{number}" for number in range(5)]
        filled(open_world(catalog=DRAWN, purge_after_days=1000), *names)
        newer = open_world(catalog=catalog(check_url.TASK, drawing(version=2)), purge_after_days=1000)
        newer.night()
        newer.change("UPDATE dataset_version SET code_version = 'older'")
        publish(newer)
        newer.change(
            """UPDATE output_body b SET body = '{}' FROM output o, document d
               WHERE o.doc_id = b.doc_id AND o.from_gen = b.from_gen AND d.doc_id = o.doc_id AND o.to_gen IS NOT NULL
                 AND d.external_id NOT LIKE 'n0%%'"""
        )
        newer.forward(LONG)
        return newer

    def drawn(self, world: World) -> int:
        return int(world.one("SELECT count(*) FROM result WHERE task = 'image_preview' AND version = 1"))

    @pytest.mark.parametrize("most", [1, 3, 100])
    def test_goes_all_the_same_in_so_many_sweeps(self, newer: World, most: int) -> None:
        before, shown = newer.now - 14 * DAY, self.drawn(newer)
        for _ in range(shown):
            body_sweep.sweep(newer.installation, before, most)
        assert newer.one("SELECT swept_at FROM sweep") == newer.now, "only then it counts as whole"
        assert 0 < self.drawn(newer) < 3 < shown


class TestWhatATaskMadeThatIsNoMore:
    def test_an_older_version_goes_when_the_newer_one_has_answered(self, folder: World, open_world: OpenWorld) -> None:
        digest = digest_of(folder, "b/x")
        put(folder, f"previews/image_preview-1/{digest}/preview_small.jpg")
        put(folder, f"previews/image_preview-2/{digest}/preview_small.jpg")
        newer = open_world(catalog=catalog(check_url.TASK, drawing(version=2)), purge_after_days=1000)
        newer.night()
        publish(newer)
        assert newer.rows("SELECT DISTINCT version FROM result WHERE task = 'image_preview' ORDER BY 1") == [(1,), (2,)]
        cleaned(newer)
        assert newer.rows("SELECT DISTINCT version FROM result WHERE task = 'image_preview'") == [(2,)]
        left = [key for key in objects_of(newer, digest) if not key.startswith("bodies/")]
        assert left == [
            f"{keys.derived(digest, 'image_preview-2')}outcome.json",
            f"{keys.derived(digest, 'image_preview-2')}preview_small.jpg",
            f"previews/image_preview-2/{digest}/preview_small.jpg",
        ]

    def test_not_while_the_newer_one_has_not(self, folder: World, open_world: OpenWorld) -> None:
        later = Scripted("image_preview", "files", version=2, reads=drawing().reads, after=("check_url",))
        later.answer = lambda item: Outcome("retry", reason="not now")
        newer = open_world(catalog=catalog(check_url.TASK, later.row), purge_after_days=1000)
        newer.night()
        newer.forward(LONG)
        assert retention.clean_up(newer.installation).results == 0
        assert newer.one("SELECT count(*) FROM result WHERE task = 'image_preview' AND version = 1") == 3

    def test_what_a_version_shows_that_one_can_go_back_to_stays(self, folder: World, open_world: OpenWorld) -> None:
        digest = digest_of(folder, "b/x")
        newer = open_world(catalog=catalog(check_url.TASK, drawing(version=2)), purge_after_days=1000)
        newer.night()
        folder.change("UPDATE dataset_version SET code_version = 'older'")
        publish(newer)
        cleaned(newer)
        named = f"{keys.derived(digest, 'image_preview-1')}preview_small.jpg"
        assert newer.outputs(gen=1)["b"]["files"][0]["previews"]["preview_small"].split("?")[0].endswith(named)
        assert newer.installation.objects.exists(named)
        newer.change("UPDATE dataset_version SET code_version = 'same'")
        changed(newer, title="Another")
        cleaned(newer)
        assert not newer.installation.objects.exists(named)
        assert newer.rows("SELECT DISTINCT version FROM result WHERE task = 'image_preview'") == [(2,)]

    def test_a_task_that_was_taken_out_goes_and_its_values_with_it(self, folder: World, open_world: OpenWorld) -> None:
        digest = digest_of(folder, "b/x")
        without = open_world(catalog=catalog(check_url.TASK), purge_after_days=1000)
        without.night()
        assert retention.clean_up(without.installation).results == 0, "it ran yesterday: it may come back"
        without.forward(LONG)
        retention.clean_up(without.installation)
        assert without.one("SELECT count(*) FROM task_use WHERE task = 'image_preview'") == 0
        publish(without)
        assert "previews" not in without.outputs()["b"]["files"][0]
        assert without.outputs() == without.rebuilt()
        cleaned(without)
        cleaned(without)
        assert without.one("SELECT count(*) FROM result WHERE task = 'image_preview'") == 0
        assert objects_of(without, digest) == [keys.body(digest)]
        again = open_world(catalog=DRAWN, purge_after_days=1000)
        again.night()
        assert again.outputs()["b"]["files"][0]["previews"]["preview_small"]


class TestCutShort:
    """The object store fails in the middle: no row is gone whose object may be there, and the next one goes on."""

    @pytest.fixture
    def obstacle(self, folder: World) -> Path:
        """What cannot be deleted as an object is: a folder in the place of the last body that goes."""
        changed(folder, files=("y",))
        changed(folder, "b", files=("y",))
        objects = folder.installation.objects
        assert isinstance(objects, Folder)
        last = max(digest_of(folder, "a/x"), digest_of(folder, "b/x"))
        body = objects.root / keys.body(last)
        body.unlink()
        (body / "in the way").mkdir(parents=True)
        folder.forward(LONG)
        return body

    def test_bodies(self, folder: World, obstacle: Path) -> None:
        rows = "SELECT count(*) FROM harvester.fetch", "SELECT count(*) FROM result"
        before = [folder.one(query) for query in rows]
        first = min(digest_of(folder, "a/x"), digest_of(folder, "b/x"))
        for _ in range(2):
            with pytest.raises(StorageError):
                retention.clean_up(folder.installation)
            assert [folder.one(query) for query in rows] == before
        assert objects_of(folder, first) == []
        (obstacle / "in the way").rmdir()
        obstacle.rmdir()
        assert retention.clean_up(folder.installation).bodies == 3, "one that both shared, too"
        check_objects(folder)

    def test_pages(self, world: World) -> None:
        world.source.put("a")
        world.night(asked="full")
        world.night(asked="full")
        world.forward(LONG)
        objects = world.installation.objects
        assert isinstance(objects, Folder)
        bundle = objects.root / keys.page_bundle(1, 0)
        bundle.unlink()
        (bundle / "in the way").mkdir(parents=True)
        with pytest.raises(StorageError):
            retention.clean_up(world.installation)
        assert world.one("SELECT count(*) FROM page_bundle") == 2
        (bundle / "in the way").rmdir()
        bundle.rmdir()
        assert retention.clean_up(world.installation).page_bundles == 1
        check_objects(world)


class TestPages:
    def kept(self, world: World) -> list[int]:
        return [attempt_id for (attempt_id,) in world.rows("SELECT attempt_id FROM page_bundle ORDER BY 1")]

    def test_of_the_last_accepted_complete_harvest_and_all_after_it_stay(self, open_world: OpenWorld) -> None:
        world = open_world(purge_after_days=1000)
        for asked in ("full", None, "full", None, None):
            world.source.put("a", title=f"At {world.now}")
            world.night(asked=asked)
        world.source.status = 404
        world.night()
        assert [state for _, state in world.attempts()] == [*["accepted"] * 5, "failed"]
        assert retention.clean_up(world.installation).page_bundles == 0
        world.forward(LONG * 20)
        assert retention.clean_up(world.installation).page_bundles == 2
        assert self.kept(world) == [3, 4, 5]
        check_objects(world)

    @pytest.mark.parametrize("withdrawn", [False, True])
    def test_of_a_set_that_is_gone_go(self, open_world: OpenWorld, withdrawn: bool) -> None:
        world = open_world()
        world.source.put("a")
        world.night(asked="full")
        world.forward(LONG)
        world = open_world(sets=["two"])
        if withdrawn:
            steps.withdraw(world.installation, KEY)
        assert retention.clean_up(world.installation).page_bundles == 0, "not at once"
        assert self.kept(world) != []
        world.forward(LONG)
        assert retention.clean_up(world.installation).page_bundles >= 1
        assert self.kept(world) == []
        check_objects(world)

    def test_of_a_rejected_candidate_stay_while_it_waits(self, open_world: OpenWorld) -> None:
        world = open_world(min_documents=2)
        world.source.put("a", "gone")
        world.night()
        world.source.delete("a", "gone")
        world.night()
        world.source.put("b")
        cleaned(world)
        assert self.kept(world) == [1, 2]
        assert steps.accept(world.installation, KEY).published == {"products": 0, "files": 0}
        world.night(asked="full")
        cleaned(world)
        assert self.kept(world) == [3]


class TestFigures:
    def test_attempts_live_for_the_history_and_the_newest_of_each_kind_stay(self, open_world: OpenWorld) -> None:
        world = open_world(purge_after_days=1000, installed={"store": {"history_days": 100}})
        world.source.put("a")
        world.night()
        for status in (404, 404, 200, 200):
            world.source.status = status
            world.night()
        for _ in range(3):
            world.night(asked="full")
        publish(world)
        world.forward(90 * DAY)
        assert retention.clean_up(world.installation).figures == 0
        world.forward(20 * DAY)
        retention.clean_up(world.installation)
        # of the two that failed the newer, of the deltas the newer, the newest full one, and what made generation 1
        assert [row[0] for row in world.rows("SELECT attempt_id FROM attempt ORDER BY 1")] == [1, 3, 5, 8]
        check(world)

    def test_nights_runs_messages_alerts_and_reports(self, world: World) -> None:
        old, young = world.now - 401 * DAY, world.now - 399 * DAY
        for at in (old, young):
            world.change(
                """INSERT INTO night (opened_at, deadline_at, origin, released_at, ended_at)
                   VALUES (%s, %s, 'hand', %s, %s)""",
                *(at, at + DAY, at, at),
            )
            world.change("INSERT INTO night_set (night_id, set_id) SELECT max(night_id), 1 FROM night")
            world.change("INSERT INTO access_endpoint (name) VALUES ('dtu') ON CONFLICT DO NOTHING")
            for mode in ("full", "partial"):
                world.change(
                    """INSERT INTO access_run (endpoint_id, mode, state, requested_at, ended_at)
                       VALUES (1, %s, 'complete', %s, %s)""",
                    mode,
                    at,
                    at,
                )
                world.change(
                    "INSERT INTO access_message (run_id, at, text) SELECT max(run_id), %s, 'm' FROM access_run", at
                )
            world.change("INSERT INTO access_message (at, text) VALUES (%s, 'of no run')", at)
            world.change("INSERT INTO alert VALUES (%s, %s, '{}')", str(at), at)
            with world.installation.pool.connection() as connection:
                audit.write(connection, "accept", KEY, at)
            world.change("INSERT INTO task_report VALUES (1, %s, %s, 0, 0, '{}', '[]', 0)", str(at), at)
        world.change(
            "INSERT INTO access_run (endpoint_id, mode, state, requested_at) VALUES (1, 'sfx', 'running', %s)", old
        )
        tables = ("night", "night_set", "access_run", "access_message", "alert", "task_report", "audit")
        assert [world.one(f"SELECT count(*) FROM {table}") for table in tables] == [2, 2, 5, 6, 2, 2, 2]
        assert retention.clean_up(world.installation).figures == 7
        assert [world.one(f"SELECT count(*) FROM {table}") for table in tables] == [1, 1, 3, 3, 1, 1, 1]

    def test_problems_and_failed_fetches_live_as_long_as_what_they_are_about(self, world: World) -> None:
        world.source.put("a")
        world.source.spoil("b")
        world.night()
        world.change("INSERT INTO harvester.fetch (url, ok, fetched_at) VALUES ('https://x.org', false, %s)", world.now)
        world.forward(10 * DAY)
        assert retention.clean_up(world.installation).figures == 0
        world.forward(10 * DAY)
        assert retention.clean_up(world.installation).figures == 2
        assert world.one("SELECT count(*) FROM problem") == 0
        assert world.rows("SELECT FROM harvester.fetch WHERE NOT ok") == []


def test_a_superseded_vocabulary_stays_from_then_on_for_the_retention(
    installed: Open, server: VocabularyServer
) -> None:
    """However long it was in use."""
    now = utc_now()
    installation = installed("v", clock=lambda: now)
    objects = installation.objects

    def harvest(label: str) -> str:
        server.content = json.dumps([{"@id": f"urn:{label}", "@type": "skos:Concept"}]).encode()
        Refresh(installation.pool, objects, installation.outside, now).harvest(installation.config.vocabularies.skos)
        return keys.vocabulary(canonical.digest(server.content).hex())

    def kept(days: float) -> set[str]:
        nonlocal now
        now += days * DAY
        retention.clean_up(installation)
        return {found.key for found in objects.list(keys.VOCABULARIES)}

    first = harvest("a")
    assert kept(days=100) == {first}
    second = harvest("b")
    assert kept(days=0) == kept(days=13) == {first, second}
    assert harvest("a") == first, "it comes back within these days: whose age counts is the second one now"
    assert kept(days=2) == kept(days=13) == {first, second}
    assert kept(days=2) == {first}


def test_statements_do_not_grow_with_what_goes(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world = filled(open_world(catalog=DRAWN, purge_after_days=1000, min_documents=100), "stays")
    sent = []
    for count in (2, 30):
        names = [f"{count}-{number}" for number in range(count)]
        filled(world, *names)
        world.source.delete(*names)
        world.night()
        publish(world)
        world.forward(LONG)
        with statements(monkeypatch) as found:
            assert retention.clean_up(world.installation).bodies == count
        sent.append(len(found))
    assert sent[0] == sent[1] <= 30
    check_objects(world)


def test_a_clean_up_of_nothing_reads_neither_urls_nor_objects(folder: World, monkeypatch: pytest.MonkeyPatch) -> None:
    retention.clean_up(folder.installation)
    folder.forward(DAY)
    with statements(monkeypatch) as found:
        assert retention.clean_up(folder.installation) == Cleaned(0, 0, 0, 0, 0, 0, 0, 0)
    assert not [statement for statement in found if "->> 'url'" in statement or "regexp_matches" in statement]
