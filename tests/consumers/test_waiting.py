"""Waiting for a promotion, by a long question and by a stream of events, through whatever happens to the store."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import requests

from harvester_dagster.consumers.promotion_watch import Listening, PromotionWatch
from harvester_dagster.publication import log
from harvester_dagster.releases import release
from harvester_dagster.services import launcher
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import Version
from harvester_dagster.store import database
from harvester_dagster.web.api.limits import WAITERS
from tests.consumers.serving import listening
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import World

__all__ = ["open_world", "source"]
LISTENER = "application_name = 'harvester promotions'"


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    return open_world(installed={"web": {}}, deletes="persistent")


@pytest.fixture
def api(world: World) -> Iterator[str]:
    with listening(world.installation) as url:
        yield url


def promoted(world: World, title: str) -> None:
    versions.promote(world.installation, prepared(world, title))


def prepared(world: World, title: str) -> Version:
    world.source.put("a", title=title)
    world.night()
    version = release.prepare(world.installation)
    assert version
    return version


def waited(api: str, after: int, seconds: int = 20) -> tuple[int, float]:
    """What is shown in the end, and how long that took."""
    begun = time.monotonic()
    answer = requests.get(f"{api}/changes/?after={after}&wait={seconds}", timeout=90)
    assert answer.status_code == 200, answer.text
    return answer.json()["seq"], time.monotonic() - begun


def listeners(world: World) -> list[int]:
    found = world.rows(f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND {LISTENER}")
    return [pid for (pid,) in found]


def until_listening(world: World, other_than: int = 0) -> int:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if found := [pid for pid in listeners(world) if pid != other_than]:
            return found[0]
        time.sleep(0.02)
    raise AssertionError("nobody listens")


def test_it_answers_when_something_is_promoted(world: World, api: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(waited, api, 0) for _ in range(8)]
        until_listening(world)
        promoted(world, "First")
        begun = time.monotonic()
        assert {each.result()[0] for each in waiting} == {1}
        assert time.monotonic() - begun < 3
        assert len(listeners(world)) == 1
    assert waited(api, 0)[1] < 3
    seq, took = waited(api, 1, 1)
    assert seq == 1 and took >= 1


def test_who_waits_takes_no_connection(world: World, api: str) -> None:
    promoted(world, "First")
    with ThreadPoolExecutor(30) as threads:
        waiting = [threads.submit(waited, api, 1) for _ in range(30)]
        until_listening(world)
        begun = time.monotonic()
        assert requests.get(f"{api}/product/", timeout=10).status_code == 200
        assert time.monotonic() - begun < 2
        busy = world.one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'harvester api'")
        assert busy <= 10, "the pool of eight, and one that is about to go: thirty wait"
        promoted(world, "Second")
        assert {each.result()[0] for each in waiting} == {2}


def test_no_more_than_so_many_wait(world: World, api: str) -> None:
    promoted(world, "First")
    with ExitStack() as stack:
        session = stack.enter_context(requests.Session())
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=300))

        def stream() -> requests.Response:
            return session.get(f"{api}/changes/events/?after=1", stream=True, timeout=30)

        with ThreadPoolExecutor(20) as threads:
            streams = list(threads.map(lambda _: stream(), range(WAITERS.at_once)))
        assert {each.status_code for each in streams} == {200}
        for path in ("/changes/events/", "/changes/?after=1&wait=1"):
            refused = requests.get(f"{api}{path}", timeout=30)
            assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
            assert int(refused.headers["Retry-After"]) > 0 and refused.json()["status"] == 429
        assert requests.get(f"{api}/changes/?after=0", timeout=30).status_code == 200
        for each in streams:
            each.close()
    end = time.monotonic() + 20
    while requests.get(f"{api}/changes/?after=0&wait=1", timeout=30).status_code == 429:
        assert time.monotonic() < end, "who has left still counts"
        time.sleep(0.1)


def test_a_stream_tells_of_each_promotion_and_goes_on_where_it_was_left(world: World, api: str) -> None:
    promoted(world, "First")
    heard: list[str] = []
    changed = threading.Condition()
    stream = requests.get(f"{api}/changes/events/", stream=True, timeout=30)
    assert stream.headers["content-type"].startswith("text/event-stream")

    def listen() -> None:
        for line in stream.iter_lines(chunk_size=1, decode_unicode=True):
            with changed:
                heard.append(line)
                changed.notify_all()
            if line == 'data: {"seq":2}':
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    with changed:
        assert changed.wait_for(lambda: 'data: {"seq":1}' in heard, 10)
    promoted(world, "Second")
    listener.join(10)
    assert not listener.is_alive()
    assert {"id: 1", "id: 2", "event: promotion"} <= set(heard)
    stream.close()
    headers = {"Last-Event-ID": "1"}
    with requests.get(f"{api}/changes/events/", headers=headers, stream=True, timeout=30) as again:
        assert "2" in next(again.iter_lines(chunk_size=1, decode_unicode=True))


@pytest.mark.parametrize("rounds", [3])
def test_it_goes_on_when_its_connection_is_killed(world: World, api: str, rounds: int) -> None:
    promoted(world, "0")
    pid = 0
    for number in range(1, rounds + 1):
        with ThreadPoolExecutor(2) as threads:
            waiting = [threads.submit(waited, api, number) for _ in range(2)]
            pid = until_listening(world)
            world.one("SELECT pg_terminate_backend(%s)", pid)
            promoted(world, str(number))
            assert {each.result()[0] for each in waiting} == {number + 1}


def test_what_is_promoted_while_nobody_listens_is_told(world: World, api: str) -> None:
    """The store lets no listener in for a while: what was promoted then is read when it does."""
    promoted(world, "First")
    version = prepared(world, "Second")
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(waited, api, 1, 40)
        pid = until_listening(world)
        name = world.one("SELECT current_database()")
        with psycopg.connect(world.url, dbname="postgres", autocommit=True) as beside:
            beside.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            world.one("SELECT pg_terminate_backend(%s)", pid)
            versions.promote(world.installation, version)
            time.sleep(1)
            assert not listeners(world) and not waiting.done()
            beside.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert waiting.result()[0] == 2


def test_it_goes_on_when_the_store_was_restarted(tmp_path: Path) -> None:
    def waited() -> int | None:
        return asyncio.run(watch.moved_from(0, 60))

    with ThreadPoolExecutor(1) as threads:
        with launcher.postgres(tmp_path) as url:
            database.migrate(url)
            watch = PromotionWatch(url, Listening(linger=1))
            waiting = threads.submit(waited)
            with psycopg.connect(url, autocommit=True) as connection:
                while not connection.execute(f"SELECT FROM pg_stat_activity WHERE {LISTENER}").fetchall():
                    time.sleep(0.02)
        time.sleep(0.5)
        assert not waiting.done()
        with launcher.postgres(tmp_path) as url, psycopg.connect(url, options="-c search_path=harvester") as connection:
            connection.execute("INSERT INTO harvest_set (key) VALUES ('src:one')")
            log.write(connection, 1, {}, {1: 1}, datetime.now(UTC))
            connection.commit()
            assert waiting.result() == 1
