"""The names on vCards (RFC 6350, and the older 3.0 and 2.1), as they stand inside metadata.

Belongs here: the grammar of vCards, and what pretty printing and flattening of XML did to it. Does not belong here:
who is an author (the format's module).

Cards arrive with lines that are folded, that are all indented (which is no folding), or that have become one line.
A regular expression per card, so that NL-LOM keeps its speed; held to `vobject` by the tests.
"""

import binascii
import quopri
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from harvester_dagster.sources.values import line

USUAL = 1_000
"""Characters of a text that is remembered."""
LONGEST = 20_000
"""Characters of one card that are read: more than any name, its address and its notes; not a photograph."""
_BEGIN = re.compile(r"BEGIN[ \t]*:[ \t]*VCARD", re.IGNORECASE)
_END = re.compile(r"END[ \t]*:[ \t]*VCARD", re.IGNORECASE)
_KNOWN = (
    r"(?:[\w-]+\.)?(?:VERSION|FN|N|ORG|EMAIL|TITLE|ROLE|TEL|URL|ADR|NOTE|UID|REV|KIND|NICKNAME|PHOTO|LABEL|BDAY|"
    r"GEO|LOGO|KEY|PRODID|CATEGORIES|SOURCE|X-[\w-]+)(?:;[^:\r\n]{0,200})?:"
)
_IS_KNOWN = re.compile(_KNOWN, re.IGNORECASE).match
# What stood on lines of its own and has become one: blanks, a hyphen, or a line break that was escaped, before a name.
_FLATTENED = re.compile(rf"(?:\\n|[ \t])[ \t]*(?:-[ \t]+)?(?={_KNOWN})", re.IGNORECASE)
_PROPERTY = re.compile(r'(?:[\w-]+\.)?([\w-]+)[ \t]*((?:;(?:"[^"]*"|[^":;])*)*):(.*)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_COMPONENT = re.compile(r"((?:[^\\;]|\\.)*)(?:;|\\?$)", re.DOTALL)
_QUOTED = re.compile(r"[;=]QUOTED-PRINTABLE(?:;|$)", re.IGNORECASE)
_BASE64 = re.compile(r"[;=](?:B|BASE64)(?:;|$)", re.IGNORECASE)
_CHARSET = re.compile(
    r"CHARSET=\"?((?:utf-?8|us-ascii|iso-8859-\d\d?|windows-125\d|macintosh|koi8-[ru]))\b", re.IGNORECASE
)


class Property(NamedTuple):
    """A line of a card: `FN;CHARSET=UTF-8:…`. The name in upper case, the value not unescaped."""

    name: str
    value: str


def names(written: str) -> Sequence[str | None]:
    """The name on each card of a text, in order; null for a card without one. A text without any card gives none."""
    return _known(written) if len(written) < USUAL else _names(written)


def _names(written: str) -> tuple[str | None, ...]:
    return tuple(_name(_properties(card)) for card in _cards(written))


_known = lru_cache(maxsize=2_000)(_names)  # a publisher's card is that of thousands of records


def _cards(written: str) -> Iterator[str]:
    """What stands between BEGIN and END; a card that is cut off ends where the next begins."""
    for part in _BEGIN.split(written)[1:]:
        inside = part[:LONGEST]
        end = _END.search(inside)
        yield inside[: end.start()] if end else inside


def _properties(card: str) -> list[Property]:
    first, newline, rest = card.partition("\n")
    if first.strip():
        first = _FLATTENED.sub("\n", " " + first.rstrip(" \t\r-"))
    elif not rest:
        return []
    return [found for text in _unfolded(first + newline + rest) if (found := _property(text))]


def _unfolded(card: str) -> Iterator[str]:
    """The lines of a card, those that were folded put together."""
    lines = [text for text in card.splitlines() if text and not text.isspace()]
    base = _indentation(lines)
    keeps = 0 if "VERSION:2.1" in card else 1  # 2.1 folds before a blank that belongs to the text
    logical: list[str] = []
    for text in lines:
        inner = text[base:] if text[:base].isspace() else text.lstrip(" \t") if base else text
        soft = bool(logical) and logical[-1].endswith("=") and _QUOTED.search(logical[-1].partition(":")[0])
        if soft:
            logical[-1] = logical[-1][:-1] + inner
        elif inner[0] in " \t" and logical and not (base and _IS_KNOWN(inner.lstrip())):
            logical[-1] += inner[keeps:]
        else:
            logical.append(inner.strip() if base else inner.lstrip())
    return iter(logical)


def _indentation(lines: list[str]) -> int:
    """The indentation of a card whose lines are all indented, which is no folding; else 0. BEGIN and VERSION may stand
    apart, where what was put in between is indented."""
    inside = [text for text in lines if not text.upper().startswith("VERSION:")]
    if not inside or any(text[0] not in " \t" for text in inside):
        return 0
    return min(len(text) - len(text.lstrip(" \t")) for text in inside)


def _property(text: str) -> Property | None:
    found = _PROPERTY.fullmatch(text)
    if not found:
        return None
    name, parameters, value = found[1].upper(), found[2], found[3]
    return Property(name, _decoded(value, parameters) if parameters else value)


def _decoded(value: str, parameters: str) -> str:
    if _QUOTED.search(parameters):
        raw = quopri.decodestring(value.encode())
    elif _BASE64.search(parameters):
        try:
            raw = binascii.a2b_base64(value.encode())
        except binascii.Error:
            return value
    else:
        return value
    charset = _CHARSET.search(parameters)
    for encoding in ("utf-8", charset[1] if charset else "windows-1252", "latin-1"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return value


def _name(card: list[Property]) -> str | None:
    """`FN`; where it is missing or empty the parts of `N` in the order in which they are said (without titles), else
    the organisation of `ORG`."""
    for wanted, read in (("FN", _unescaped), ("N", _of_parts), ("ORG", _of_organisation)):
        for name, value in card:
            if name == wanted and (found := line(read(value))):
                return found
    return None


def _unescaped(value: str) -> str:
    return _ESCAPED.sub(lambda found: " " if found[1] in "nN" else found[1], value)


def _components(value: str) -> list[str]:
    return [_unescaped(found) for found in _COMPONENT.findall(value)]


def _of_parts(value: str) -> str:
    family, given, additional = (*_components(value), "", "", "")[:3]
    return " ".join((given, additional, family))


def _of_organisation(value: str) -> str:
    return next((found for found in _components(value) if found.strip()), "")
