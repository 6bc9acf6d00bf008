"""Dates as people and catalogues write them: the first day of what a text surely says.

Belongs here: every notation of a date, and which are none. Does not belong here: which element holds the date that
counts (its format's module).
"""

import re
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from harvester_dagster.sources.values import text

LONGEST = 80
"""Characters of a date that are looked at."""
NEVER = (0, 9999)
"""Years that stand for "unknown" and "for ever"."""
_PLAIN = re.compile(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?))?)?(?:T.*|\s+\d\d?:.*)?", re.DOTALL)
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)?(?:t?\d{4}.*|t.*)?")
_AROUND = re.compile(r"[\[\](){}<>?!~%\u5e74]")
_BEFORE = re.compile(
    r"(?:(?:circa|cop(?:yright)?|ca|c|p|anno|approx(?:imately)?|about|around|omstreeks|ongeveer|rond|between|tussen|from|van|vanaf|"
    r"published|gepubliceerd|issued|printed|gedrukt|in|op|on|[\u00b1\u00a9\u2117~])[.:]?\s*)+(?=\d)"
)
_WEEKDAY = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun|maan|dins|woens|donder|vrij|zater|zon)[a-z]*[.,]?\s+")
_DASHES = re.compile("[\u2010-\u2015\u2212]")
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january januari jan januar janvier",
            "february februari feb februar février",
            "march maart mrt mar märz mars",
            "april apr avril",
            "may mei mai",
            "june juni jun juin",
            "july juli jul juillet",
            "august augustus aug août",
            "september sep sept septembre",
            "october oktober oct okt octobre",
            "november nov novembre",
            "december dec dezember décembre",
        ),
        1,
    )
    for name in names.split()
}
_NAMES = "|".join(sorted(_MONTHS, key=len, reverse=True))
_MONTH = rf"(?P<name>{_NAMES})\.?"
_CLOCK = r"(?:,?\s+\d\d?:\d\d.*)?"
_ORDINAL = r"(?:st|nd|rd|th|ste|de|er|e|\.)?"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"(?P<year>\d{{4}})[/.](?P<month>\d\d?)[/.](?P<day>\d\d?){_CLOCK}",
        rf"(?P<day>\d\d?)[-/. ](?P<month>\d\d?)[-/. ](?P<year>\d{{4}}){_CLOCK}",
        r"(?P<month>\d\d?)[-/.](?P<year>\d{4})",
        rf"(?P<day>\d\d?){_ORDINAL}[\s-]*(?:of\s+)?{_MONTH}[\s,-]*(?P<year>\d{{4}}){_CLOCK}",
        rf"(?P<day>\d\d?)\s*[-/]\s*\d\d?\s+{_MONTH}\s+(?P<year>\d{{4}})",
        rf"(?:(?P<day>\d\d?)\s+)?{_MONTH}\s*[-/]\s*(?:\d\d?\s+)?(?:{_NAMES})\.?\s+(?P<year>\d{{4}})",
        rf"{_MONTH}[\s-]*(?:(?P<day>\d\d?){_ORDINAL}[\s,-]+)?(?P<year>\d{{4}}){_CLOCK}",
        rf"{_MONTH}\s+(?P<day>\d\d?)\s+\d\d:\d\d:\d\d(?:\s+[a-z+\d:]+)?\s+(?P<year>\d{{4}})",
        rf"(?P<year>\d{{4}})[\s,-]*{_MONTH}(?:[\s-]*(?P<day>\d\d?){_ORDINAL})?",
    )
)
# A range is its start; a season of EDTF (2004-21), the second year of an abbreviated range (1998-99) and parts that
# are nought leave the year, or the month.
_START = re.compile(
    r"(\d{4}(?:-\d\d){0,2})(?:\s*(?:/|\.\.)\s*|\s+(?:-|t/m|tot|to|until|and|en|or|of)\s+)"
    r"(?:\d{4}(?:-\d\d){0,2}|\d\d|\.\.|open)?"
)
_YEARS_BETWEEN = re.compile(r"(\d{4})\s*-\s*(?:\d{4})?")
_NOUGHT = re.compile(r"(\d{4})(?:-(\d\d))?-00")
_SEASON = re.compile(r"(\d{4})-(?:1[3-9]|[2-9]\d)")
_AND_WORDS = re.compile(r"(\d{4}(?:-\d\d){0,2})[\s,;].*")


class Date(NamedTuple):
    """What a text says: the day as `YYYY-MM-DD`, the first where only a month or a year is known."""

    day: str
    plain: bool
    """Whether it is written as ISO 8601 has it, with hyphens."""


def read(value: Any) -> Date | None:
    """The date of a text; null for what is none, for a decade and a century, and for what nobody can be sure of."""
    written = text(value)
    return _read(written[:LONGEST]) if written else None


def day(value: Any) -> str | None:
    """`YYYY-MM-DD` of whatever `read` understands, else null."""
    found = read(value)
    return found.day if found else None


def plain_day(value: Any) -> str | None:
    """`YYYY-MM-DD` of a date that is written as ISO 8601 has it, else null."""
    found = read(value)
    return found.day if found and found.plain else None


def first(values: Iterable[Any], what: str, notes: list[str]) -> str | None:
    """The day of the first of these texts that is a date. What else there was is noted: the exact text of a date that
    is not plain, else the first text, which is none. `what` says whose date it is."""
    none: list[str] = []
    for value in values:
        written = text(value)
        found = read(written)
        if found is None:
            none += [written] if written else []
            continue
        if not found.plain:
            notes.append(f"{what} is written {written!r:.100}, read as {found.day}")
        return found.day
    notes.extend(f"{what} is no date: {written!r:.100}" for written in none[:1])
    return None


@lru_cache(maxsize=10_000)  # few days are the date of many products
def _read(written: str) -> Date | None:
    if (plain := _PLAIN.fullmatch(written)) and (day_ := _day(*plain.groups())):
        return Date(day_, True)
    low = " ".join(_DASHES.sub("-", written).lower().split())
    bare = _AROUND.sub("", low.replace("(c)", "c")).strip(" .,;:")
    found = _in_words(_BEFORE.sub("", _WEEKDAY.sub("", bare, count=1) if bare[:1].isalpha() else bare, count=1).strip())
    return Date(found, False) if found else None


def _in_words(bare: str) -> str | None:
    for plain in (_PLAIN, _COMPACT):
        if (match := plain.fullmatch(bare)) and (found := _day(*match.groups())):
            return found
    for form in _FORMS:
        if match := form.fullmatch(bare):
            return _of_parts(match.groupdict())
    for shorter in (_NOUGHT, _SEASON, _START, _YEARS_BETWEEN, _AND_WORDS):
        if match := shorter.fullmatch(bare):
            start = _PLAIN.fullmatch("-".join(part for part in match.groups() if part and part != "00"))
            return _day(*start.groups()) if start else None
    return None


def _of_parts(parts: dict[str, str | None]) -> str | None:
    """Day first, as Dutch sources write; month first only where the other cannot be."""
    name = parts.get("name")
    month = str(_MONTHS[name]) if name else parts.get("month")
    found = _day(parts["year"], month, parts.get("day"))
    return found or (None if name else _day(parts["year"], parts.get("day"), month))


def _day(year: str | None, month: str | None, of_month: str | None) -> str | None:
    try:
        found = date(int(year or 0), int(month or 1), int(of_month or 1))
    except ValueError:
        return None
    return None if found.year in NEVER else found.isoformat()
