"""Pointer and aliases move together, and what is not needed goes: on a real OpenSearch."""

import multiprocessing
import os
import signal
import threading
from datetime import timedelta
from typing import Any

import pytest
from opensearchpy import OpenSearch

from harvester_dagster import config, installation
from harvester_dagster.explain.why import why
from harvester_dagster.releases import release, retention
from harvester_dagster.search import aliases, build, index_state
from harvester_dagster.search.build import EntityReport, IndexReport
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import Version
from tests.search.conftest import OpenWorld
from tests.search.proxy import Asked, Cut, meddling
from tests.search.world import World, product


def _many(count: int, title: str) -> dict[str, dict[str, Any] | None]:
    return {f"p{n}": product(f"p{n}", title) for n in range(count)}


def _release(world: World) -> int:
    version = world.prepare()
    report = build.bring_up(world.installation, version)
    assert report.outcome == "ready", report.reason
    assert release.publish(world.installation, version).behind == ""
    return version.version_id


def _version(world: World, version_id: int) -> versions.Version:
    with world.installation.pool.connection() as connection:
        return versions.by_id(connection, version_id)


def test_readers_see_no_error_and_no_mixture_through_twenty_promotions(world: World, opensearch_url: str) -> None:
    world.accept(_many(6, "editie 0"))
    _release(world)
    stop, seen, wrong = threading.Event(), set(), []

    def read() -> None:
        with OpenSearch(opensearch_url, timeout=60) as client:
            while not stop.wait(0.005):
                try:
                    found = client.search(index=world.alias, body={"size": 20, "_source": ["title"]})["hits"]["hits"]
                    titles = {hit["_source"]["title"] for hit in found}
                    if len(titles) != 1 or len(found) != 6:
                        wrong.append(titles)
                    seen.update(titles)
                except Exception as error:
                    wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for edition in range(1, 21):
        world.accept(_many(6, f"editie {edition}"))
        _release(world)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(seen) > 10
    assert world.shown()["a:one:p0"] == "editie 20"


def test_a_rollback_moves_both_and_holds_automatic_releases(world: World) -> None:
    world.accept(_many(5, "oud"))
    first = _release(world)
    world.accept({"p1": product("p1", "nieuw")})
    _release(world)
    report, published = release.roll_back(world.installation, _version(world, first))
    assert (report.entities[0].how, published.behind, published.version.version_id) == ("kept", "", first)
    assert world.shown()["a:one:p1"] == "oud"
    with world.installation.pool.connection() as connection:
        assert versions.hold(connection) is not None


def test_a_rollback_makes_the_index_that_nothing_holds_any_more(world: World) -> None:
    world.accept(_many(10, "oud"))
    first = _release(world)
    world.accept({"p1": product("p1", "nieuw"), "p2": None, "p99": product("p99", "nieuw")})
    _release(world)
    world.client.indices.delete(index=f"{world.alias}--main-1")
    report, _ = release.roll_back(world.installation, _version(world, first))
    (made,) = report.entities
    assert (made.how, made.added, made.changed, made.removed) == ("clone", 1, 1, 1)
    assert set(world.shown().values()) == {"oud"}


def test_a_version_that_nobody_brought_up_is_brought_up_when_it_is_announced(world: World) -> None:
    world.accept(_many(5, "oud"))
    release.bring_up_index(world.installation, world.prepare())
    world.accept({"p1": product("p1", "nieuw")})  # a late set, between the two assets of a release
    assert release.publish(world.installation, world.prepare()).behind == ""
    assert world.shown()["a:one:p1"] == "nieuw"


def test_another_mapping_is_shown_by_a_release_in_which_no_set_has_moved(world: World, open_world: OpenWorld) -> None:
    world.accept(_many(5, "oud"))
    _release(world)
    with open_world(shards=2) as changed:
        report = release.bring_up_index(changed.installation, None)
        assert report is not None
        assert (report.outcome, report.entities[0].how) == ("ready", "full")
        assert changed.aliased() == {f"{world.alias}--main-1-r2"}


def patched(world: World, version: Version) -> tuple[EntityReport, ...] | None:
    """A version is made current, and written into the index that is shown; None: more differs than is patched."""
    with build.working(world.installation, print) as work:
        versions.promote(world.installation, version)
        found = build.patched(work, version)
        if found is not None:
            build.store(work, IndexReport(version.version_id, "ready", "", found, 0))
            aliases.move_at(work)
    return found


def test_a_push_is_written_into_the_index_where_it_stands(world: World) -> None:
    world.accept(_many(5, "oud"))
    _release(world)
    before = world.aliased()
    world.accept({"p1": product("p1", "nieuw"), "p2": None})
    (made,) = patched(world, world.prepare()) or ()
    assert (made.how, made.changed, made.removed) == ("patch", 1, 1)
    assert world.aliased() == before
    assert world.shown()["a:one:p1"] == "nieuw"
    assert index_state.status(world.installation).behind == ""


def test_a_push_that_was_cut_is_finished(world: World) -> None:
    world.accept(_many(5, "oud"))
    _release(world)
    world.accept({"p1": product("p1", "nieuw"), "p2": None})
    version = world.prepare()
    versions.promote(world.installation, version)
    with world.installation.pool.connection() as connection:  # as a process that died on the way leaves it
        connection.execute("UPDATE search_index SET moving_to = %s", (version.version_id,))
    world.client.delete(index=world.alias + "--main-1", id="a:one:p2", refresh=True)
    (made,) = patched(world, version) or ()
    assert made.how == "patch"
    assert world.shown()["a:one:p1"] == "nieuw"


def test_a_large_push_becomes_an_index_of_its_own(world: World) -> None:
    world.accept(_many(5 * build.PATCHED, "oud"))
    _release(world)
    world.accept(_many(build.PATCHED + 1, "nieuw"))
    assert patched(world, world.prepare()) is None
    report = release.bring_up_index(world.installation, None)
    assert report and report.entities[0].how == "clone"
    found = world.client.count(index=world.alias, body={"query": {"match": {"title": "nieuw"}}})
    assert found["count"] == build.PATCHED + 1


def test_indices_go_with_their_versions(world: World) -> None:
    for edition in range(3):
        world.accept(
            {**_many(5, "vast"), "p1": product("p1", f"editie {edition}")}
            if not edition
            else {"p1": product("p1", f"editie {edition}")}
        )
        _release(world)
    assert len(world.indices()) == 3
    with world.installation.pool.connection() as connection:
        connection.execute("UPDATE dataset_version SET code_version = 'old' WHERE version_id = 1")
        connection.execute(
            "UPDATE dataset_version SET ceased_at = now() - %s WHERE version_id = 2", (timedelta(days=30),)
        )
    assert retention.clean_up(world.installation).versions == 1
    assert aliases.reconcile(world.installation) == ""
    assert world.indices() == {f"{world.alias}--main-1", f"{world.alias}--main-3"}


def test_more_indices_than_a_node_should_hold_are_let_go(world: World) -> None:
    for edition in range(4):
        world.accept(
            {"p1": product("p1", f"editie {edition}"), "p2": product("p2", "vast")}
            if not edition
            else {"p1": product("p1", f"editie {edition}")}
        )
        _release(world)
    with build.working(world.installation) as work:
        build.retire(work, kept=2)
    assert world.indices() == {f"{world.alias}--main-3", f"{world.alias}--main-4"}
    report, _ = release.roll_back(world.installation, _version(world, 2))
    assert report.outcome == "ready"
    assert world.shown()["a:one:p1"] == "editie 1"


def test_what_failed_builds_left_goes_and_what_is_not_ours_stays(world: World) -> None:
    world.accept(_many(3, "oud"))
    _release(world)
    own = world.client.indices.get_mapping(index=world.alias)[f"{world.alias}--main-1"]["mappings"]["_meta"]
    other_store = {"harvester": {**own["harvester"], "store": "another"}}
    for name, meta in (("main-7", own), ("main-8", other_store), ("main-9", {})):
        world.client.indices.create(index=f"{world.alias}--{name}", body={"mappings": {"_meta": meta}})
    assert aliases.reconcile(world.installation) == ""
    assert world.indices() == {f"{world.alias}--main-{n}" for n in (1, 8, 9)}


def test_an_alias_that_somebody_moved_goes_back(world: World) -> None:
    world.accept(_many(3, "oud"))
    _release(world)
    world.client.indices.create(index=f"{world.alias}-foreign")
    actions = [
        {"remove": {"index": f"{world.alias}--main-1", "alias": world.alias}},
        {"add": {"index": f"{world.alias}-foreign", "alias": world.alias}},
    ]
    world.client.indices.update_aliases(body={"actions": actions})
    assert aliases.reconcile(world.installation) == ""
    assert world.aliased() == {f"{world.alias}--main-1"}


def _release_elsewhere(read: config.Config, database: str) -> None:
    with installation.opened(read, database) as opened:
        version = versions.prepare(opened)
        assert version is not None
        build.bring_up(opened, version)
        release.publish(opened, version)


@pytest.mark.parametrize(
    ("request_part", "when"),
    [
        *(("_clone", "before"), ("_clone", "after"), ("_bulk", "after")),
        *(("the trial", "before"), ("the trial", "after"), ("_aliases", "before"), ("_aliases", "after")),
    ],
)
def test_a_release_that_is_killed_is_mended_by_the_next(
    world: World, open_world: OpenWorld, database: str, opensearch_url: str, request_part: str, when: str
) -> None:
    world.accept(_many(5, "oud"))
    _release(world)
    world.accept({"p1": product("p1", "nieuw")})
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as there:
        read = there.installation.config
        process = multiprocessing.get_context("spawn").Process(target=_release_elsewhere, args=(read, database))

        def kill(asked: Asked) -> None:
            is_trial = "_aliases" in asked.path and b'"filter"' in asked.body
            is_asked = is_trial if request_part == "the trial" else request_part in asked.path and not is_trial
            if is_asked and process.pid:
                os.kill(process.pid, signal.SIGKILL)
                raise Cut

        setattr(proxy, when, kill)
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL

    current = world.current()
    assert current is not None
    announced = request_part == "_aliases"
    assert current.version_id == (2 if announced else 1)
    assert aliases.behind(world.installation) == (2 if announced else None), "what the sensor asks to be mended"
    told = [stage.outcome for stage in why(world.installation, "a:one:p1") if stage.stage == "search"]
    assert told == (["behind"] if announced else [])
    assert aliases.reconcile(world.installation) == ""
    assert aliases.behind(world.installation) is None
    assert world.shown()["a:one:p1"] == ("nieuw" if announced else "oud")
    if not announced:
        if request_part != "the trial":  # there the index is whole, and waits for its version
            assert world.indices() == world.aliased()
        _release(world)
    assert world.shown()["a:one:p1"] == "nieuw"
    assert world.shown()["a:one:p4"] == "oud"
