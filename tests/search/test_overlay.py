"""What is taken down is in no index that consumers search, whatever becomes of one meanwhile."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from harvester_dagster import installation
from harvester_dagster.config import Config
from harvester_dagster.consumers import search_answers
from harvester_dagster.releases import release, taking_down
from harvester_dagster.releases.takedown_rounds import TakedownRounds
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.search import aliases, build, expunging
from harvester_dagster.search.search_side import search_side
from harvester_dagster.sets import versions
from harvester_dagster.store.locks import Busy
from tests.search.conftest import OpenWorld
from tests.search.proxy import Asked, Cut, Instead, meddling
from tests.search.world import World, product


def _many(world: World, count: int = 6) -> None:
    world.accept({f"p{n}": product(f"p{n}", f"Titel {n}") for n in range(count)})
    _release(world)


def _release(world: World) -> None:
    version = world.prepare()
    assert build.bring_up(world.installation, version).outcome == "ready"
    versions.promote(world.installation, version)
    assert aliases.move(world.installation) == ""


def _named(world: World, name: str) -> Named:
    with world.installation.pool.connection() as connection:
        row = connection.execute("SELECT doc_id, set_id FROM document WHERE external_id = %s", (name,)).fetchone()
    assert row is not None
    return Named(row[0], row[1], f"a:one:{name}")


def _take(world: World, name: str) -> str:
    return taking_down.take_down(world.installation, _named(world, name), "case 12").behind


def test_it_goes_at_once_and_comes_back(world: World) -> None:
    _many(world)
    assert _take(world, "p1") == ""
    assert "a:one:p1" not in world.shown() and len(world.shown()) == 5
    side = search_side(world.installation)
    assert side is not None and side.state == "follows"
    assert taking_down.undo(world.installation, _named(world, "p1")).behind == ""
    assert world.shown()["a:one:p1"] == "Titel 1"


def test_before_anything_was_published_it_is_not_shown_first(world: World) -> None:
    world.accept({f"p{n}": product(f"p{n}", f"Titel {n}") for n in range(3)})
    version = world.prepare()
    assert build.bring_up(world.installation, version).outcome == "ready"
    assert _take(world, "p1") == ""
    versions.promote(world.installation, version)
    assert aliases.move(world.installation) == ""
    assert world.shown().keys() == {"a:one:p0", "a:one:p2"}
    with world.installation.pool.connection() as connection:
        assert search_answers.withheld(connection, world.installation.config, "products") == {"a:one:p1"}


def test_a_version_whose_index_was_removed_by_a_purge_gets_another_before_it_is_announced(world: World) -> None:
    _many(world)
    world.accept({"p0": product("p0", "Nieuw")})
    version = world.prepare()
    assert build.bring_up(world.installation, version).outcome == "ready"
    assert expunging.expunge(world.installation, patience=5) == ""
    assert release.publish(world.installation, version).behind == ""
    assert world.shown()["a:one:p0"] == "Nieuw"


class Patching(threading.Thread):
    """Writes into the index that is searched again and again, as pushes do."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.stop, self.written = world, threading.Event(), 0
        (self.name,) = world.aliased()

    def run(self) -> None:
        while not self.stop.wait(0.05):
            with contextlib.suppress(Busy), build.alone(self.world.installation, patience=0.2):
                self.world.client.index(index=self.name, id="patched", body={"n": self.written}, refresh=True)
                self.written += 1


def _documents_with(world: World, name: str, word: str) -> int:
    """In how many documents of an index a word is, those that are only marked as deleted included."""
    said = world.client.termvectors(
        index=name, body={"doc": {"title": word}}, params={"fields": "title.folded", "term_statistics": "true"}
    )
    (term,) = said["term_vectors"]["title.folded"]["terms"].values()
    return int(term.get("doc_freq", 0))


def test_while_pushes_go_on_nothing_of_it_is_left_either(world: World) -> None:
    _many(world)
    world.accept({"p1": product("p1", "Zeldzaamwoord")})
    _release(world)
    (name,) = world.aliased()
    assert _documents_with(world, name, "zeldzaamwoord") == 1
    patching = Patching(world)
    patching.start()
    try:
        assert _take(world, "p1") == ""
        assert _documents_with(world, name, "zeldzaamwoord") == 1, "it is only marked"
        before = patching.written
        assert expunging.expunge(world.installation, patience=5) == ""
        assert _documents_with(world, name, "zeldzaamwoord") == 0
        assert patching.written > before + 20
    finally:
        patching.stop.set()
        patching.join()
    (settings,) = world.client.indices.get_settings(index=name).values()
    assert "merge" not in settings["settings"]["index"]


def test_a_server_that_fails_on_the_way_has_its_settings_back(
    world: World, open_world: OpenWorld, opensearch_url: str
) -> None:
    _many(world)
    assert _take(world, "p1") == ""
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as there:
        proxy.before = lambda asked: Instead(503) if "_forcemerge" in asked.path else None
        assert "503" in expunging.expunge(there.installation, patience=5)
    (settings,) = world.client.indices.get_settings(index=f"{world.alias}--main-1").values()
    assert "merge" not in settings["settings"]["index"]


@pytest.mark.parametrize("rebuild", [False, True])
def test_an_index_that_is_made_meanwhile_obeys(world: World, rebuild: bool) -> None:
    """Taken down (and another one back) between the reading of what goes into an index and its promotion."""
    _many(world)
    assert _take(world, "p2") == ""
    world.accept({"p0": product("p0", "Nieuw")})
    version = world.prepare()
    assert build.bring_up(world.installation, version, rebuild=rebuild).outcome == "ready"
    with build.alone(world.installation):
        taking_down.take_down(world.installation, _named(world, "p1"), "x", patience=0)
    taking_down.undo(world.installation, _named(world, "p2"))
    versions.promote(world.installation, version)
    assert aliases.move(world.installation) == ""
    assert world.shown() == {"a:one:p0": "Nieuw"} | {f"a:one:p{n}": f"Titel {n}" for n in (2, 3, 4, 5)}


def test_while_another_works_on_the_indices_it_goes_all_the_same(world: World) -> None:
    _many(world)
    with build.alone(world.installation):
        taken = taking_down.take_down(world.installation, _named(world, "p1"), "case 12", patience=0)
        assert taken.behind == "" and "a:one:p1" not in world.shown()
    side = search_side(world.installation)
    assert side is not None and side.state == "behind", "until it was brought up by the rules"
    assert aliases.reconcile(world.installation) == ""
    side = search_side(world.installation)
    assert side is not None and side.state == "follows"


def test_a_rollback_to_an_older_index_obeys(world: World) -> None:
    _many(world)
    first = world.current()
    assert first is not None
    world.accept({"p0": product("p0", "Nieuw")})
    _release(world)
    assert _take(world, "p1") == ""
    assert build.bring_up(world.installation, first).outcome == "ready"
    versions.promote(world.installation, first, rollback=True)
    assert aliases.move(world.installation) == ""
    assert world.shown() == {f"a:one:p{n}": f"Titel {n}" for n in (0, 2, 3, 4, 5)}


def test_an_index_that_is_patched_where_it_stands_obeys(world: World) -> None:
    _many(world)
    assert _take(world, "p1") == ""
    world.accept({"p1": product("p1", "Toch weer"), "p0": product("p0", "Nieuw")})
    with world.installation.pool.connection() as connection:  # as the outputs of a set are made
        connection.execute("UPDATE output SET published = false FROM takedown t WHERE t.doc_id = output.doc_id")
    version = world.prepare()
    versions.promote(world.installation, version)
    with build.working(world.installation) as work:
        patched = build.patched(work, version)
    assert patched and patched[0].how == "patch"
    assert "a:one:p1" not in world.shown() and world.shown()["a:one:p0"] == "Nieuw"


def test_while_the_current_version_has_no_index_it_goes_from_the_one_that_is_searched(world: World) -> None:
    """As where an index is not required and could not be built, or a process died between the version and its
    index."""
    _many(world)
    world.accept({"p0": product("p0", "Nieuw")})
    versions.promote(world.installation, world.prepare())
    assert _take(world, "p1") == ""
    assert world.shown() == {f"a:one:p{n}": f"Titel {n}" for n in (0, 2, 3, 4, 5)}
    assert not aliases.may_show_taken_down(world.installation)
    assert taking_down.undo(world.installation, _named(world, "p1")).behind != "", "it is not back yet"
    assert _take(world, "p2") == ""
    assert expunging.expunge(world.installation, patience=5) == "", "nor does a purge wait for that index"
    assert release.catch_up(world.installation) == ""
    assert world.shown() == {"a:one:p0": "Nieuw"} | {f"a:one:p{n}": f"Titel {n}" for n in (1, 3, 4, 5)}


def test_an_alias_that_cannot_be_moved_shows_it_no_more(
    world: World, open_world: OpenWorld, opensearch_url: str
) -> None:
    _many(world)
    world.accept({"p0": product("p0", "Nieuw")})
    version = world.prepare()
    assert build.bring_up(world.installation, version).outcome == "ready"
    versions.promote(world.installation, version)
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as there:
        proxy.before = lambda asked: Instead(403) if asked.path.startswith("/_aliases") else None
        assert _take(there, "p1") == ""
    assert world.shown() == {f"a:one:p{n}": f"Titel {n}" for n in (0, 2, 3, 4, 5)}
    assert aliases.reconcile(world.installation) == ""
    assert world.shown().keys() == {f"a:one:p{n}" for n in (0, 2, 3, 4, 5)} and world.shown()["a:one:p0"] == "Nieuw"


def test_a_mapping_that_is_broken_keeps_no_takedown(world: World, open_world: OpenWorld) -> None:
    _many(world)
    with open_world(mapping="of_nobody") as broken:
        assert _take(broken, "p1") == ""
    assert "a:one:p1" not in world.shown()


def test_nobody_is_told_before_it_is_gone(world: World, opensearch_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that hangs must not keep it findable for as long."""
    _many(world)
    seen: list[int] = []

    def listening(asked: Asked) -> Instead | None:
        if asked.path != "/alerts":
            return None
        seen.append(len(world.shown()))
        return Instead(200)

    with meddling(opensearch_url) as proxy:
        proxy.before = listening
        monkeypatch.setenv("HARVESTER_ALERT_URL", f"{proxy.url}/alerts")
        assert _take(world, "p1") == ""
        assert taking_down.undo(world.installation, _named(world, "p1")).behind == ""
    assert seen == [5, 6]


def _rounds_until(rounds: TakedownRounds, holds: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        rounds.round()
        time.sleep(0.1)


@pytest.mark.parametrize("has_index", [True, False])
def test_with_a_server_that_is_away_it_goes_when_that_is_back(
    world: World, open_world: OpenWorld, opensearch_url: str, has_index: bool
) -> None:
    _many(world)
    if not has_index:
        world.accept({"p0": product("p0", "Nieuw")})
        versions.promote(world.installation, world.prepare())
    said: list[str] = []
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as there:
        proxy.before = lambda _asked: Instead(503)
        assert "503" in _take(there, "p1")
        assert "a:one:p1" in world.shown() and aliases.may_show_taken_down(world.installation)
        rounds = TakedownRounds(there.installation, said.append)
        _rounds_until(rounds, lambda: said)
        proxy.before = lambda _asked: None
        _rounds_until(rounds, lambda: "a:one:p1" not in world.shown())
        _rounds_until(rounds, lambda: not rounds.round())
        asked = len(proxy.asked)
        assert not rounds.round() and len(proxy.asked) == asked, "what is done is not done again"
    assert not aliases.may_show_taken_down(world.installation)


def _take_elsewhere(read: Config, database: str, named: Named) -> None:
    with installation.opened(read, database) as opened:
        taking_down.take_down(opened, named, "case 12")


@pytest.mark.parametrize("part", ["_bulk", "_refresh", "_settings"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_on_its_way_to_the_index_it_is_mended(
    world: World, open_world: OpenWorld, database: str, opensearch_url: str, part: str, when: str
) -> None:
    _many(world)
    named = _named(world, "p1")
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as there:
        read = there.installation.config
        process = multiprocessing.get_context("spawn").Process(target=_take_elsewhere, args=(read, database, named))

        def kill(asked: Asked) -> None:
            if part in asked.path and process.pid:
                os.kill(process.pid, signal.SIGKILL)
                raise Cut

        setattr(proxy, when, kill)
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    side = search_side(world.installation)
    assert side is not None and side.state == "behind" and aliases.behind(world.installation) == 1
    rounds = TakedownRounds(world.installation)
    _rounds_until(rounds, lambda: not aliases.may_show_taken_down(world.installation))
    assert len(world.shown()) == 5 and aliases.behind(world.installation) is None
