"""How the values that sources write become ours: texts, lists, dates, URLs, licences.

Belongs here: the rules that hold for every source, as pure functions that never raise on any input.
Does not belong here: where a source keeps a value (its format's module), what a document has (`products.py`).
"""

import re
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from hashlib import sha1
from typing import Any

_DATE = re.compile(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?))?)?(?:[T\s].*)?", re.DOTALL)
_BREAKS = re.compile(r"[\t\r\n]+")
_LICENCE_URL = re.compile(
    r"creativecommons\.org/(?:licenses/([a-z]+(?:[-+][a-z]+)*\+?)|(?:publicdomain|licenses/publicdomain)/(mark|zero))"
    r"(?:/(\d+)\.(\d+))?"
)
_LICENCE_CODE = re.compile(r"cc[\s_-]*(by(?:[\s_-]+(?:nc|nd|sa))*|0|zero)(?:[\s_-]+v?(\d)[.]?(\d))?")
_PUBLIC_DOMAIN = {"mark": "pdm", "zero": "cc0"}


def text(value: Any) -> str | None:
    """A trimmed text; empty and anything that is not a scalar is null."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return None


def line(value: Any) -> str | None:
    """A text of one line (a title, a name, a keyword): inner white space collapsed."""
    return " ".join(value.split()) or None if isinstance(value, str) else text(value)


def lines(value: Any) -> list[str]:
    """A string, a list or null as a list of lines without nulls."""
    if not value:
        return []
    if isinstance(value, list):
        return [found for item in value if (found := line(item)) is not None]
    return [found] if (found := line(value)) is not None else []


def unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def day(value: Any) -> str | None:
    """`YYYY-MM-DD` of a full or partial date, its time cut off; null when it is no date."""
    written = text(value)
    return _day(written[:40]) if written else None


@lru_cache(maxsize=10_000)  # few days are the date of many products
def _day(written: str) -> str | None:
    found = _DATE.fullmatch(written)
    if not found:
        return None
    try:
        return date(int(found[1]), int(found[2] or 1), int(found[3] or 1)).isoformat()
    except ValueError:
        return None


def year(of_day: str | None) -> int | None:
    return int(of_day[:4]) if of_day else None


def url(value: Any) -> str | None:
    """The source's URL as it is requested and published: trimmed, spaces encoded."""
    written = value.strip() if isinstance(value, str) else ""
    if not written.isprintable():
        written = _BREAKS.sub("", written)
    return written.replace(" ", "%20") or None


def url_identity(requested: str) -> str:
    """What tells two URLs apart: a space may have been written as such, as `%20` or as `+`."""
    return requested.replace("%20", "+")


def digest(of_text: str) -> str:
    return sha1(of_text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def licence(description: str | None) -> str | None:
    """A licence code (`cc-by-sa-40`, `pdm-10`) from a description in words, a URL or a code; null when it is none."""
    if not description:
        return None
    low = description.lower()
    if found := _LICENCE_URL.search(low):
        name = _PUBLIC_DOMAIN[found[2]] if found[2] else f"cc-{found[1]}"
        return f"{name}-{found[3]}{found[4]}" if found[3] else name
    words = low.strip(" .")
    if words.startswith("public domain"):
        return "pdm-10"
    if words.startswith("copyrighted"):
        return "yes"
    if found := _LICENCE_CODE.fullmatch(words):
        name = "cc0" if found[1] in ("0", "zero") else "-".join(["cc", *re.split(r"[\s_-]+", found[1])])
        return f"{name}-{found[2]}{found[3]}" if found[2] else name
    return None
