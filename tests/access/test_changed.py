"""`changed`: reads little, and ends with the same index as `full` would."""

import json
import random
import threading
from datetime import UTC, datetime
from typing import Any

from harvester_dagster.access.runs.enricher import Enricher, refresh_journals
from harvester_dagster.access.runs.run import enrich
from harvester_dagster.demo import sample_index
from harvester_dagster.store.database import Pool
from tests.access.conftest import NOW, Collection, Make
from tests.access.meddling import Asked, Proxy

OPEN = {"id": "open", "format": "article", "fulltext_list_ssf": ['{"type": "openaccess"}']}


def journal(issn: str, **years: str) -> dict[str, Any]:
    return {
        "id": f"j-{issn}",
        "format": "journal",
        "source_ss": ["jnl_sfx"],
        "issn_ss": [issn],
        "holdings_ssf": [json.dumps(years)],
    }


def article(id_: str, issn: str, year: int) -> dict[str, Any]:
    return {"id": id_, "format": "article", "issn_ss": [issn], "pub_date_tis": [year]}


def test_nothing_changed_reads_nothing(make: Make, collection: Collection, proxy: Proxy) -> None:
    sample_index.load(make().solr, list(sample_index.documents(500)))
    enrich(make(), "full")
    report = enrich(make(url=proxy.url), "changed")
    assert (report.counts.processed, report.counts.sent) == (0, 0)
    assert not proxy.updates and not any(b"fulltext_list_ssf" in asked.body for asked in proxy.asked)


def test_without_a_complete_run_everything_is_read(job: Enricher, collection: Collection) -> None:
    collection.add(OPEN)
    assert enrich(job, "changed").counts.processed == 1
    assert enrich(job, "changed").counts.processed == 0


def test_only_what_moved_is_read(job: Enricher, collection: Collection) -> None:
    collection.add(*({**OPEN, "id": f"{n:03}"} for n in range(100)))
    enrich(job, "full")
    collection.add({"id": "050", "format": "article"}, {**OPEN, "id": "new"})
    collection.delete("007")
    report = enrich(job, "changed")
    assert report.counts.processed == report.counts.applied == 2
    assert collection.access()["050"] == ((), ("none",)) and "007" not in collection.all()


def test_what_others_change_during_a_full_run_is_found(make: Make, collection: Collection, proxy: Proxy) -> None:
    collection.add(*({**OPEN, "id": f"{n:03}"} for n in range(100)))
    once = threading.Event()

    def change(asked: Asked) -> None:
        if b"superformat_s%3Abib" in asked.body and not once.is_set():
            once.set()
            collection.add({"id": "020", "format": "article"}, {**OPEN, "id": "zzz-behind-the-cursor"})

    proxy.after = lambda asked: change(asked)
    first = enrich(make(url=proxy.url), "full")
    assert (first.counts.conflicts, first.counts.due_later) == (1, 1)  # 020 was decided anew at once
    second = enrich(make(), "changed")
    assert second.counts.processed == 1
    assert collection.access()["zzz-behind-the-cursor"] == (("dtupub", "dtu"), ("metastore",))
    assert collection.access()["020"] == ((), ("none",))


def test_a_changed_journal_decides_its_documents_again(job: Enricher, collection: Collection) -> None:
    collection.add(journal("11111111", fromyear="2000"), article("a", "1111-1111", 1995), article("b", "2", 1995))
    collection.add(*({**OPEN, "id": f"{n:03}"} for n in range(50)))
    enrich(job, "full")
    collection.add(journal("11111111", fromyear="1990"), journal("2", fromyear="1990"))
    refresh_journals(job)
    report = enrich(job, "changed")
    assert report.counts.processed == 4  # two journals, which moved, and their articles, which did not
    assert {collection.access()[id_] for id_ in "ab"} == {(("dtu",), ("sfx",))}
    collection.delete("j-2")
    refresh_journals(job)
    enrich(job, "changed")
    assert collection.access()["b"] == ((), ("none",))


def test_an_expired_decision_is_made_again(make: Make, collection: Collection) -> None:
    collection.add(
        journal("1", fromyear="1990") | {"embargo_ssf": ["365"]}, article("a", "1", 2026), article("b", "1", 2000)
    )
    enrich(make(), "full")
    assert collection.access()["a"] == (("embargo",), ("sfx",))
    assert enrich(make(), "changed").counts.processed == 0
    later = make(now=datetime(2027, 1, 2, tzinfo=UTC))
    assert enrich(later, "changed").counts.processed == 1
    assert collection.access()["a"] == (("dtu",), ("sfx",))


def test_other_rules_than_then_are_read_everything_for(make: Make, collection: Collection, pool: Pool) -> None:
    collection.add(OPEN, {**OPEN, "id": "2"})
    enrich(make(), "full")
    with pool.connection() as connection:  # as a run by older rules leaves it
        connection.execute("UPDATE access_endpoint SET basis = 'rules 0'")
    assert enrich(make(), "changed").counts.processed == 2


def test_changed_ends_with_the_same_index_as_full(make: Make, collection: Collection, seed: int) -> None:
    chance = random.Random(seed)
    documents = {d["id"]: d for d in sample_index.documents(150, seed)}
    sample_index.load(make().solr, list(documents.values()))
    refresh_journals(make())
    enrich(make(), chance.choice(["full", "partial"]))
    fresh = list(sample_index.documents(300, seed + 100))
    now = NOW
    for step in range(4):
        changed = chance.sample(fresh, 15)
        sample_index.load(make().solr, [dict(each) for each in changed])
        collection.delete(*chance.sample(sorted(documents), 5))
        now = now.replace(year=now.year + chance.choice([0, 0, 1, 5]))
        if chance.random() < 0.7:
            refresh_journals(make(now=now))
        if chance.random() < 0.4:
            enrich(make(now=now, page_size=chance.choice([10, 500])), chance.choice(["partial", "sfx", "no_access"]))
        enrich(make(now=now, page_size=chance.choice([10, 500])), "changed")
        after_changed = collection.access()
        dry = enrich(make(now=now), "full", dry_run=True)
        assert dict(dry.counts.changes) == {}, f"step {step}"
        assert after_changed == collection.access()
