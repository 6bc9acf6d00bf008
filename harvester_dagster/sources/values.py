"""How the values that sources write become ours: texts, lists, URLs.

Belongs here: the rules that hold for every source, as pure functions that never raise on any input.
Does not belong here: where a source keeps a value (its format's module), what a document has (`product_shape.py`),
values with a table of their own (`dates.py`, `languages.py`, `licences.py`, `access_rights.py`).
"""

import re
from collections.abc import Iterable
from hashlib import sha1
from typing import Any

_BREAKS = re.compile(r"[\t\r\n]+")


def text(value: Any) -> str | None:
    """A text, trimmed; a number as it is written; null for an empty text and for anything else."""
    if isinstance(value, str):
        return value.strip() or None
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return None


def line(value: Any) -> str | None:
    """A text of one line (a title, a name, a keyword): as `text`, with inner white space collapsed."""
    if value is None:  # most of what a source could say, it does not
        return None
    return " ".join(value.split()) or None if isinstance(value, str) else text(value)


def lines(value: Any) -> list[str]:
    """The lines of a list, or of a single value; what is null or empty is left out."""
    if not value:
        return []
    if isinstance(value, list):
        return [found for item in value if (found := line(item)) is not None]
    return [found] if (found := line(value)) is not None else []


def unique(values: Iterable[str]) -> list[str]:
    """The values without doubles, in the order in which they came."""
    return list(dict.fromkeys(values))


def year(of_day: str | None) -> int | None:
    """The year of a day as `dates.day` writes it."""
    return int(of_day[:4]) if of_day else None


def url(value: Any) -> str | None:
    """The source's URL as it is requested and published: trimmed, without line breaks, spaces encoded; null when it
    is empty."""
    written = value.strip() if isinstance(value, str) else ""
    if not written.isprintable():
        written = _BREAKS.sub("", written)
    return written.replace(" ", "%20") or None


def url_identity(written: str) -> str:
    """What tells two URLs apart, whether cleaned by `url` or as somebody typed them: white space around one does not
    count, and a space in it may be written as such, as `%20` or as `+`.

    Files take their ids from it: for what `url` returns, its answer must never change.
    """
    return written.strip().replace(" ", "+").replace("%20", "+")


def digest(of_text: str) -> str:
    """The hexadecimal SHA-1 of a text, as the ids of files hold it of their URLs; it secures nothing."""
    return sha1(of_text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
