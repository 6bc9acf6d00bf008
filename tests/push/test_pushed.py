"""From a push to what consumers see: one generation, one version with this set only, judged, and never undone."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from opensearchpy import OpenSearch

from harvester_dagster.failures import StorageError
from harvester_dagster.publication import inbox, log
from harvester_dagster.releases import nights, release
from harvester_dagster.releases.missing_nights import newest_tick
from harvester_dagster.releases.push_rounds import BEFORE_A_NIGHT, EVERY, QUIET, PushRounds
from harvester_dagster.sets import pushed, remap, steps, versions
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.store import locks
from harvester_dagster.store.locks import Lock
from tests.push.pushing import WITH_SECRET, current, post, push, released, rounds, states, titles
from tests.sets.conftest import OpenWorld
from tests.sets.world import DAY, KEY, World, check, check_objects


def test_a_record_pushed_is_shown_by_a_version_with_its_set_only(world: World, url: str) -> None:
    world.source.put("z", spec="two")
    world.night("src:two")
    before, shown = world.state(), current(world)
    answer = post(url, world.source.record("a", title="Another", files=("x",)))
    assert (answer.status_code, answer.json()) == (200, {"srn": "src:one:a", "stored": True})
    assert titles(url)["a"] == "Title of a" and states(world) == [("a", "waiting")]
    first, *_ = rounds(world)
    assert first.attempt and (first.attempt.mode, first.attempt.state) == ("push", "accepted")
    assert titles(url) == {"a": "Another", "b": "Title of b", "c": "Title of c"}
    assert states(world) == [("a", "taken")]
    assert current(world).keys() == shown.keys(), "what the other set has accepted waits for its release"
    after = world.state()
    assert (after.watermark, after.mapping_version) == (before.watermark, before.mapping_version)
    assert world.outputs() == world.rebuilt()
    released(world)
    assert set(titles(url)) == {"a", "b", "c", "z"}
    check(world)
    check_objects(world)


def test_new_deleted_unchanged_and_pushed_twice(world: World, url: str) -> None:
    world.forward(timedelta(hours=1))
    new = world.source.record("d")
    assert post(url, {"data": new}).json()["stored"] is True
    assert post(url, {"data": new}).json()["stored"] is False, "the same waits already"
    post(url, world.source.record("b"))
    post(url, {"data": [{"type": "repoItem", "id": "c", "meta": {"status": "deleted"}, "attributes": []}]})
    rounds(world)
    assert set(titles(url)) == {"a", "b", "d"}
    assert states(world) == [("d", "taken"), ("b", "taken"), ("c", "taken")]
    generation = world.state().accepted_gen
    post(url, new)
    rounds(world)
    assert world.state().accepted_gen == generation, "nothing new makes no generation"
    check(world)


def test_the_newer_date_of_the_source_wins_whatever_came_first(world: World, url: str) -> None:
    world.forward(timedelta(hours=3))
    old = world.source.record("a", title="Old")
    world.forward(timedelta(hours=1))
    new = world.source.record("a", title="New")
    for body in (new, old):
        post(url, body)
    rounds(world)
    assert states(world) == [("a", "taken"), ("a", "older")] and titles(url)["a"] == "New"
    world.forward(EVERY)
    post(url, old)
    rounds(world)
    assert states(world)[-1] == ("a", "older") and titles(url)["a"] == "New"
    world.forward(EVERY)
    gone = {"id": "a", "meta": {"status": "deleted", "deletedAt": f"{world.now:%Y-%m-%dT%H:%M:%SZ}"}}
    post(url, gone)
    rounds(world)
    world.forward(EVERY)
    post(url, new)
    rounds(world)
    assert states(world)[-2:] == [("a", "taken"), ("a", "older")] and "a" not in titles(url)


def test_what_a_harvest_ended_does_not_come_back_by_an_older_push(world: World, url: str) -> None:
    late = world.source.record("a")
    world.forward(timedelta(hours=1))
    world.source.delete("a")
    world.night()
    released(world)
    post(url, late)
    rounds(world)
    assert states(world) == [("a", "older")] and "a" not in titles(url)


def test_an_older_push_does_not_undo_what_a_harvest_says_of_files_alone(world: World, url: str) -> None:
    world.forward(timedelta(hours=1))
    between = world.source.record("a", files=("from long ago",))
    world.forward(timedelta(hours=1))
    world.source.put("a", files=("one", "two", "three"))
    generation = world.state().accepted_gen
    world.night()
    released(world)
    assert world.state().accepted_gen == generation + 1
    files = world.outputs()
    post(url, between)
    rounds(world)
    assert states(world) == [("a", "older")] and world.outputs() == files
    world.forward(timedelta(hours=1))
    post(url, world.source.record("a", files=("four",)))
    rounds(world)
    assert states(world)[-1] == ("a", "taken") and world.outputs() != files
    check(world)


def test_the_date_of_a_rejected_harvest_holds_nothing_up(open_world: OpenWorld) -> None:
    world = open_world(**WITH_SECRET, min_documents=2, deletes="no")
    world.source.put("a", "b", "c")
    world.night()
    between = world.source.record("a", title="Pushed")
    world.forward(timedelta(hours=1))
    world.source.forget("b", "c")
    world.source.put("a", files=("one", "two", "three"))
    world.night()
    assert world.attempts()[-1] == ("full", "rejected")
    push(world, between)
    rounds(world)
    assert states(world) == [("a", "taken")] and world.titles()["a"] == "Pushed"
    check(world)


def test_a_whole_list_that_lags_ends_nothing_that_was_just_pushed(world: World, url: str) -> None:
    world.forward(timedelta(hours=1))
    post(url, world.source.record("new"))
    rounds(world)
    assert "new" in titles(url)
    world.forward(timedelta(minutes=10))
    world.night(asked="full")
    released(world)
    assert "new" in titles(url), "a delta of that time would have asked for it"
    world.forward(timedelta(hours=2))
    world.night(asked="full")
    released(world)
    assert "new" not in titles(url)
    check(world)


def test_while_a_harvest_is_open_pushes_wait_for_its_end(world: World, url: str) -> None:
    world.source.put("b", title="Harvested")
    steps.harvest(world.installation, KEY, run_id="run")
    post(url, world.source.record("a", title="Pushed"))
    rounds(world)
    assert states(world) == [("a", "waiting")] and world.attempts()[-1] == ("delta", "fetched")
    steps.documents(world.installation, KEY, run_id="run")
    world.tasks(run_id="run")
    with lock_set(world.installation, KEY):
        rounds(world)
    steps.conclude(world.installation, KEY, run_id="run")
    world.forward(EVERY)
    rounds(world)
    assert states(world) == [("a", "taken")]
    assert titles(url)["b"] == "Title of b" and titles(url)["a"] == "Title of a", "accepted work waits for its release"
    released(world)
    assert titles(url) == {"a": "Pushed", "b": "Harvested", "c": "Title of c"}
    check(world)


def test_a_source_whose_list_lags_behind_undoes_no_push(world: World, url: str) -> None:
    lagging = world.source.record("a", title="Lagging")
    world.forward(timedelta(hours=1))
    post(url, world.source.record("a", title="Pushed"))
    rounds(world)
    world.forward(timedelta(minutes=1))
    world.source._keep("one", "a", lagging)
    world.night(pass_time=False)
    assert world.titles()["a"] == "Lagging" and states(world) == [("a", "waiting")]
    world.forward(EVERY)
    rounds(world)
    released(world)
    assert titles(url)["a"] == "Pushed" and states(world) == [("a", "taken")]
    check(world)


def test_what_is_new_in_a_harvest_wins_over_a_push_before_it(world: World, url: str) -> None:
    world.forward(timedelta(hours=1))
    post(url, world.source.record("a", title="Pushed"))
    rounds(world)
    world.forward(timedelta(minutes=1))
    world.source.put("a", title="Harvested")
    world.night()
    rounds(world)
    released(world)
    assert titles(url)["a"] == "Harvested" and states(world) == [("a", "taken")]


def test_under_the_hold_of_a_rollback_pushes_are_accepted_and_not_shown(world: World, url: str) -> None:
    with world.installation.pool.connection() as connection:
        earlier = versions.current(connection)
    assert earlier
    post(url, world.source.record("a", title="First"))
    rounds(world)
    release.roll_back(world.installation, earlier)
    assert titles(url)["a"] == "Title of a"
    world.forward(EVERY)
    post(url, world.source.record("b", title="Held"))
    rounds(world)
    assert states(world)[-1] == ("b", "taken") and world.titles()["b"] == "Held"
    assert titles(url)["a"] == "Title of a" and titles(url)["b"] == "Title of b"
    with pytest.raises(versions.Held):
        versions.advance(world.installation, KEY)
    released(world)
    assert titles(url) == {"a": "First", "b": "Held", "c": "Title of c"}


def test_what_is_rejected_stays_in_the_inbox_and_can_be_accepted(open_world: OpenWorld) -> None:
    world = open_world(**WITH_SECRET, min_documents=2)
    world.source.put("a", "b", "c")
    world.night()
    released(world)
    push(world, {"id": "a", "meta": {"status": "deleted"}}, {"id": "b", "meta": {"status": "deleted"}})
    found = pushed.take(world.installation, KEY)
    assert found.attempt and found.attempt.state == "rejected" and set(world.titles()) == {"a", "b", "c"}
    assert states(world) == [("a", "rejected"), ("b", "rejected")]
    assert steps.outcome(world.installation, KEY).is_replaced is False, "the harvest of the set was accepted"
    world.forward(EVERY)
    push(world, world.source.record("d"))
    rounds(world)
    assert states(world)[-1] == ("d", "taken") and set(world.titles()) == {"a", "b", "c", "d"}
    with world.installation.pool.connection() as connection:
        assert inbox.decide(connection, world.state().set_id, world.now, accept=True, up_to=2) == 2
    pushed.take(world.installation, KEY, by_hand_up_to=2)
    assert set(world.titles()) == {"c", "d"}
    check(world)


def test_what_an_older_push_says_is_lost_to_nothing_that_was_not_accepted(open_world: OpenWorld) -> None:
    world = open_world(**WITH_SECRET, min_documents=2)
    world.source.put("a", "b", "c")
    world.night()
    released(world)
    push(world, world.source.record("a", title="Pushed"))
    world.forward(timedelta(minutes=1))
    push(world, *({"id": name, "meta": {"status": "deleted"}} for name in "abc"))
    found = pushed.take(world.installation, KEY)
    assert found.attempt and found.attempt.state == "rejected" and found.settled == 3
    assert states(world) == [("a", "waiting"), ("a", "rejected"), ("b", "rejected"), ("c", "rejected")]
    rounds(world)
    assert pushed.dismiss(world.installation, KEY) == 3
    assert states(world)[0] == ("a", "taken") and world.titles()["a"] == "Pushed"
    check(world)


def test_of_one_day_what_came_last_wins_also_when_its_worker_was_cut(world: World) -> None:
    """Between the verdict and the note that the others are older."""
    first, last = (world.source.record("a", title=title) for title in ("First", "Last"))
    for body in (first, last):
        body["attributes"]["modifiedAt"] = f"{world.now:%Y-%m-%d}"
    push(world, first, last)
    rounds(world)
    assert states(world) == [("a", "older"), ("a", "taken")]
    world.change("UPDATE push SET state = 'waiting', ended_at = NULL WHERE state = 'older'")
    world.forward(EVERY)
    rounds(world)
    assert states(world) == [("a", "older"), ("a", "taken")] and world.titles()["a"] == "Last"


def test_a_push_of_the_day_on_which_a_harvest_ended_its_record_is_not_older(world: World, url: str) -> None:
    world.source.delete("a")
    world.night(pass_time=False)
    released(world)
    body = world.source.record("a", title="Back")
    body["attributes"]["modifiedAt"] = f"{world.now:%Y-%m-%d}"
    world.forward(timedelta(hours=1))
    post(url, body)
    rounds(world)
    assert states(world) == [("a", "taken")] and titles(url)["a"] == "Back"
    check(world)


def test_a_push_is_not_rejected_for_what_a_night_has_lost(open_world: OpenWorld) -> None:
    world = open_world(**WITH_SECRET, min_documents=2)
    names = "bcdefgh"
    world.source.put("a", files=())
    world.source.put(*names)
    world.night()
    released(world)
    world.source.files = {f"{name}/a": 404 for name in names}
    world.tasks(again="all")
    for _ in range(world.installation.config.tasks.dead_after_nights):
        world.forward()
        world.night()
    assert world.attempts()[-1][1] == "rejected" and len(world.outputs()) == 8 + 7
    push(world, world.source.record("a", title="Pushed", files=()))
    rounds(world)
    assert states(world) == [("a", "taken")] and world.titles()["a"] == "Pushed" and len(world.outputs()) == 8 + 7
    assert world.one("SELECT count(*) FROM dirty WHERE done_in IS NULL"), "what a night has found waits for a release"
    push(world, *(world.source.record(name, title="Pushed") for name in names))
    world.forward(EVERY)
    rounds(world)
    assert states(world)[-1] == ("h", "rejected"), "these have lost their files"


def test_a_push_makes_nothing_anew_that_is_stale_for_another_reason(world: World, url: str) -> None:
    world.change("UPDATE harvest_set SET output_version = 'of an older program'")
    world.change("UPDATE output SET made_from = '\\x00', hash = '\\x00' WHERE from_gen = 1")
    post(url, world.source.record("a", title="Pushed"))
    rounds(world)
    written = "SELECT DISTINCT coalesce(owner_id, doc_id) FROM output JOIN document USING (doc_id) WHERE from_gen > 1"
    assert titles(url)["a"] == "Pushed" and len(world.rows(written)) == 1
    world.day_work()
    assert len(world.rows(written)) == 3, "the work of the day does that"
    check(world)


def test_a_rejected_candidate_survives_pushes_and_undoes_none(open_world: OpenWorld) -> None:
    world = open_world(**WITH_SECRET, min_documents=2, deletes="no")
    world.source.put("a", "b", "c")
    world.night()
    released(world)
    world.source.forget("b", "c")
    world.source.put("a", title="Candidate")
    world.night(pass_time=False)
    assert world.attempts()[-1] == ("full", "rejected")
    world.forward(timedelta(minutes=5))
    push(world, world.source.record("a", title="Pushed"), world.source.record("d"))
    rounds(world)
    assert world.attempts()[1] == ("full", "rejected") and world.titles()["a"] == "Pushed"
    steps.accept(world.installation, KEY)
    assert world.titles()["a"] == "Candidate" and [state for _, state in states(world)] == ["waiting", "waiting"]
    released(world)
    assert world.titles() == {"a": "Pushed", "d": "Title of d"}
    check(world)


def test_a_replay_brings_back_no_push_that_has_lost(open_world: OpenWorld) -> None:
    world = open_world(**WITH_SECRET, min_documents=2, deletes="no")
    world.source.put("a", "b", "c")
    world.night()
    late = world.source.record("a", title="Late")
    world.forward(timedelta(hours=1))
    world.source.forget("b", "c")
    world.source.put("a", title="Candidate")
    world.night(pass_time=False)
    world.forward(timedelta(minutes=5))
    push(world, late)
    rounds(world)
    assert world.attempts()[1] == ("full", "rejected") and world.titles()["a"] == "Late"
    world.forward(timedelta(minutes=5))
    steps.accept(world.installation, KEY)
    rounds(world)
    assert states(world) == [("a", "taken")] and world.titles() == {"a": "Candidate"}
    world.forward()
    remap.remap(world.installation, KEY)
    assert world.titles() == {"a": "Candidate"}
    check(world)


def test_a_replay_reads_pushes_too(world: World) -> None:
    push(world, world.source.record("d"))
    rounds(world)
    world.forward()
    remap.remap(world.installation, KEY)
    assert sorted(world.titles()) == ["a", "b", "c", "d"]


def test_slower_tasks_follow_with_a_later_version(world: World, url: str) -> None:
    world.source.files["d/gone"] = 404
    post(url, world.source.record("d", files=("gone", "there")))
    worker = PushRounds(world.installation)
    worker._safely(KEY, worker._take)
    worker._safely(KEY, worker._publish)
    assert not world.source.asked and "d" in titles(url)
    first = current(world)
    world.forward(timedelta(seconds=5))
    rounds(world)
    assert [path for path in world.source.asked if path.startswith("/files/d/")]
    assert current(world) != first
    assert world.outputs() == world.rebuilt()
    before = len(world.attempts())
    rounds(world)
    assert len(world.attempts()) == before, "once is enough"
    check(world)


def test_a_set_gets_one_generation_in_two_seconds(world: World) -> None:
    worker = PushRounds(world.installation)
    for name in "abc":
        push(world, world.source.record(name, title=f"Another {name}"))
        worker.round()
    assert [state for _, state in states(world)] == ["taken", "waiting", "waiting"]
    world.forward(EVERY)
    worker.round()
    assert world.state().accepted_gen == 3 and [state for _, state in states(world)] == ["taken"] * 3


def test_of_several_workers_one_is_at_it(world: World) -> None:
    workers = [PushRounds(world.installation) for _ in range(4)]
    push(world, world.source.record("a", title="Another a"))
    with locks.session(world.installation.pool) as other, locks.held(other, Lock.PUSHES):
        assert not workers[0].round() and states(world) == [("a", "waiting")]
    for generation, name in enumerate("abcde", start=2):
        push(world, world.source.record(name, title=f"New {name}"))
        with ThreadPoolExecutor(len(workers)) as pool:
            for future in [pool.submit(worker.round) for worker in workers * 3]:
                future.result()
        assert world.state().accepted_gen == generation, "no two of one rest"
        world.forward(EVERY)


def test_a_set_that_was_never_harvested_keeps_what_is_pushed(world: World) -> None:
    other = "src:two"
    push(world, world.source.record("n"), key=other)
    assert pushed.take(world.installation, other).waits == "the set was never harvested"
    world.source.put("m", spec="two")
    world.night(other)
    rounds(world)
    assert sorted(world.titles(other)) == ["m", "n"]


def test_no_slower_task_begins_in_a_night_or_shortly_before_one(world: World, url: str) -> None:
    def asked() -> list[str]:
        return [path for path in world.source.asked if path.startswith("/files/d/")]

    tick = newest_tick(world.installation.config, world.now + DAY)
    world.at(tick - BEFORE_A_NIGHT / 2)
    post(url, world.source.record("d", files=("there",)))
    rounds(world)
    world.forward(QUIET)
    rounds(world)
    assert "d" in titles(url) and not asked(), "a night is about to begin"
    world.at(tick + QUIET)
    with world.installation.pool.connection() as connection:
        night = nights.open_night(connection, world.installation.config, world.now).night_id
    rounds(world)
    assert not asked(), "a night is open"
    with world.installation.pool.connection() as connection:
        nights.end(connection, night, world.now)
    rounds(world)
    assert asked()
    check(world)


def test_going_back_leads_before_the_release_and_not_before_a_push(world: World, url: str) -> None:
    before = current(world)
    world.source.put("a", title="A bad night")
    world.night()
    released(world)
    for title in ("One", "Two"):
        world.forward(EVERY)
        post(url, world.source.record("b", title=title))
        rounds(world)
    assert titles(url)["b"] == "Two"
    with world.installation.pool.connection() as connection:
        assert versions.before_current(connection).generations == before


def test_a_release_that_was_prepared_before_a_push_goes_back_to_nothing(world: World) -> None:
    world.source.put("z", spec="two")
    world.night("src:two")
    push(world, world.source.record("b", title="Pushed"))
    pushed.take(world.installation, KEY)
    prepared = versions.prepare(world.installation)
    ahead = versions.advance(world.installation, KEY)
    assert prepared and ahead and prepared.version_id < ahead.version_id
    versions.promote(world.installation, prepared)
    with world.installation.pool.connection() as connection:
        newest, *_ = log.entries(connection, 9)
    assert (newest.version_id, newest.before) == (prepared.version_id, ahead.version_id)
    assert not newest.is_back


def test_all_that_waits_is_accepted_by_hand_and_taken_by_a_release(world: World) -> None:
    most = pushed.MOST_TAKEN
    push(world, *(world.source.record(f"n{number}") for number in range(most + 1)))
    assert pushed.accept(world.installation, KEY).settled == most + 1
    push(world, *(world.source.record(f"m{number}") for number in range(most + 1)))
    released(world)
    assert {state for _, state in states(world)} == {"taken"}
    assert len(world.titles()) == 3 + 2 * (most + 1)


def test_who_decides_about_pushes_decides_about_what_was_there(open_world: OpenWorld) -> None:
    world = open_world(**WITH_SECRET, min_documents=2)
    world.source.put("a", "b", "c")
    world.night()
    push(world, *({"id": name, "meta": {"status": "deleted"}} for name in "ab"))
    pushed.take(world.installation, KEY)
    with world.installation.pool.connection() as connection:
        seen = inbox.newest(connection, world.state().set_id)
    assert seen == (2, 2)
    world.forward(EVERY)
    push(world, {"id": "c", "meta": {"status": "deleted"}}, world.source.record("d"))
    world.change("UPDATE push SET state = 'rejected', ended_at = received_at WHERE external_id = 'c'")
    assert pushed.accept(world.installation, KEY, up_to=seen.unsettled).settled == 2
    assert states(world) == [("a", "taken"), ("b", "taken"), ("c", "rejected"), ("d", "waiting")]
    assert set(world.titles()) == {"c"}
    assert pushed.dismiss(world.installation, KEY, up_to=seen.rejected) == 0
    assert pushed.dismiss(world.installation, KEY) == 1
    assert states(world)[2:] == [("c", "dismissed"), ("d", "waiting")]
    check(world)


def test_accepting_by_hand_ends_while_a_source_goes_on_pushing(world: World) -> None:
    """Each generation finds another push that came while the one before it was made."""
    more = iter(range(100))

    def pushes_more(_: str) -> None:
        push(world, world.source.record(f"more{next(more)}"))

    push(world, world.source.record("d"))
    assert pushed.accept(world.installation, KEY, pushes_more).settled == 1
    assert states(world) == [("d", "taken"), ("more0", "waiting")]


def test_what_fails_for_a_set_is_tried_again_after_a_pause(world: World) -> None:
    tried: list[str] = []

    def fails(key: str) -> bool:
        tried.append(key)
        raise StorageError("away", "the objects are away")

    worker = PushRounds(world.installation)
    for _ in range(3):
        worker._safely(KEY, fails)
    assert tried == [KEY]
    world.forward(timedelta(seconds=2))
    worker._safely(KEY, fails)
    world.forward(timedelta(seconds=2))
    worker._safely(KEY, fails)
    assert len(tried) == 2, "twice as long each time"
    assert worker._safely("src:two", lambda _: True), "another set has no pause"
    assert worker._safely(KEY, lambda _: True), "nor has other work of this one"


@pytest.mark.parametrize("block", ["read_only", "read_only_allow_delete"])
def test_what_an_index_that_is_wanted_could_not_show_is_not_published(
    open_world: OpenWorld, indexed: dict[str, Any], block: str
) -> None:
    """Its server refuses writes: before the pointer moves, and not after."""
    world = open_world(installed=indexed, **WITH_SECRET)
    world.source.put("a", "b", "c")
    world.night()
    released(world)
    before = current(world)
    alias = f"{indexed['platform']}-products"
    with OpenSearch(indexed["index"]["url"]) as client:
        client.indices.put_settings(index=alias, body={f"index.blocks.{block}": True})
        push(world, world.source.record("a", title="Nieuw"))
        rounds(world)
        assert current(world) == before, "accepted, and not shown"
        client.indices.put_settings(index=alias, body={f"index.blocks.{block}": None})
        rounds(world)  # another worker: none remembers that it failed
        client.indices.refresh(index=alias)
        found = client.search(index=alias, body={"query": {"match": {"title": "Nieuw"}}})
    assert current(world) != before and found["hits"]["total"]["value"] == 1
