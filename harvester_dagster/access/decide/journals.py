"""A library's journals: what SFX says about holdings, embargoes and open access, in the words of the rules.

Belongs here: the compact journal that a run holds in memory (100,000 of them in well under 200 MB), reading one from
its Solr document, and what is wrong with it. Does not belong here: reading Solr, Postgres.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import msgspec

from harvester_dagster.access.decide.solr_document import Problem

NO_HOLDINGS = "no holdings"
NO_FROM_YEAR = "a holding without fromyear"
UNREADABLE = "holding: not readable"
FROM_AFTER_TO = "holding: fromyear is after toyear"
BAD_EMBARGO = "embargo: not a number of days"


class Range(msgspec.Struct, frozen=True, gc=False):
    """Years that the library holds, both inclusive. No `to_year`: up to the year of the decision. No `from_year`:
    only the last one."""

    from_year: int | None
    to_year: int | None

    def __str__(self) -> str:
        return f"{self.from_year or '?'}-{self.to_year or 'now'}"


class Journal(msgspec.Struct, frozen=True, gc=False):
    """A journal in the words of the rules, as it is held in memory. ISSNs are normalized; an embargo is in whole
    years."""

    id: str
    issns: tuple[str, ...]
    title: str
    open_access: bool
    embargo_years: int
    ranges: tuple[Range, ...]
    """Of the holdings that could be read; with none, the journal's rules do not answer."""


class HasIssns(Protocol):
    """Whatever has print and electronic ISSNs, as Solr's fields name them: a document, a journal."""

    @property
    def issn_ss(self) -> tuple[str, ...]:
        """ISSNs of the printed edition, as they were written."""

    @property
    def eissn_ss(self) -> tuple[str, ...]:
        """ISSNs of the electronic edition, as they were written."""


class JournalFields(HasIssns, Protocol):
    """A journal with the fields of its Solr document, as Solr or the store has it."""

    @property
    def id(self) -> str:
        """The journal's id in Solr."""

    @property
    def title_ts(self) -> tuple[str, ...]:
        """Its titles; "open access" in one of them marks an open-access journal."""

    @property
    def holdings_ssf(self) -> tuple[str, ...]:
        """What the library holds: JSON objects with `fromyear` and `toyear`."""

    @property
    def embargo_ssf(self) -> tuple[str, ...]:
        """Embargoes, as numbers of days."""


def normal_issn(issn: str) -> str:
    """An ISSN as it is compared: without hyphens and outer white space, in upper case."""
    return issn.replace("-", "").strip().upper()


def issns_of(document: HasIssns) -> Iterator[str]:
    """The normalized ISSNs in the order in which a journal is looked up: `issn_ss`, then `eissn_ss`."""
    for issn in document.issn_ss:
        yield normal_issn(issn)
    for issn in document.eissn_ss:
        yield normal_issn(issn)


class _Holding(msgspec.Struct, gc=False):
    fromyear: Any = None
    toyear: Any = None


_holding = msgspec.json.Decoder(_Holding).decode


def read_journal(document: JournalFields) -> tuple[Journal, tuple[Problem, ...]]:
    """The journal of a Solr document, and what the library should mend in it. Never raises: what cannot be read is
    left out."""
    problems: list[Problem] = []
    if not document.holdings_ssf:
        problems.append(Problem(NO_HOLDINGS, ""))
    ranges = tuple(held for entry in document.holdings_ssf if (held := _range(entry, problems)) is not None)
    titles = document.title_ts
    return Journal(
        id=document.id,
        issns=tuple(dict.fromkeys(issn for issn in issns_of(document) if issn)),
        title=titles[0] if titles else "",
        open_access=any("open access" in title.lower() for title in titles),
        embargo_years=_embargo_years(document.embargo_ssf, problems),
        ranges=ranges,
    ), tuple(problems)


def _range(entry: str, problems: list[Problem]) -> Range | None:
    try:
        holding = _holding(entry)
        held = Range(_year(holding.fromyear), _year(holding.toyear))
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        problems.append(Problem(UNREADABLE, entry[:200]))
        return None
    if held.from_year is None:
        problems.append(Problem(NO_FROM_YEAR, entry[:200]))
    elif held.to_year is not None and held.from_year > held.to_year:
        problems.append(Problem(FROM_AFTER_TO, entry[:200]))
    return held


def _year(value: Any) -> int | None:
    """Absent, null and "" are no year. Raises ValueError for what is no number of a year."""
    if isinstance(value, str):
        value = value.strip()
        if value == "":
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 9):
            raise ValueError(value)
        value = int(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 10**9:
        raise ValueError(value)
    return value


def _embargo_years(entries: Iterable[str], problems: list[Problem]) -> int:
    """Of several the smallest; days / 365, rounded up."""
    days: list[int] = []
    for entry in entries:
        text = entry.strip()
        if text.isascii() and text.isdigit() and len(text) <= 9:
            days.append(int(text))
        else:
            problems.append(Problem(BAD_EMBARGO, entry[:200]))
    return -(-min(days) // 365) if days else 0


def by_issn(journals: Iterable[Journal]) -> dict[str, Journal]:
    """The journals by each of their ISSNs; of several with one ISSN, the one with the smallest id, whatever their
    order."""
    found: dict[str, Journal] = {}
    for journal in journals:
        for issn in journal.issns:
            other = found.get(issn)
            if other is None or journal.id < other.id:
                found[issn] = journal
    return found
