"""When Solr fails: a clear error, nothing lost, and a later run goes on; when the run itself is killed; when the store
lets its sessions go, and the run goes on by itself."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from harvester_dagster.access.runs import run_rows
from harvester_dagster.access.runs.enricher import Enricher, refresh_journals
from harvester_dagster.access.runs.run import enrich
from harvester_dagster.demo import sample_index
from harvester_dagster.failures import OutsideError, PermanentError, TransientError
from harvester_dagster.services import launcher
from harvester_dagster.store.database import migrate, open_pool
from tests.access.conftest import NOW, Collection, Make
from tests.access.meddling import Asked, Cut, Instead, Proxy
from tests.access.test_run import expected, filled, small_batches, wait_until
from tests.sessions import Ender

HTML = b"<html><body>The proxy says hello</body></html>"


def state(job: Enricher) -> tuple[str, str]:
    run = run_rows.latest(job.pool)[0]
    return run.state, run.reason


def some_updates_answered(proxy: Proxy) -> None:
    """Pages are read ahead of what is written: in the middle is where something has come through, from the first."""
    wait_until(lambda: sum(asked.is_update for asked in proxy.answered) >= 2)


def test_away_at_the_start(make: Make) -> None:
    job = make(url="http://127.0.0.1:9/solr")
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9"):
        enrich(job, "full")
    assert state(job)[0] == "failed"


def test_wrong_collection(make: Make) -> None:
    with pytest.raises(PermanentError, match="is the collection's name right"):
        enrich(make(collection="nosuch"), "full")


def test_credentials_are_refused_or_sent(
    make: Make, collection: Collection, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.before = lambda asked: Instead(401, b"Unauthorized")
    with pytest.raises(PermanentError, match="credentials"):
        enrich(make(url=proxy.url), "full")
    monkeypatch.setenv("SOLR_USER", "metastore")
    monkeypatch.setenv("SOLR_PASSWORD", "s3cret")
    proxy.before = lambda asked: None
    job = make(url=proxy.url, username_env="SOLR_USER", password_env="SOLR_PASSWORD")
    assert job.solr._headers["Authorization"].startswith("Basic ")
    assert enrich(job, "full").state == "complete"


def test_a_schema_without_the_fields(make: Make, collection: Collection, proxy: Proxy) -> None:
    proxy.before = lambda asked: Instead(200, b'{"fields": []}') if "/schema/" in asked.path else None
    with pytest.raises(PermanentError, match="fulltext_availability_ss"):
        enrich(make(url=proxy.url), "full")


@pytest.mark.parametrize(
    "instead",
    [Instead(200, HTML), Instead(502, HTML), Instead(503), Instead(200, b'{"response": {"numFound": 1, "docs')],
)
def test_a_page_that_is_not_solrs_in_the_middle(
    make: Make, collection: Collection, proxy: Proxy, instead: Instead
) -> None:
    documents = filled(make(), 600)
    small_batches(make())
    pages: list[Asked] = []

    def third(asked: Asked) -> Instead | None:
        pages.extend([asked] if b"superformat_s%3Abib" in asked.body else [])
        if len(pages) <= 4 or not asked.is_page:
            return None
        some_updates_answered(proxy)
        return instead

    proxy.before = third
    job = make(url=proxy.url, patience=1, page_size=100)
    with pytest.raises(OutsideError):
        enrich(job, "full")
    assert state(job)[0] == "failed"
    report = enrich(make(), "full")
    assert report.continues and report.counts.processed < 600
    assert collection.access() == expected(documents)


def test_read_only(make: Make, collection: Collection, proxy: Proxy) -> None:
    filled(make(), 300)
    before = collection.access()
    proxy.before = lambda asked: (
        Instead(403, b'{"error": {"msg": "collection is read-only"}}') if asked.is_update else None
    )
    with pytest.raises(PermanentError, match="read-only"):
        enrich(make(url=proxy.url, patience=1), "full")
    assert collection.access() == before


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("at", ["page", "update"])
def test_credentials_that_expire_in_the_middle(
    make: Make, collection: Collection, proxy: Proxy, at: str, status: int
) -> None:
    documents = filled(make(), 800)
    small_batches(make())
    asked_for: list[Asked] = []

    def expired(asked: Asked) -> Instead | None:
        is_meant = asked.is_page if at == "page" else asked.is_update
        asked_for.extend([asked] if is_meant else [])
        if len(asked_for) <= 3 or not is_meant:
            return None
        some_updates_answered(proxy)
        return Instead(status, b"Unauthorized")

    proxy.before = expired
    with pytest.raises(PermanentError, match="credentials"):
        enrich(make(url=proxy.url, page_size=100), "full")
    assert state(make())[0] == "failed"
    proxy.before = lambda asked: None
    report = enrich(make(url=proxy.url), "full")
    assert report.continues and report.counts.processed < 800
    assert collection.access() == expected(documents)


def test_a_replica_that_copies_another_is_not_written_to(make: Make, collection: Collection, proxy: Proxy) -> None:
    filled(make(), 50)
    before = collection.access()
    follower = b'{"details": {"isLeader": "false", "isFollower": "true", "follower": {"leaderUrl": "http://one/solr"}}}'
    proxy.before = lambda asked: Instead(200, follower) if "/replication" in asked.path else None
    with pytest.raises(PermanentError, match="replica of http://one/solr"):
        enrich(make(url=proxy.url), "full")
    assert collection.access() == before and not proxy.updates


def test_an_overloaded_solr_is_asked_more_slowly(make: Make, collection: Collection, proxy: Proxy) -> None:
    documents = filled(make(), 1500)
    small_batches(make())
    busy = iter(range(3))

    def overloaded(asked: Asked) -> Instead | None:
        return Instead(503, headers={"Retry-After": "0"}) if asked.is_update and next(busy, None) is not None else None

    proxy.before = overloaded
    report = enrich(make(url=proxy.url, max_writers=3), "full")
    assert report.overloads == 3 and report.counts.applied == 1500
    assert proxy.most_in_flight <= 3
    assert collection.access() == expected(documents)


def test_an_update_whose_answer_is_lost_is_not_lost(make: Make, collection: Collection, proxy: Proxy) -> None:
    documents = filled(make(), 400)
    lost: list[Asked] = []

    def lose(asked: Asked) -> None:
        if asked.is_update and not lost:
            lost.append(asked)
            raise Cut

    proxy.after = lose
    report = enrich(make(url=proxy.url), "full")
    counts = report.counts
    assert lost and counts.sent == counts.applied == 400 and counts.conflicts == 0
    assert collection.access() == expected(documents)
    assert enrich(make(), "changed").counts.processed == 0


def another_process(database: str, solr_url: str, collection: str, mode: str) -> subprocess.Popen[bytes]:
    """A run in a process of its own, that may be killed."""
    return subprocess.Popen(
        [sys.executable, "-c", _KILLED, database, solr_url, collection, mode],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


_KILLED = """
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo
from harvester_dagster.access.runs.enricher import Enricher
from harvester_dagster.access.runs.run import enrich
from harvester_dagster.access.solr.collection import Solr
from harvester_dagster.config import Metastore
from harvester_dagster.outside.http import Outside
from harvester_dagster.store import database

url, solr_url, collection, mode = sys.argv[1:]
settings = Metastore(url=solr_url, collection=collection, page_size=100)
outside = Outside(allow_hosts=("127.0.0.1",), per_host_per_second=1e9)
pool = database.open_pool(url)
job = Enricher(pool, Solr("dtu", settings, outside), settings, outside, ZoneInfo("Europe/Amsterdam"),
               lambda: datetime(2026, 6, 1, 12, tzinfo=UTC))
enrich(job, mode)
"""


@pytest.mark.parametrize("after", ["first page", "third page", "first update", "third update", "an update's answer"])
def test_kill_nine(make: Make, collection: Collection, proxy: Proxy, database: str, after: str) -> None:
    documents = filled(make(), 1000)
    small_batches(make())
    reached, over = threading.Event(), threading.Event()
    pages: list[Asked] = []

    def hold() -> None:
        reached.set()
        over.wait(20)
        raise Cut

    def before(asked: Asked) -> None:
        pages.extend([asked] if asked.is_page else [])
        if asked.is_page and len(pages) >= {"first page": 1, "third page": 3}.get(after, 10**6):
            hold()
        if asked.is_update and len(proxy.updates) >= {"first update": 1, "third update": 3}.get(after, 10**6):
            hold()

    def then(asked: Asked) -> None:
        if asked.is_update and after == "an update's answer":
            hold()

    proxy.before, proxy.after = lambda asked: before(asked), then
    process = another_process(database, proxy.url, collection.name, "full")
    assert reached.wait(30)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    over.set()
    wait_until(lambda: run_rows.in_progress(make().pool, NOW) is None)
    assert run_rows.latest(make().pool)[0].state == "died"
    report = enrich(make(), "full")
    assert report.counts.sent == report.counts.applied + report.counts.skipped
    assert collection.access() == expected(documents)
    assert enrich(make(), "changed").counts.processed == 0


def end_lock(database: str) -> None:
    """The session that holds the lock of the endpoint's run."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database "
            "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
        )


def test_a_run_whose_lock_goes_with_its_session_goes_on_by_itself(
    make: Make, collection: Collection, proxy: Proxy, database: str
) -> None:
    documents = filled(make(), 1000)
    small_batches(make())
    ends = iter(range(3))

    def lose(asked: Asked) -> None:
        if asked.is_update and len(proxy.updates) % 3 == 0 and next(ends, None) is not None:
            end_lock(database)
            time.sleep(0.6)  # it looks twice a second

    proxy.before = lose
    report = enrich(make(url=proxy.url, page_size=100), "full")
    assert report.state == "complete" and report.continues
    assert collection.access() == expected(documents)
    assert enrich(make(), "changed").counts.processed == 0


def test_who_was_asked_to_stop_does_not_go_on_when_the_lock_is_lost(
    make: Make, collection: Collection, proxy: Proxy, database: str
) -> None:
    filled(make(), 1000)
    small_batches(make())
    asked_once = iter([True])

    def stop(asked: Asked) -> None:
        if asked.is_update and next(asked_once, False):
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute("UPDATE harvester.access_run SET stop_asked_at = now()")
            end_lock(database)
            time.sleep(0.6)

    proxy.before = stop
    report = enrich(make(url=proxy.url, page_size=100), "full")
    assert (report.state, report.reason) == ("stopped", "stopped on request")
    assert [run.state for run in run_rows.latest(make().pool, count=5)] == ["stopped"]


@pytest.mark.parametrize(("act", "seconds", "most"), [("terminate", 0.2, 100), ("kill", 0.4, 4)])
def test_the_store_lets_sessions_go_all_the_time(
    make: Make, collection: Collection, proxy: Proxy, tmp_path: Path, act: str, seconds: float, most: int
) -> None:
    documents = filled(make(), 1500)
    small_batches(make())
    proxy.before = lambda asked: time.sleep(0.02)
    with launcher.postgres(tmp_path) as url:
        migrate(url)
        ender = Ender(url, seed=7)
        with open_pool(url) as pool:
            job = dataclasses.replace(make(url=proxy.url, page_size=100), pool=pool)
            with ender.going_on(getattr(ender, act), seconds, most):
                report = enrich(job, "full")
    assert ender.ended > 1
    assert report.state == "complete"
    assert collection.access() == expected(documents)


def test_solr_is_killed_in_the_middle_and_comes_back(make: Make, tmp_path: Path) -> None:
    documents = list(sample_index.documents(2000))
    with launcher.solr(tmp_path) as url:
        port = int(url.split(":")[2].split("/")[0])
        job = make(url=url, patience=1, collection="metastore", page_size=200)
        sample_index.load(job.solr, documents)
        refresh_journals(job)
        small_batches(job)
        stopped = threading.Event()

        def stop_it() -> None:
            wait_until(lambda: bool(run_rows.latest(job.pool)))
            time.sleep(0.2)
            for pid in _listening(port):
                os.kill(pid, signal.SIGKILL)
            stopped.set()

        thread = threading.Thread(target=stop_it, daemon=True)
        thread.start()
        try:
            report = enrich(job, "full")
            thread.join()
        except OutsideError:
            report = None
    if report is not None and report.state == "complete":
        pytest.skip("Solr was killed too late to matter")
    assert stopped.is_set()
    with launcher.solr(tmp_path) as url:
        again = make(url=url, collection="metastore")
        assert enrich(again, "full").state == "complete"
        found = again.solr.select(("superformat_s:bib",), "*", 5000).documents
    wanted = expected(documents)
    assert {d.id: (d.fulltext_availability_ss, d.fulltext_info_ss) for d in found} == wanted


def _listening(port: int) -> list[int]:
    import psutil

    return [
        c.pid
        for c in psutil.net_connections("tcp")
        if c.laddr and c.laddr.port == port and c.status == "LISTEN" and c.pid
    ]
