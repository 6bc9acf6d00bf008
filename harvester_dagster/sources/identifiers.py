"""Web addresses and DOIs in what people write for an identifier or a place: alone, several, or with words around them.

Belongs here: finding them in a text. Does not belong here: how an address is requested and told from another
(`values.url`), which element holds them (its format's module).
"""

import re

from harvester_dagster.sources.values import text, url

LONGEST = 20_000
"""Characters of a text that are looked through."""
# One inside another (…?url=http://…, …/web/2010/http://…) is part of it.
_BEGINS = re.compile(r"(?<![^\s,;|<>()\[\]{}\"'])(?:https?|ftps?)://(?=[\w\[])", re.IGNORECASE)
_ALONE = re.compile(r"https?://[\w\[][^\s,;|<>()\[\]{}\"']*")
_LABELLED = re.compile(r"(?<=[a-z]:)https?://(?=[\w\[])", re.IGNORECASE)
_OF_OTHERS = re.compile(r"(?!https?:)[a-z][a-z\d+.-]*://[^\s/]\S*", re.IGNORECASE)
_NEVER = re.compile(r"[<>\"]")
"""What no address holds: it ends there, in a link of HTML for instance."""
_ENDS = re.compile(r"[\s<>\"]")
_APART = re.compile(r"\s(?=[(\[{<;,|\"'\u2013\u2014-])")
_EXTENSION = re.compile(r"/[^/?#]+\.[a-z][a-z\d]{1,4}(?:[?#]\S*)?", re.IGNORECASE)
_SAID_BEHIND = (
    "full text fulltext volledige tekst pdf html epub doc docx publisher publishers published version versie link "
    "landing page website web site preprint postprint open access abstract download online view bekijk available here "
    "the a at accepted manuscript english engels dutch nederlands"
)
_SAID = frozenset(_SAID_BEHIND.split())
_BEHIND = ".,;:|>\"'"
_PAIRS = {")": "(", "]": "[", "}": "{"}
_DOI = re.compile(r"(?:(?<![^\s:(<\[\"',;])|(?<=doi\.org/)|(?<=info:doi/)|(?<=doi=))10\.\d{4,9}/\S+", re.IGNORECASE)
_TORN = re.compile(r"(?<=/) | (?=[./])")


def addresses(written: str | None, notes: list[str]) -> list[str]:
    """Every web address in a text, in order, as `values.url` cleans it; words around them are noted. A blank inside an
    address is kept, unless what follows is not part of one."""
    whole = text(written)
    if whole is None:
        return []
    if _ALONE.fullmatch(whole) or _OF_OTHERS.fullmatch(whole):
        return [whole]
    whole = whole[:LONGEST]
    begins = [found.start() for found in [*_BEGINS.finditer(whole)] or _LABELLED.finditer(whole)]
    if begins == [0] and not _ENDS.search(whole):
        return [whole]
    if not begins:
        return []
    parts = [whole[begin:end] for begin, end in zip(begins, [*begins[1:], len(whole)], strict=True)]
    cut = [_without_words(part) for part in parts]
    found = [address for part in cut if _BEGINS.match(part) and (address := url(part))]
    if "".join(cut) != whole:
        notes.append(f"words around a web address: {whole!r:.200}")
    return found


def _without_words(part: str) -> str:
    """An address without what is said behind it."""
    address = _APART.split(_NEVER.split(part, maxsplit=1)[0].rstrip(), maxsplit=1)[0]
    first, *words = address.split()
    if words and (_EXTENSION.search(first.partition("://")[2]) or all(word.lower() in _SAID for word in words)):
        address = first
    return _bare(address)


def _bare(address: str) -> str:
    """Without the punctuation of the sentence around it."""
    while address and (address[-1] in _BEHIND or _unpaired(address)):
        address = address[:-1]
    return address


def _unpaired(address: str) -> bool:
    opening = _PAIRS.get(address[-1])
    return opening is not None and address.count(opening) < address.count(address[-1])


def doi(written: str | None) -> str | None:
    """The DOI in a text, from `10.` on: bare, after `doi:`, in an address of doi.org, with words around; null where
    there is none. White space is no part of one."""
    if not written:
        return None
    found = _DOI.search(_TORN.sub("", " ".join(written[:LONGEST].split())))
    bare = _bare(found[0]) if found else ""
    return bare if _DOI.fullmatch(bare) else None
