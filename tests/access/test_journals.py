"""The journals of an endpoint: read whole, swapped in at once, small in memory."""

import sys
import tracemalloc

from harvester_dagster.access.decide.journals import by_issn, read_journal
from harvester_dagster.access.decide.solr_document import from_fields
from harvester_dagster.access.runs import journal_store
from harvester_dagster.access.runs.enricher import Enricher, refresh_journals
from tests.access.conftest import Collection, Make

HELD = '{"fromyear": "1990", "toyear": "2000"}'


def journal(id_: str, *issns: str, **fields: object) -> dict[str, object]:
    return {
        "id": id_,
        "format": "journal",
        "source_ss": ["jnl_sfx"],
        "issn_ss": list(issns),
        "holdings_ssf": [HELD],
        **fields,
    }


def test_refreshed_entries_replace_and_vanished_ones_leave(job: Enricher, collection: Collection) -> None:
    collection.add(journal("a", "1111-1111"), journal("b", "22222222"), journal("c", "3"))
    first = refresh_journals(job)
    assert first is not None and (first.journals, first.changed, first.generation) == (3, 3, 1)
    again = refresh_journals(job)
    assert again is not None and (again.changed, again.vanished, again.generation) == (0, 0, 1)

    collection.add(journal("a", "1111-1111", title_ts=["Open Access A"]))
    collection.delete("c")
    then = refresh_journals(job)
    assert then is not None and (then.journals, then.changed, then.vanished, then.generation) == (2, 1, 1, 2)
    shelf = journal_store.load(job.pool, "dtu")
    assert sorted(shelf.by_issn) == ["11111111", "22222222"]
    assert shelf.by_issn["11111111"].open_access
    with job.pool.connection() as connection:
        assert sorted(journal_store.changed_since(connection, 1, 1)) == ["11111111", "3"]


def test_only_journals_from_sfx_count(job: Enricher, collection: Collection) -> None:
    collection.add(journal("a", "1"), journal("b", "2", source_ss=["jnl_alis"]), journal("c", "3", format="article"))
    refresh_journals(job)
    assert list(journal_store.load(job.pool, "dtu").by_issn) == ["1"]


def test_a_young_copy_serves_every_mode(make: Make) -> None:
    assert refresh_journals(make(), only_if_older=True) is not None
    assert refresh_journals(make(), only_if_older=True) is None


def test_invalid_journals_are_those_to_mend(job: Enricher, collection: Collection) -> None:
    collection.add(
        journal("fine", "1"),
        journal("bare", "2", holdings_ssf=[]),
        journal("startless", "3", holdings_ssf=[HELD, '{"toyear": "2001"}']),
    )
    refreshed = refresh_journals(job)
    assert refreshed is not None and refreshed.invalid == 2
    assert [(j.id, [p.kind for p in j.problems]) for j in journal_store.invalid(job.pool, "dtu")] == [
        ("bare", ["no holdings"]),
        ("startless", ["a holding without fromyear"]),
    ]


def test_of_two_journals_with_one_issn_the_same_one_answers_always() -> None:
    one, two = (read_journal(from_fields(journal(id_, "1")))[0] for id_ in "ab")
    assert by_issn([one, two])["1"].id == by_issn([two, one])["1"].id == "a"


def test_a_hundred_thousand_journals_are_small() -> None:
    tracemalloc.start()
    shelf = by_issn(
        read_journal(from_fields(journal(f"j{n}", f"{n:08}", f"{n + 10**7:08}", title_ts=[f"Journal number {n}"])))[0]
        for n in range(5_000)
    )
    used, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(shelf) == 10_000
    assert used * 20 < 200 * 2**20, f"{used * 20 / 2**20:.0f} MiB for 100,000 on {sys.version}"
