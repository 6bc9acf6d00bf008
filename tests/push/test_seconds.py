"""From 200 to what everybody sees, by a worker in a process of its own over a real index: how long that takes, and that
neither a harvest nor a rollback nor kills in between lose or undo anything."""

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import requests
from opensearchpy import OpenSearch

from harvester_dagster import config as configuration
from harvester_dagster import installation
from harvester_dagster.cli import session
from harvester_dagster.installation import Installation, utc_now
from harvester_dagster.releases import release
from harvester_dagster.sets import sets, steps, versions
from tests.push.pushing import VARIABLE, post, site, titles
from tests.sets.scripted_source import ScriptedSource
from tests.sets.world import KEY

FILE = """
platform = "{platform}"

[sources.src]
kind = "sharekit"
url = "{source}"
sets = ["one", "two"]
webhook_secret_env = "{variable}"

[tasks]
disabled = ["tika", "youtube_api", "video_preview", "pdf_preview", "image_preview"]

[index]
url = "{index}"

[network]
allow_hosts = ["127.0.0.1"]
per_host_per_second = 1000
"""
PRODUCTS = 60
SECONDS = 10
"""From 200 to visible, for 95 of 100."""
LONG = 60.0


class Pushing:
    """An installation that is served and has a worker, and what was pushed to it last."""

    def __init__(self, opened: Installation, source: ScriptedSource, url: str, index: OpenSearch) -> None:
        self.installation, self.source, self.url, self.index = opened, source, url, index
        self.wanted: dict[str, str] = {}

    def push(self, name: str, title: str) -> float:
        """Push a record; when it was answered."""
        self.source.now = utc_now()
        answer = post(self.url, self.source.record(name, title=title))
        assert answer.status_code == 200, answer.text
        self.wanted[name] = title
        return time.monotonic()

    def indexed(self) -> dict[str, str]:
        """What searches show."""
        query = {"size": 1000, "_source": ["title", "external_id"]}
        alias = f"{self.installation.config.platform}-products"
        self.index.indices.refresh(index=alias)
        found = self.index.search(index=alias, body=query)["hits"]["hits"]
        return {one["_source"]["external_id"]: one["_source"]["title"] for one in found}

    def night(self, key: str = KEY) -> None:
        """A harvest to its verdict."""
        self.source.now = utc_now()
        steps.harvest(self.installation, key)
        steps.documents(self.installation, key)
        for rows in self.installation.catalog.passes:
            steps.tasks(self.installation, key, rows)
        steps.conclude(self.installation, key)

    def lacking(self, shown: dict[str, str]) -> dict[str, str]:
        """What was pushed last and is not shown."""
        return {name: title for name, title in self.wanted.items() if shown.get(name) != title}


def until(holds: Callable[[], Any], what: str, seconds: float = LONG) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture
def pushing(
    database: str,
    source: ScriptedSource,
    indexed: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Pushing]:
    file = tmp_path / "harvester.toml"
    values = {"platform": indexed["platform"], "index": indexed["index"]["url"], "source": source.url}
    file.write_text(FILE.format(variable=VARIABLE, **values))
    for name, value in (("CONFIG", str(file)), ("HOME", str(tmp_path)), ("POSTGRES_URL", database)):
        monkeypatch.setenv(f"HARVESTER_{name}", value)
    for name in ("DAGSTER_HOME", "DAGSTER_POSTGRES_URL", "HARVESTER_MAX_CONCURRENT_SETS"):
        monkeypatch.setenv(name, "")
    read = configuration.load()
    session.dagster_home(read)
    source.now, source.page_size = utc_now(), 100
    source.put(*(f"p{number}" for number in range(PRODUCTS)), files=())
    with ExitStack() as stack:
        opened = stack.enter_context(installation.opened(read, database))
        sets.synchronise(opened.pool, read, utc_now())
        url = stack.enter_context(site(opened))
        found = Pushing(opened, source, url, stack.enter_context(OpenSearch(indexed["index"]["url"])))
        found.night()
        release.release(opened, by_hand=True)
        yield found


@contextmanager
def worker() -> Iterator[Callable[[], None]]:
    """The worker as `up` supervises it; yields what kills it."""
    stop = threading.Event()
    with session.PushWorker(configuration.load()) as supervised:

        def supervise() -> None:
            while not stop.wait(0.2):
                supervised.ensure()

        def kill() -> None:
            process = supervised._process
            if process is not None and process.poll() is None:
                for one in (*psutil.Process(process.pid).children(recursive=True), process):
                    one.kill()

        supervised.ensure()
        # Its child gets a signal when the thread that started it ends: so it starts anew in this one.
        thread = threading.Thread(target=supervise)
        thread.start()
        try:
            yield kill
        finally:
            stop.set()
            thread.join()


@pytest.mark.timeout(300)
def test_95_of_100_are_shown_within_ten_seconds_and_told_to_dagster(pushing: Pushing) -> None:
    with worker():
        pushing.push("first", "First")
        until(lambda: not pushing.lacking(titles(pushing.url)), "the worker is up")
        waits: dict[str, float] = {}
        answered: dict[str, float] = {}
        for number in range(40):
            answered[f"n{number}"] = pushing.push(f"n{number}", f"Pushed {number}")
            _see(pushing, answered, waits)
            time.sleep(0.25)
        until(lambda: _see(pushing, answered, waits) == len(answered), "all are shown")
    p95 = statistics.quantiles(waits.values(), n=20)[-1]
    print(f"from 200 to visible: median {statistics.median(waits.values()):.1f} s, p95 {p95:.1f} s")
    assert p95 <= SECONDS
    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["products", "set"]))
        assert event is not None and event.asset_materialization is not None
        assert event.asset_materialization.partition == KEY
        assert event.asset_materialization.metadata["generation"].value == _state(pushing).accepted_gen


def _see(pushing: Pushing, answered: dict[str, float], waits: dict[str, float]) -> int:
    """Note since when both API and index show what was pushed; how many are shown."""
    shown, found, now = titles(pushing.url), pushing.indexed(), time.monotonic()
    for name, at in answered.items():
        if name not in waits and shown.get(name) == found.get(name) == pushing.wanted[name]:
            waits[name] = now - at
    return len(waits)


def _state(pushing: Pushing) -> sets.SetState:
    with pushing.installation.pool.connection() as connection:
        return sets.find(connection, KEY)


@pytest.mark.timeout(300)
def test_fifty_a_second_are_taken(pushing: Pushing) -> None:
    session_of = threading.local()
    body = pushing.source.record("x", files=())

    def one(number: int) -> int:
        if not hasattr(session_of, "session"):
            session_of.session = requests.Session()
        record = {**body, "id": f"r{number % 150}", "attributes": {**body["attributes"], "title": f"Title {number}"}}
        place = f"{pushing.url}/webhook/product/{KEY}/a-secret-of-sources/"
        return int(session_of.session.post(place, json=record, timeout=60).status_code)

    began, count = time.monotonic(), 200
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(one, range(count))) == {200}
    rate = count / (time.monotonic() - began)
    print(f"{rate:.0f} pushes a second")
    assert rate >= 50
    with pushing.installation.pool.connection() as connection:
        assert connection.execute("SELECT count(*) FROM push").fetchone() == (count,)


@pytest.mark.timeout(300)
def test_a_harvest_a_rollback_and_kills_in_between_lose_and_undo_nothing(pushing: Pushing) -> None:
    choose = random.Random(7)
    with worker() as kill:
        for number in range(60):
            pushing.push(f"p{choose.randrange(PRODUCTS)}", f"Pushed {number}")
            if number in (12, 25, 45):
                kill()
            if number == 20:
                pushing.night()
            if number == 30:
                release.release(pushing.installation, by_hand=True)
            if number == 38:
                with pushing.installation.pool.connection() as connection:
                    earlier = versions.before_current(connection)
                release.roll_back(pushing.installation, earlier)
            if number == 52:
                kill()
                release.release(pushing.installation, by_hand=True)
            time.sleep(0.2)
        until(lambda: not pushing.lacking(titles(pushing.url)), "the API shows what was pushed last")
        until(lambda: not pushing.lacking(pushing.indexed()), "so does the index")
    assert set(titles(pushing.url)) == {f"p{number}" for number in range(PRODUCTS)}
    assert titles(pushing.url) == pushing.indexed()
