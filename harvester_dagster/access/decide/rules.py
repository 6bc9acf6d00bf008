"""Who may read a document's full text: the rules, in the order in which they are asked.

Belongs here: the ordered table of pure functions `(case) -> yes or no`, what each answers, and until when an answer
holds. The first rule that says yes decides; the batch, the debug page, `why` and `what-if` all ask this table.
Does not belong here: reading, writing, and the clock: the year of the decision is part of the case.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import MAXYEAR, date
from typing import Any, Literal, NamedTuple

import msgspec

from harvester_dagster.access.decide.journals import Journal, issns_of
from harvester_dagster.access.decide.solr_document import Problem, SolrDocument
from harvester_dagster.failures import HarvesterError

VERSION = 1
"""Raised when a rule would answer differently: the mode `changed` then decides every document again."""

PUBLIC = ("dtupub", "dtu")
"""Whatever the public may read, the university may read too."""
UNIVERSITY = ("dtu",)
EMBARGO = ("embargo",)
NOBODY: tuple[str, ...] = ()


class UnknownRule(HarvesterError):
    """There is no such rule; the mend lists those that there are."""


class Case(NamedTuple):
    """What the rules look at: one document with everything that is known about it in one year."""

    format: str
    sources: tuple[str, ...]
    kinds: tuple[str, ...]
    """The types of the full-text entries that could be read."""
    has_url: bool
    journal_titles: tuple[str, ...]
    journal: Journal | None
    """The document's journal in SFX."""
    published: int | None
    this_year: int
    open_access: bool | None
    """What the open-access DOI resolver said; None: not asked, or no answer."""
    problems: tuple[Problem, ...]


class Rule(NamedTuple):
    """One row of the decision table. Without `yes`, a case is left to the rules below."""

    name: str
    when: str
    """For librarians, and for docs/access.md."""
    yes: Callable[[Case], bool]
    access: tuple[str, ...]
    info: str
    saw: Callable[[Case], Mapping[str, Any]]
    """The values that `yes` looks at, for the trace."""
    dated: bool = False
    """Whether the answer may change with the year."""


def _sfx_book(case: Case) -> bool:
    return case.format == "book" and "dtu_sfx" in case.sources


def _own_thesis(case: Case) -> bool:
    return (
        case.format == "thesis"
        and case.has_url
        and any("orbit" in source or "rdb_" in source for source in case.sources)
    )


def _open_access_entry(case: Case) -> bool:
    return "openaccess" in case.kinds


def _research_entry(case: Case) -> bool:
    return "research" in case.kinds


def _publisher_entry(case: Case) -> bool:
    return "publisher" in case.kinds


def _open_access_journal(case: Case) -> bool:
    return case.format == "journal" and any("open access" in title.lower() for title in case.journal_titles)


def _sfx_journal(case: Case) -> bool:
    return case.format == "journal" and "jnl_sfx" in case.sources


def _embargo(case: Case) -> bool:
    journal = case.journal
    return (
        journal is not None
        and journal.embargo_years > 0
        and bool(journal.ranges)
        and case.published is not None
        and case.published > case.this_year - journal.embargo_years
    )


def _in_open_access_journal(case: Case) -> bool:
    return case.journal is not None and bool(case.journal.ranges) and case.journal.open_access


def _in_holdings(case: Case) -> bool:
    journal, published, this_year = case.journal, case.published, case.this_year
    if journal is None or published is None:
        return False
    for held in journal.ranges:
        last = held.to_year or this_year
        if (held.from_year or last) <= published <= last:
            return True
    return False


def _resolver(case: Case) -> bool:
    return case.open_access is True


def _see(*names: str) -> Callable[[Case], Mapping[str, Any]]:
    return lambda case: {name: getattr(case, name) for name in names}


def _see_journal(*names: str) -> Callable[[Case], Mapping[str, Any]]:
    def saw(case: Case) -> Mapping[str, Any]:
        journal = case.journal
        if journal is None:
            return {"journal": None}
        seen = {"journal": journal.title or journal.id, "holdings": [str(held) for held in journal.ranges]}
        own = {name: getattr(journal if hasattr(journal, name) else case, name) for name in names}
        return seen | own

    return saw


_years = ("embargo_years", "published", "this_year")

RULES: tuple[Rule, ...] = (
    Rule(
        "sfx_book",
        "the format is `book` and a source is `dtu_sfx`",
        _sfx_book,
        UNIVERSITY,
        "sfx",
        _see("format", "sources"),
    ),
    Rule(
        "own_thesis",
        "the format is `thesis`, a source has `orbit` or `rdb_` in its name, and a full-text entry has a `url`",
        _own_thesis,
        PUBLIC,
        "metastore",
        _see("format", "sources", "has_url"),
    ),
    Rule(
        "fulltext_openaccess",
        "a full-text entry is of type `openaccess`",
        _open_access_entry,
        PUBLIC,
        "metastore",
        _see("kinds"),
    ),
    Rule(
        "fulltext_research",
        "a full-text entry is of type `research`",
        _research_entry,
        PUBLIC,
        "metastore",
        _see("kinds"),
    ),
    Rule(
        "fulltext_publisher",
        "a full-text entry is of type `publisher`",
        _publisher_entry,
        UNIVERSITY,
        "metastore",
        _see("kinds"),
    ),
    Rule(
        "open_access_journal",
        'the format is `journal` and a journal title has "open access" in it',
        _open_access_journal,
        PUBLIC,
        "metastore",
        _see("format", "journal_titles"),
    ),
    Rule(
        "sfx_journal",
        "the format is `journal` and a source is `jnl_sfx`",
        _sfx_journal,
        UNIVERSITY,
        "sfx",
        _see("format", "sources"),
    ),
    Rule(
        "journal_embargo",
        "its SFX journal has holdings and an embargo, and the publication year > this year - embargo years",
        _embargo,
        EMBARGO,
        "sfx",
        _see_journal(*_years),
        dated=True,
    ),
    Rule(
        "journal_open_access",
        'its SFX journal has holdings, and "open access" in a title',
        _in_open_access_journal,
        PUBLIC,
        "sfx",
        _see_journal("open_access"),
        dated=True,
    ),
    Rule(
        "journal_holdings",
        "the publication year is inside one of the holdings of its SFX journal",
        _in_holdings,
        UNIVERSITY,
        "sfx",
        _see_journal("published", "this_year"),
        dated=True,
    ),
    Rule(
        "doi_resolver",
        "the open-access DOI resolver (where one is configured) knows a free copy",
        _resolver,
        PUBLIC,
        "oadoi",
        _see("open_access"),
        dated=True,
    ),
)
NAMES = tuple(rule.name for rule in RULES)
NO_RULE = "none"


class Decision(NamedTuple):
    """What was decided, by which rule, and until when it holds: on any day before, the answer is the same."""

    access: tuple[str, ...]
    info: str
    rule: str
    valid_until: date | None


def decide(case: Case, rules: Sequence[Rule] = RULES) -> Decision:
    """The answer of the first rule that says yes; nobody has access when none does."""
    for rule in rules:
        if rule.yes(case):
            return Decision(rule.access, rule.info, rule.name, _valid_until(case) if rule.dated else None)
    return Decision(NOBODY, "none", NO_RULE, _valid_until(case))


def _valid_until(case: Case) -> date | None:
    """The first day of the next year that matters to the journal's rules: an embargo ends, an open range arrives at
    the publication year, or leaves it. None: no year will matter. It may be a day on which nothing changes after all,
    never one too late.
    """
    journal, published = case.journal, case.published
    if journal is None or published is None or not journal.ranges:
        return None
    turns = [published, published + 1]
    if journal.embargo_years:
        turns.append(published + journal.embargo_years)
    if all(held.from_year and held.to_year for held in journal.ranges):
        turns = turns[2:]  # closed ranges do not move
    coming = [year for year in turns if case.this_year < year <= MAXYEAR]
    return date(min(coming), 1, 1) if coming else None


class Step(NamedTuple):
    """One rule's part in a decision, for people: what it looked at, and whether it gave the answer."""

    rule: Rule
    outcome: Literal["answered", "declined", "not reached"]
    saw: Mapping[str, Any]


def trace(case: Case, rules: Sequence[Rule] = RULES) -> list[Step]:
    """What each rule of `decide` saw and said, in its order and by the same functions."""
    steps: list[Step] = []
    answered = False
    for rule in rules:
        if answered:
            steps.append(Step(rule, "not reached", {}))
            continue
        answered = rule.yes(case)
        steps.append(Step(rule, "answered" if answered else "declined", rule.saw(case)))
    return steps


def without(left_out: Collection[str]) -> tuple[Rule, ...]:
    """All rules but those named. Raises UnknownRule, with the list of names."""
    if unknown := sorted(set(left_out) - set(NAMES)):
        raise UnknownRule(f"there is no rule {unknown[0]!r}", f"the rules are {', '.join(NAMES)}")
    return tuple(rule for rule in RULES if rule.name not in left_out)


class _Entry(msgspec.Struct, gc=False):
    """A full-text entry: only what a rule looks at; the rest (`source`, `local`, ...) may be anything."""

    type: Any = None
    url: Any = None


_entry = msgspec.json.Decoder(_Entry).decode
_NO_ENTRIES: tuple[tuple[str, ...], bool] = ((), False)


def case_of(
    document: SolrDocument, journals: Mapping[str, Journal], this_year: int, open_access: bool | None = None
) -> Case:
    """Put a document and its journal into the rules' words. What cannot be read is left out and listed in
    `problems`."""
    problems: list[Problem] = list(document.misread) if document.misread else []
    kinds, has_url = _entries(document.fulltext_list_ssf, problems) if document.fulltext_list_ssf else _NO_ENTRIES
    published = document.pub_date_tis
    return Case(
        document.format,
        document.source_ss,
        kinds,
        has_url,
        document.journal_title_ts,
        journal_of(document, journals),
        published[0] if published else None,
        this_year,
        open_access,
        tuple(problems),
    )


def _entries(entries: Iterable[str], problems: list[Problem]) -> tuple[tuple[str, ...], bool]:
    kinds: list[str] = []
    has_url = False
    for entry in entries:
        try:
            read = _entry(entry)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            problems.append(Problem("full-text entry: not a JSON object", entry[:200]))
            continue
        if isinstance(read.type, str):
            kinds.append(read.type)
        elif read.type is not None:
            problems.append(Problem("full-text entry: type is no text", entry[:200]))
        if isinstance(read.url, str) and read.url:
            has_url = True
    return tuple(kinds), has_url


def journal_of(document: SolrDocument, journals: Mapping[str, Journal]) -> Journal | None:
    """The document's journal: that of the first known one of its ISSNs, then of its electronic ISSNs."""
    if document.issn_ss or document.eissn_ss:
        for issn in issns_of(document):
            if journal := journals.get(issn):
                return journal
    return None


def as_table() -> str:
    """The decision table as Markdown, for docs/access.md and the pages."""
    lines = ["| # | rule | answers when | access | info |", "|---|---|---|---|---|"]
    for number, rule in enumerate(RULES, 1):
        access = ", ".join(f"`{who}`" for who in rule.access)
        lines.append(f"| {number} | `{rule.name}` | {rule.when} | {access} | `{rule.info}` |")
    lines.append("|  | | none of these | nobody: the field is absent | `none` |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_table())
