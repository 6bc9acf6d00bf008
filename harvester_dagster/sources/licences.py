"""Licences as repositories name them, in one table of codes: `cc-by-nc-sa-40`, `cc0-10`, `pdm-10`, `yes` (all rights
reserved), `unknown` (somebody looked, and does not know).

Belongs here: addresses, identifiers and names of licences. Does not belong here: who may read something
(`access_rights.py`), which element says it (its format's module).
"""

import re
from collections.abc import Sequence
from functools import lru_cache

LONGEST = 2_000
"""Characters of a text that are looked at for a licence."""
_CC_ADDRESS = re.compile(
    r"creativecommons\.org/(?:licenses/([a-z]+(?:[-+][a-z]+)*\+?)|(?:publicdomain|licenses/publicdomain)/(mark|zero))"
    r"(?:/(\d+)\.(\d+))?"
)
_STATEMENT = re.compile(r"rightsstatements\.org/(?:vocab|page|data)/([a-z-]+)")
_PURE = re.compile(r"/dk/atira/pure/core/document/licenses/(\w+)")
_CODE = re.compile(
    r"\b(?:cc|creative commons)[\s_-]*(0|zero|by(?:[\s_+-]+(?:nc|nd|sa)\b)*)(?![a-z])"
    r"(?:[\s_-]*(?:licen[cs]e|v(?:ersion)?)?[\s_.-]*(\d)[.]?(\d))?"
)
_PHRASES = {"niet commercieel - geen afgeleide werken (cc by-nc-nd)": "cc-by-nc-nd-40"}
"""Whole texts of one source whose version was agreed with it."""
_WORDS = {
    "by": ("attribution", "naamsvermelding"),
    "nc": ("noncommercial", "nietcommercieel"),
    "sa": ("sharealike", "gelijkdelen"),
    "nd": ("noderivatives", "noderivative", "noderivs", "noderiv", "geenafgeleidewerken", "geenafgeleidenwerken"),
}
_PART = {word: part for part, words in _WORDS.items() for word in words} | {part: part for part in _WORDS}
# What may stand between the parts of a licence's name: "Attribution-NonCommercial 4.0 International".
_JOINED = re.compile(
    r"\b(no[nt]?|niet|share|gelijk|geen|no)[\s-]+(?=commer|deriv|alike|delen|afgeleide)|(?<=afgeleide)\s+"
)
_DERIVED = re.compile(r"\b(noderiv(?:ative)?s?)[\s-]+works?\b")
_TOKENS = re.compile(r"[a-z]+|\d\.\d|\d")
_VERSION = re.compile(r"(?<![\d.])([1-4])\.(\d)(?![\d.])")
_FILLING = (
    "creative commons cc international internationaal internationale unported generic universal public licence license "
    "licenses licences licentie the this work is licensed under a an of de het netherlands nederland version versie v "
    "deed legalcode"
)
_FILLS = frozenset(_FILLING.split())
_RESERVED = re.compile(
    r"all rights? (?:are )?reserved|alle rechten (?:zijn )?voorbehouden|^copyrighted|^in copyright|"
    r"^auteursrechtelijk beschermd"
)
_UNKNOWN = re.compile(r"^(?:no copyright\b|no known copyright|copyright (?:not evaluated|undetermined))")
_PUBLIC_DOMAIN = re.compile(r"(?:creative commons )?(?:public domain|publiek domein)\b")
_ZERO = re.compile(r"\bcreative commons (?:zero|0|cc0)\b|\bcc0\b|public domain dedication")
_OWN = ("pdm-10", "yes", "unknown")


def code(written: str | None) -> str | None:
    """The code of the licence that a text names, by its address, its identifier or its name in English or Dutch; null
    when it names none. A code is its own name."""
    return _code(written[:LONGEST]) if written else None


@lru_cache(maxsize=1_000)  # a repository has few
def _code(written: str) -> str | None:
    low = " ".join(written.lower().replace("\u2011", "-").split()).strip(" .")
    return _PHRASES.get(low) or _by_address(low) or _by_code(low) or _by_name(low)


def _by_address(low: str) -> str | None:
    if found := _CC_ADDRESS.search(low):
        if found[2]:
            return "pdm-10" if found[2] == "mark" else "cc0-10"
        parts = found[1].split("-")
        return _named(parts, found[3], found[4]) if set(parts) <= _WORDS.keys() else None
    if found := _STATEMENT.search(low):
        return "yes" if found[1].startswith("inc") else "unknown"
    if found := _PURE.search(low):
        return _by_code(found[1].replace("_", "-")) or "yes"
    return None


def _by_code(low: str) -> str | None:
    """`CC BY-NC 4.0`, `cc_by_sa`, `CC0`, wherever it stands, and codes as they are here."""
    if low in _OWN:
        return low
    if not (found := _CODE.search(low)):
        return None
    if found[1] in ("0", "zero"):
        return "cc0-10"
    parts = re.split(r"[\s_+-]+", found[1])
    return _named(parts, found[2], found[3])


def _by_name(low: str) -> str | None:
    if _UNKNOWN.search(low):
        return "unknown"
    if _ZERO.search(low):
        return "cc0-10"
    if _PUBLIC_DOMAIN.match(low):
        return "pdm-10"
    parts, whole = _of_words(low), "creative commons" in low or re.search(r"\bcc\b", low) is not None
    if parts and (whole or _only_words(low)):
        version = _VERSION.search(low)
        return _named(parts, *(version.groups() if version else (None, None)))
    return "yes" if _RESERVED.search(low) else None


def _of_words(low: str) -> list[str]:
    """The parts of a licence that are named in full words."""
    return [part for token in _TOKENS.findall(_joined(low)) if len(token) > 2 and (part := _PART.get(token))]


def _only_words(low: str) -> bool:
    """Whether a text is nothing but the name of a licence: "Naamsvermelding-GelijkDelen 3.0 Nederland"."""
    return all(token in _PART or token in _FILLS or token[0].isdigit() for token in _TOKENS.findall(_joined(low)))


def _joined(low: str) -> str:
    return _DERIVED.sub(r"\1", _JOINED.sub(lambda found: found[1] or "", low))


def _named(parts: Sequence[str], major: str | None, minor: str | None) -> str:
    """The parts in the order that Creative Commons has them in today."""
    name = "-".join(["cc", "by", *(part for part in ("nc", "sa", "nd") if part in parts)])
    return f"{name}-{major}{minor}" if major else name
