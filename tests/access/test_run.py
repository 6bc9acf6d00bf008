"""Runs on a real Solr: what each mode decides, what is written and what is not, and what is known afterwards."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harvester_dagster.access.decide.journals import by_issn, read_journal
from harvester_dagster.access.decide.rules import case_of, decide
from harvester_dagster.access.decide.solr_document import from_fields
from harvester_dagster.access.runs import journal_store, run_rows
from harvester_dagster.access.runs.enricher import Enricher, refresh_journals
from harvester_dagster.access.runs.run import enrich
from harvester_dagster.access.runs.run_rows import InProgress, StoppedBefore
from harvester_dagster.demo import sample_index
from tests.access.conftest import NOW, Collection, Make
from tests.access.meddling import Asked, Instead, Proxy

OPEN = {"id": "open", "format": "article", "fulltext_list_ssf": ['{"type": "openaccess"}']}
HELD_ON = '{"fromyear": "2000"}'
NONE = {"id": "none", "format": "article"}
PUBLIC = (("dtupub", "dtu"), ("metastore",))
NOBODY: Any = ((), ("none",))


def filled(job: Enricher, count: int = 1000) -> list[sample_index.Fields]:
    documents = list(sample_index.documents(count))
    sample_index.load(job.solr, documents)
    refresh_journals(job)
    return documents


def small_batches(job: Enricher) -> None:
    """As if that had been found best before."""
    with job.pool.connection() as connection:
        run_rows.endpoint_id(connection, "dtu")
    run_rows.keep_best(job.pool, "dtu", run_rows.Best(2, 100, 1.0))


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def expected(documents: list[sample_index.Fields], year: int = 2026) -> dict[str, Any]:
    read = [from_fields(fields) for fields in documents]
    journals = by_issn(read_journal(d)[0] for d in read if d.format == "journal" and "jnl_sfx" in d.source_ss)
    answers = {document.id: decide(case_of(document, journals, year)) for document in read}
    return {id_: (tuple(answer.access), (answer.info,)) for id_, answer in answers.items()}


def test_partial_decides_what_was_never_decided(job: Enricher, collection: Collection) -> None:
    documents = filled(job)
    report = enrich(job, "partial")
    assert report.state == "complete"
    assert report.counts.applied == report.counts.sent == report.counts.processed == 1000
    assert collection.access() == expected(documents)
    assert enrich(job, "partial").counts.processed == 0


def test_a_document_keeps_its_other_fields(job: Enricher, collection: Collection) -> None:
    collection.add({**OPEN, "title_ts": ["A title"], "holdings_ssf": ["{}"]})
    before = collection.all()["open"]
    enrich(job, "full")
    after = collection.all()["open"]
    changed = {"fulltext_availability_ss", "fulltext_info_ss", "_version_"}
    assert {k: v for k, v in after.items() if k not in changed} == {k: v for k, v in before.items() if k not in changed}


def test_without_access_the_field_is_absent(job: Enricher, collection: Collection) -> None:
    collection.add(NONE)
    enrich(job, "partial")
    assert "fulltext_availability_ss" not in collection.all()["none"]


def test_unchanged_decisions_are_not_sent(make: Make, collection: Collection, proxy: Proxy) -> None:
    job = make(url=proxy.url)
    filled(job)
    enrich(job, "full")
    versions = {id_: document["_version_"] for id_, document in collection.all().items()}
    proxy.asked.clear()
    report = enrich(job, "full")
    assert (report.counts.unchanged, report.counts.sent, proxy.updates) == (1000, 0, [])
    assert {id_: document["_version_"] for id_, document in collection.all().items()} == versions


def test_modes_look_at_their_documents_only(job: Enricher, collection: Collection) -> None:
    collection.add(
        {"id": "sfx", "fulltext_availability_ss": ["dtu"], "fulltext_info_ss": ["sfx"]},
        {"id": "nothing", "fulltext_availability_ss": [], "fulltext_info_ss": ["none"]},
        {"id": "new"},
        {"id": "not-bib", "superformat_s": "other"},
    )
    assert {mode: enrich(job, mode).counts.processed for mode in ("sfx", "no_access", "partial", "full")} == {
        "sfx": 1,
        "no_access": 2,  # with the one that `sfx` found to have no access any more
        "partial": 1,
        "full": 3,
    }
    assert collection.access()["not-bib"] == (("UNDETERMINED",), ())


def test_small_pages_and_more_journals_than_a_page(make: Make, collection: Collection) -> None:
    job = make(page_size=7)
    documents = filled(job, 300)
    refreshed = refresh_journals(job)
    assert refreshed and refreshed.journals == sum(d["source_ss"] == ["jnl_sfx"] for d in documents) > 7
    enrich(job, "full")
    assert collection.access() == expected(documents)


def test_one_commit_at_the_end(make: Make, collection: Collection, proxy: Proxy) -> None:
    filled(make())
    small_batches(make())
    enrich(make(url=proxy.url, page_size=100), "full")
    commits = [at for at, asked in enumerate(proxy.asked) if b"<commit" in asked.body]
    assert len(commits) == 1 and len(proxy.updates) > 1
    assert commits[0] > max(at for at, asked in enumerate(proxy.asked) if asked.is_update)


def test_a_document_deleted_meanwhile_is_not_brought_back(make: Make, collection: Collection, proxy: Proxy) -> None:
    collection.add(OPEN, {**OPEN, "id": "doomed"})

    def delete(asked: Asked) -> None:
        if asked.is_update and len(proxy.updates) == 1:
            collection.delete("doomed")

    proxy.before = lambda asked: delete(asked)
    report = enrich(make(url=proxy.url), "full")
    assert set(collection.all()) == {"open"}
    assert (report.counts.sent, report.counts.applied, report.counts.gone) == (2, 1, 1)
    assert ("doomed", "gone") in [(id_, kind) for id_, kind, _seen in run_rows.findings(make().pool, 1)]


def test_a_document_changed_meanwhile_is_decided_at_its_newest_state(
    make: Make, collection: Collection, proxy: Proxy
) -> None:
    collection.add(*({**OPEN, "id": f"{n:02}"} for n in range(10)))

    def change(asked: Asked) -> None:
        if asked.is_update and len(proxy.updates) == 1:  # it stands in the middle of this batch
            collection.add({**NONE, "id": "05", "title_ts": ["changed"]})

    proxy.before = lambda asked: change(asked)
    report = enrich(make(url=proxy.url), "full")
    assert collection.access() == {f"{n:02}": PUBLIC if n != 5 else NOBODY for n in range(10)}
    assert collection.all()["05"]["title_ts"] == ["changed"]
    assert (report.counts.applied, report.counts.conflicts, report.counts.moved) == (10, 1, 0)


def test_a_document_that_never_rests_is_left_for_the_next_run(make: Make, collection: Collection, proxy: Proxy) -> None:
    collection.add(OPEN, {**OPEN, "id": "restless"})

    def change(asked: Asked) -> None:
        if asked.is_update and b"restless" in asked.body:
            collection.add({**OPEN, "id": "restless", "title_ts": [str(time.monotonic())]})

    proxy.before = lambda asked: change(asked)
    report = enrich(make(url=proxy.url), "full")
    assert (report.counts.sent, report.counts.applied, report.counts.moved) == (2, 1, 1)
    proxy.before = lambda asked: None
    assert enrich(make(), "changed").counts.applied == 1
    assert collection.access() == {"open": PUBLIC, "restless": PUBLIC}


def test_a_changed_document_that_needs_no_update_any_more_gets_none(
    make: Make, collection: Collection, proxy: Proxy
) -> None:
    collection.add(OPEN)

    def decide_for_us(asked: Asked) -> None:
        if asked.is_update and len(proxy.updates) == 1:
            collection.add({**OPEN, "fulltext_availability_ss": ["dtupub", "dtu"], "fulltext_info_ss": ["metastore"]})

    proxy.before = lambda asked: decide_for_us(asked)
    report = enrich(make(url=proxy.url), "full")
    assert (report.counts.sent, report.counts.applied, report.counts.unchanged_meanwhile) == (1, 0, 1)


def test_a_document_that_solr_refuses_fails_alone(make: Make, collection: Collection, proxy: Proxy) -> None:
    collection.add(*({**OPEN, "id": f"{n:02}"} for n in range(20)))

    def refuse(asked: Asked) -> Instead | None:
        if not (asked.is_update and b'"13"' in asked.body):
            return None
        documents = json.loads(asked.body)
        if at := [document["id"] for document in documents].index("13"):
            collection.http.post(  # Solr stops there: those before it are applied
                f"{collection.url}/update?failOnVersionConflicts=false", json=documents[:at], timeout=60
            )
        return Instead(400, json.dumps({"error": {"msg": "immense term", "metadata": ["error-class", "x"]}}).encode())

    proxy.before = refuse
    report = enrich(make(url=proxy.url), "full")
    assert collection.access() == {f"{n:02}": PUBLIC if n != 13 else (("UNDETERMINED",), ()) for n in range(20)}
    assert (report.counts.sent, report.counts.applied, report.counts.failed) == (20, 19, 1)
    assert [id_ for id_, kind, _seen in run_rows.findings(make().pool, 1) if kind == "failed"] == ["13"]
    proxy.before = lambda asked: None
    assert enrich(make(), "changed").counts.applied == 1


def test_a_stop_ends_soon_and_accounts_for_everything(make: Make, collection: Collection, proxy: Proxy) -> None:
    documents = filled(make(), 2000)
    small_batches(make())

    def slow(asked: Asked) -> None:
        if asked.is_update:
            time.sleep(0.3)

    proxy.before = lambda asked: slow(asked)
    job = make(url=proxy.url, page_size=100)
    asked_at: list[float] = []

    def stop_later() -> None:
        wait_until(lambda: len(proxy.updates) > 3)
        asked_at.append(time.monotonic())
        run_rows.ask_to_stop(job.pool, "dtu", NOW)

    thread = threading.Thread(target=stop_later, daemon=True)
    thread.start()
    report = enrich(job, "full")
    assert time.monotonic() - asked_at[0] < 5
    thread.join()
    counts = report.counts
    assert report.state == "stopped" and 0 < counts.processed < 2000
    assert counts.sent == counts.applied + counts.skipped + counts.failed
    proxy.before = lambda asked: None
    collection.post({"commit": {}})
    told = sum(access != ("UNDETERMINED",) for access, _info in collection.access().values())
    assert told == counts.applied

    rest = enrich(make(), "full")
    assert rest.continues == 1 and rest.counts.already == counts.processed
    assert rest.counts.processed == 2000 - counts.processed
    assert collection.access() == expected(documents)


def test_a_stop_does_not_wait_for_a_solr_that_hangs(make: Make, collection: Collection, proxy: Proxy) -> None:
    filled(make())
    over = threading.Event()

    def hang(asked: Asked) -> None:
        if asked.is_update:
            over.wait(30)

    proxy.before = lambda asked: hang(asked)
    job = make(url=proxy.url)
    began: list[float] = []

    def stop() -> None:
        wait_until(lambda: bool(proxy.updates))
        began.append(time.monotonic())
        run_rows.ask_to_stop(job.pool, None, NOW)

    threading.Thread(target=stop, daemon=True).start()
    report = enrich(job, "full")
    took = time.monotonic() - began[0]
    over.set()
    assert took < 5 and report.state == "stopped"
    assert report.counts.sent == report.counts.failed > 0
    assert enrich(make(), "full").state == "complete"


def test_one_run_at_a_time(make: Make, collection: Collection, proxy: Proxy) -> None:
    filled(make())
    arrived, go_on = threading.Event(), threading.Event()

    def hold(asked: Asked) -> None:
        if asked.is_update:
            arrived.set()
            go_on.wait(20)

    proxy.before = lambda asked: hold(asked)
    first = threading.Thread(target=enrich, args=(make(url=proxy.url), "full"), daemon=True)
    first.start()
    assert arrived.wait(20)
    with pytest.raises(InProgress):
        enrich(make(), "partial")
    with pytest.raises(InProgress):
        run_rows.request(make().pool, "dtu", "partial", NOW)
    now = run_rows.in_progress(make().pool, NOW, "dtu")
    assert now is not None and now.mode == "full"
    go_on.set()
    first.join()
    assert run_rows.in_progress(make().pool, NOW) is None
    assert enrich(make(), "partial").state == "complete"


def test_two_requests_at_once_are_one_run(job: Enricher) -> None:
    outcomes: list[str] = []

    def ask() -> None:
        try:
            run_rows.request(job.pool, "dtu", "full", NOW)
            outcomes.append("asked")
        except InProgress:
            outcomes.append("in progress")

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["asked"] + ["in progress"] * 5
    assert enrich(job, "full").state == "complete"
    assert len(run_rows.latest(job.pool, "dtu", 10)) == 1


def test_a_request_that_nobody_takes_up_does_not_block_for_ever(job: Enricher) -> None:
    run_rows.request(job.pool, "dtu", "full", NOW - timedelta(hours=1))
    assert enrich(job, "partial").state == "complete"


def test_dry_run_writes_nothing(make: Make, collection: Collection, proxy: Proxy) -> None:
    filled(make(), 500)
    before = collection.all()
    report = enrich(make(url=proxy.url), "full", dry_run=True)
    assert report.counts.processed == 500 == sum(report.counts.changes.values())
    assert collection.all() == before and not proxy.updates
    assert run_rows.latest(make().pool) == []
    assert enrich(make(), "full").counts.changes == report.counts.changes


def test_the_year_is_the_one_of_the_decision(make: Make, collection: Collection) -> None:
    collection.add(
        {
            "id": "j",
            "format": "journal",
            "source_ss": ["jnl_sfx"],
            "issn_ss": ["1"],
            "holdings_ssf": ['{"fromyear":"2000"}'],
        },
        {"id": "a", "issn_ss": ["1"], "pub_date_tis": [2027]},
    )
    enrich(make(now=datetime(2026, 12, 31, 22, 59, tzinfo=UTC)), "full")
    assert collection.access()["a"] == NOBODY
    enrich(make(now=datetime(2026, 12, 31, 23, 1, tzinfo=UTC)), "changed")  # it is 2027 in Amsterdam
    assert collection.access()["a"] == (("dtu",), ("sfx",))


def test_bad_data_is_counted_listed_and_stops_nothing(job: Enricher, collection: Collection) -> None:
    collection.add(
        {"id": "broken", "fulltext_list_ssf": ["{", '{"type":"publisher"}', "x" * 200_000]},
        {"id": "book", "format": "book"},
        {"id": "odd", "format": "hologram", "issn_ss": ["", "---"]},
        {
            "id": "journal",
            "format": "journal",
            "source_ss": ["jnl_sfx"],
            "issn_ss": ["2", "0002-"],
            "holdings_ssf": ["{}", "{", '{"fromyear":"2000","toyear":"1990"}', '{"fromyear":"1990","toyear":"2000"}'],
            "embargo_ssf": ["x", "9"],
        },
        {"id": "held", "issn_ss": ["2"], "pub_date_tis": [1995]},
    )
    report = enrich(job, "full")
    assert report.counts.problems == {"full-text entry: not a JSON object": 2}
    assert {f[0] for f in run_rows.findings(job.pool, 1)} == {"broken"}
    assert collection.access()["broken"] == (("dtu",), ("metastore",))
    assert collection.access()["held"] == (("dtu",), ("sfx",))
    (journal,) = journal_store.invalid(job.pool, "dtu")
    assert [problem.kind for problem in journal.problems] == [
        "a holding without fromyear",
        "holding: not readable",
        "holding: fromyear is after toyear",
        "embargo: not a number of days",
    ]


def test_a_run_that_was_stopped_before_it_began_does_not_begin(job: Enricher, collection: Collection) -> None:
    collection.add(OPEN)
    asked = run_rows.request(job.pool, "dtu", "full", NOW)
    run_rows.ask_to_stop(job.pool, "dtu", NOW)
    with pytest.raises(StoppedBefore):
        enrich(job, "full", request=asked)
    assert collection.access()["open"] == (("UNDETERMINED",), ())
    assert enrich(job, "full").counts.applied == 1


def test_a_stop_in_the_moment_a_run_begins_is_not_lost(job: Enricher, collection: Collection) -> None:
    collection.add(OPEN)
    asked = run_rows.request(job.pool, "dtu", "full", NOW)
    ended: list[BaseException | None] = []

    def work() -> None:
        try:
            enrich(job, "full", request=asked)
            ended.append(None)
        except StoppedBefore as error:
            ended.append(error)

    with job.pool.connection() as stopping:
        stopping.execute("UPDATE access_run SET state = 'stopped', ended_at = %s WHERE run_id = %s", (NOW, asked))
        running = threading.Thread(target=work)
        running.start()

        def waits_for_it() -> bool:
            with job.pool.connection() as looking:  # within one transaction each look would be the same
                return looking.execute(
                    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)))",
                    (stopping.info.backend_pid,),
                ).fetchone() == (True,)

        wait_until(waits_for_it)
    running.join(30)
    assert [type(error) for error in ended] == [StoppedBefore]
    assert collection.access()["open"] == (("UNDETERMINED",), ())
