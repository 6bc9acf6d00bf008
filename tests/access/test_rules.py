"""The decision table: each row, its order, and what holds for any document."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.access.decide import rules
from harvester_dagster.access.decide.journals import Journal, by_issn, read_journal
from harvester_dagster.access.decide.rules import Decision, UnknownRule, case_of, decide, trace, without
from harvester_dagster.access.decide.solr_document import SolrDocument, from_fields

YEAR = 2026
PUBLIC, DTU = ("dtupub", "dtu"), ("dtu",)


def document(**fields: Any) -> SolrDocument:
    return from_fields({"id": "1", **fields})


def journals(*found: dict[str, Any]) -> dict[str, Journal]:
    return by_issn(read_journal(from_fields({"id": str(n), **each}))[0] for n, each in enumerate(found))


def decided(fields: dict[str, Any], *found: dict[str, Any], year: int = YEAR) -> tuple[tuple[str, ...], str, str]:
    decision = decide(case_of(document(**fields), journals(*found), year))
    return decision.access, decision.info, decision.rule


def entry(kind: str, **more: Any) -> str:
    return json.dumps({"type": kind, "url": "https://example.org/a", "source": "s", "local": False, **more})


def held(**years: str) -> str:
    return json.dumps(years)


JOURNAL = {"issn_ss": ["1234-567X"], "title_ts": ["Acta"], "holdings_ssf": [held(fromyear="1990", toyear="2000")]}
ARTICLE = {"format": "article", "issn_ss": ["1234567x"], "pub_date_tis": [1995]}

TABLE: list[tuple[str, dict[str, Any], list[dict[str, Any]], tuple[tuple[str, ...], str, str]]] = [
    ("book from SFX", {"format": "book", "source_ss": ["a", "dtu_sfx"]}, [], (DTU, "sfx", "sfx_book")),
    ("book from elsewhere", {"format": "book", "source_ss": ["a"]}, [], ((), "none", "none")),
    ("book without a source", {"format": "book"}, [], ((), "none", "none")),
    (
        "SFX wins over an open-access entry",
        {"format": "book", "source_ss": ["dtu_sfx"], "fulltext_list_ssf": [entry("openaccess")]},
        [],
        (DTU, "sfx", "sfx_book"),
    ),
    (
        "own thesis",
        {"format": "thesis", "source_ss": ["ds_orbit_2"], "fulltext_list_ssf": [entry("other")]},
        [],
        (PUBLIC, "metastore", "own_thesis"),
    ),
    (
        "thesis of another Danish university",
        {"format": "thesis", "source_ss": ["x", "rdb_ku"], "fulltext_list_ssf": ["{", entry("publisher")]},
        [],
        (PUBLIC, "metastore", "own_thesis"),
    ),
    (
        "thesis without a URL",
        {"format": "thesis", "source_ss": ["orbit"], "fulltext_list_ssf": ['{"type": "publisher"}']},
        [],
        (DTU, "metastore", "fulltext_publisher"),
    ),
    (
        "openaccess wins over the entries before it",
        {"fulltext_list_ssf": [entry("publisher"), entry("research"), entry("openaccess")]},
        [],
        (PUBLIC, "metastore", "fulltext_openaccess"),
    ),
    (
        "research wins over publisher",
        {"fulltext_list_ssf": [entry("publisher"), entry("research")]},
        [],
        (PUBLIC, "metastore", "fulltext_research"),
    ),
    ("publisher", {"fulltext_list_ssf": [entry("publisher")]}, [], (DTU, "metastore", "fulltext_publisher")),
    ("other types do not answer", {"fulltext_list_ssf": [entry("other")]}, [], ((), "none", "none")),
    (
        "open-access journal",
        {"format": "journal", "source_ss": ["jnl_sfx"], "journal_title_ts": ["Acta (Open Access)"]},
        [],
        (PUBLIC, "metastore", "open_access_journal"),
    ),
    ("journal from SFX", {"format": "journal", "source_ss": ["jnl_sfx"]}, [], (DTU, "sfx", "sfx_journal")),
    ("in the holdings", ARTICLE, [JOURNAL], (DTU, "sfx", "journal_holdings")),
    ("first and last year are held", {**ARTICLE, "pub_date_tis": [2000]}, [JOURNAL], (DTU, "sfx", "journal_holdings")),
    ("after the holdings", {**ARTICLE, "pub_date_tis": [2001]}, [JOURNAL], ((), "none", "none")),
    ("only the first year counts", {**ARTICLE, "pub_date_tis": [2001, 1995]}, [JOURNAL], ((), "none", "none")),
    ("no journal known", {**ARTICLE, "issn_ss": ["00000000"]}, [JOURNAL], ((), "none", "none")),
    ("no year, no range", {"format": "article", "issn_ss": ["1234567X"]}, [JOURNAL], ((), "none", "none")),
    (
        "a gap between holdings",
        {**ARTICLE, "pub_date_tis": [2005]},
        [JOURNAL | {"holdings_ssf": [held(fromyear="1990", toyear="2000"), held(fromyear="2010")]}],
        ((), "none", "none"),
    ),
    (
        "an open range goes up to this year",
        {**ARTICLE, "pub_date_tis": [2026]},
        [JOURNAL | {"holdings_ssf": [held(fromyear="2010")]}],
        (DTU, "sfx", "journal_holdings"),
    ),
    (
        "and not further",
        {**ARTICLE, "pub_date_tis": [2027]},
        [JOURNAL | {"holdings_ssf": [held(fromyear="2010")]}],
        ((), "none", "none"),
    ),
    (
        "no fromyear: the last year only",
        {**ARTICLE, "pub_date_tis": [1999]},
        [JOURNAL | {"holdings_ssf": [held(toyear="2000")]}],
        ((), "none", "none"),
    ),
    (
        "no years at all: this year only",
        {**ARTICLE, "pub_date_tis": [2026]},
        [JOURNAL | {"holdings_ssf": ["{}"]}],
        (DTU, "sfx", "journal_holdings"),
    ),
    (
        "fromyear after toyear holds nothing",
        {**ARTICLE, "pub_date_tis": [1995]},
        [JOURNAL | {"holdings_ssf": [held(fromyear="2000", toyear="1990")]}],
        ((), "none", "none"),
    ),
    (
        "embargo",
        {**ARTICLE, "pub_date_tis": [2025]},
        [JOURNAL | {"holdings_ssf": [held(fromyear="1990")], "embargo_ssf": ["730", "366"]}],
        (("embargo",), "sfx", "journal_embargo"),
    ),
    (
        "the smallest of several embargoes, in years rounded up",
        {**ARTICLE, "pub_date_tis": [2025]},
        [JOURNAL | {"holdings_ssf": [held(fromyear="1990")], "embargo_ssf": ["730", "365", "x"]}],
        (DTU, "sfx", "journal_holdings"),
    ),
    (
        "the embargo holds for open-access journals too",
        {**ARTICLE, "pub_date_tis": [2026]},
        [JOURNAL | {"title_ts": ["OPEN ACCESS acta"], "embargo_ssf": ["10"]}],
        (("embargo",), "sfx", "journal_embargo"),
    ),
    (
        "an article without a year is under no embargo",
        {"format": "article", "issn_ss": ["1234567X"]},
        [JOURNAL | {"title_ts": ["Acta", "Acta Open Access"], "embargo_ssf": ["99999"]}],
        (PUBLIC, "sfx", "journal_open_access"),
    ),
    (
        "without holdings not even an open-access journal answers",
        ARTICLE,
        [{"issn_ss": ["1234567X"], "title_ts": ["Open access"]}],
        ((), "none", "none"),
    ),
    (
        "the first known ISSN leads to the journal, then the electronic ones",
        {"pub_date_tis": [1995], "issn_ss": ["9999-9999"], "eissn_ss": ["8888-8888", "1234-567x"]},
        [JOURNAL, {"eissn_ss": ["88888888"], "title_ts": ["Other"]}],
        ((), "none", "none"),
    ),
]


@pytest.mark.parametrize(("fields", "found", "answer"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_table(fields: dict[str, Any], found: list[dict[str, Any]], answer: Any) -> None:
    assert decided(fields, *found) == answer


def test_the_resolver_answers_last() -> None:
    case = case_of(document(**ARTICLE), {}, YEAR, open_access=True)
    assert decide(case)[:3] == (PUBLIC, "oadoi", "doi_resolver")
    assert decide(case._replace(open_access=False)).rule == "none"
    assert decide(case_of(document(**ARTICLE), journals(JOURNAL), YEAR, open_access=True)).rule == "journal_holdings"


def test_bad_data_is_reported() -> None:
    bad = document(
        format=["article"],
        pub_date_tis=["19xx"],
        fulltext_list_ssf=["{", "7", '{"type": ["openaccess"]}', entry("publisher")],
    )
    case = case_of(bad, {}, YEAR)
    assert decide(case).rule == "fulltext_publisher"
    assert sorted(problem.kind for problem in case.problems) == [
        "full-text entry: not a JSON object",
        "full-text entry: not a JSON object",
        "full-text entry: type is no text",
        "pub_date_tis: wrong type",
    ]


def test_the_table_in_the_documentation_is_this_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")
    assert rules.as_table() in text


def test_rules_are_left_out_by_name() -> None:
    fields = {"fulltext_list_ssf": [entry("openaccess"), entry("publisher")]}
    case = case_of(document(**fields), {}, YEAR)
    assert decide(case, without(["fulltext_openaccess"])).rule == "fulltext_publisher"
    with pytest.raises(UnknownRule, match="no rule 'nonsense'"):
        without(["nonsense"])


# What holds for any document

years = st.integers(2018, 2032)
year_texts = st.one_of(st.none(), years.map(str), st.sampled_from(["", "19xx", " 2025 "]))
kinds = st.sampled_from(["openaccess", "research", "publisher", "other", "OpenAccess"])
good_entries = kinds.map(entry)
malformed = st.one_of(
    st.sampled_from(["{", "[]", "null", "7", '"text"', "", "{'a': 1}", '{"type":', "\x00", "[" * 3000]),
    st.text(max_size=20).filter(lambda text: not text.strip().startswith("{")),
)
holdings = st.builds(
    lambda first, last: json.dumps({k: v for k, v in (("fromyear", first), ("toyear", last)) if v is not None}),
    year_texts,
    year_texts,
)
journal_fields = st.fixed_dictionaries(
    {
        "issn_ss": st.just(["1234-567X"]),
        "title_ts": st.sampled_from([["Acta"], ["Acta", "Open Access Acta"]]),
        "holdings_ssf": st.lists(st.one_of(holdings, malformed), max_size=3),
        "embargo_ssf": st.lists(st.sampled_from(["0", "30", "365", "366", "1500", "x", "99999999999"]), max_size=2),
    }
)
document_fields = st.fixed_dictionaries(
    {
        "format": st.sampled_from(["article", "book", "thesis", "journal", "map", ""]),
        "source_ss": st.lists(st.sampled_from(["dtu_sfx", "jnl_sfx", "orbit", "rdb_x", "a"]), max_size=2),
        "issn_ss": st.sampled_from([[], ["1234567x"], ["00000000", "1234-567X"]]),
        "pub_date_tis": st.lists(years, max_size=2),
        "fulltext_list_ssf": st.lists(st.one_of(good_entries, malformed), max_size=3),
        "journal_title_ts": st.sampled_from([[], ["Acta"], ["Open ACCESS"]]),
    }
)


def _decide(fields: dict[str, Any], journal: dict[str, Any], year: int, oa: bool | None = None) -> Decision:
    return decide(case_of(document(**fields), journals(journal), year, oa))


@given(document_fields, journal_fields, years, malformed)
def test_a_malformed_entry_decides_as_an_absent_one(
    fields: dict[str, Any], journal: dict[str, Any], year: int, bad: str
) -> None:
    with_bad = fields | {"fulltext_list_ssf": [*fields["fulltext_list_ssf"], bad]}
    journal_with_bad = journal | {"holdings_ssf": [bad, *journal["holdings_ssf"]]}
    assert _decide(with_bad, journal_with_bad, year) == _decide(fields, journal, year)


@given(document_fields, journal_fields, years, st.integers(0, 3))
def test_an_openaccess_entry_never_lowers_access_unless_the_book_rule_answers(
    fields: dict[str, Any], journal: dict[str, Any], year: int, at: int
) -> None:
    entries = list(fields["fulltext_list_ssf"])
    entries.insert(at, entry("openaccess"))
    before, after = _decide(fields, journal, year), _decide(fields | {"fulltext_list_ssf": entries}, journal, year)
    assert set(after.access) == set(PUBLIC) or after.rule == "sfx_book"
    assert set(before.access) - {"embargo"} <= set(after.access)


@given(document_fields, journal_fields, years, st.sampled_from([None, True, False]))
def test_whatever_the_public_reads_the_university_reads(
    fields: dict[str, Any], journal: dict[str, Any], year: int, oa: bool | None
) -> None:
    access = _decide(fields, journal, year, oa).access
    assert "dtupub" not in access or "dtu" in access


@given(document_fields, journal_fields, years, st.sampled_from([None, True, False]))
def test_a_decision_holds_on_any_day_before_valid_until(
    fields: dict[str, Any], journal: dict[str, Any], year: int, oa: bool | None
) -> None:
    first = _decide(fields, journal, year, oa)
    last = year + 12 if first.valid_until is None else (first.valid_until - timedelta(days=1)).year
    assert first.valid_until is None or first.valid_until > date(year, 12, 31)
    for later in range(year, last + 1):
        assert _decide(fields, journal, later, oa)[:3] == first[:3]


@given(document_fields, journal_fields, years, st.sampled_from([None, True, False]))
def test_the_trace_tells_what_the_decision_did(
    fields: dict[str, Any], journal: dict[str, Any], year: int, oa: bool | None
) -> None:
    case = case_of(document(**fields), journals(journal), year, oa)
    steps = trace(case)
    answered = [step.rule.name for step in steps if step.outcome == "answered"]
    assert (answered or ["none"]) == [decide(case).rule]
    assert [step.rule.name for step in steps] == list(rules.NAMES)
