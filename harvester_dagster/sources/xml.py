"""Reading XML that others wrote: no entities, no DTD, no network, bounded depth and text.

Belongs here: the parser and its limits, and what formats ask of an element. Does not belong here: any name of a
protocol or a format.
"""

import re
from functools import cache
from typing import TYPE_CHECKING, TypeAlias
from xml.parsers import expat

from harvester_dagster.sources import encodings
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.whole_pages import looks_like

if TYPE_CHECKING:
    from lxml.etree import XMLParser, _Element

    Element: TypeAlias = _Element


class NotWellFormed(SourceError):
    """It is no XML, or deeper or longer than any record; the message says where."""


_DOCTYPE = re.compile(rb"[^<]*(?:<(?:\?|!--)[^>]*>[^<]*)*<!DOCTYPE", re.IGNORECASE)
# Written as themselves or as references: both come out of documents that were pasted into repositories.
_APART = frozenset(("br", "div", "li", "p"))
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")
_REFERENCES = re.compile(rb"(?:&#(?:\d{1,20}|x[\da-f]{1,20});)+", re.IGNORECASE)
_BEFORE = re.compile(rb"(?:\s|\xef\xbb\xbf|\0)+(?=<)")


@cache
def _parser() -> "XMLParser":
    """`huge_tree` stays off on purpose: 256 levels and texts of 10 MB are more than any record has. Comments and
    instructions are dropped, so that a text they cut in two is whole."""
    from lxml import etree

    return etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def parse(body: bytes) -> "Element":
    """The root element. Characters that XML forbids, and bytes that are no UTF-8, are mended and the rest is read.
    Raises SourceError for all else, in words that say what arrived instead."""
    if not body.strip():
        raise SourceError("an empty answer")
    try:
        return strict(body)
    except NotWellFormed as error:
        complaint = f"no well-formed XML but {looks_like(body)} ({error})"
    try:
        return strict(mended(body).body)
    except NotWellFormed:
        raise SourceError(complaint) from None


def mended(raw: bytes) -> encodings.Read:
    """XML without what it forbids and a person would drop, with a note on each: bytes that are no UTF-8, control
    characters, halves of surrogate pairs (both of a pair are the character that they mean), what stands before its
    declaration."""
    raw, notes = encodings.as_utf8(raw)
    dropped = [f"U+{ord(found.decode()):04X}" for found in _FORBIDDEN.findall(raw)]
    raw = _FORBIDDEN.sub(b"", raw)
    raw = _REFERENCES.sub(lambda found: _referred(found[0], dropped), raw)
    if dropped:
        notes += (
            f"characters that XML forbids were dropped, halves joined: {len(dropped)} ({', '.join(dropped[:3])})",
        )
    return encodings.Read(begun(raw), notes)


def begun(body: bytes) -> bytes:
    """XML without what nobody sees in front of it: white space, byte order marks."""
    found = None if body.startswith(b"<") else _BEFORE.match(body)
    return body[found.end() :] if found else body


def _referred(references: bytes, dropped: list[str]) -> bytes:
    """A row of references without those to what is no character of XML. Both halves of a surrogate pair are one."""
    kept, high = [], 0
    for written in references[2:-1].split(b";&#"):
        code = int(written[1:], 16) if written[:1] in b"xX" else int(written)
        if high and 0xDC00 <= code <= 0xDFFF:
            dropped[-1] += f" with U+{code:04X}"
            code = 0x10000 + ((high - 0xD800) << 10) + code - 0xDC00
        high = code if 0xD800 <= code <= 0xDBFF else 0
        if code in (9, 10, 13) or 32 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0x10000 <= code <= 0x10FFFF:
            kept.append(b"&#%d;" % code)
        else:
            dropped.append(f"U+{code:04X}")
    return b"".join(kept)


def complaint(body: bytes, start: int, end: int) -> str:
    """What is wrong first with a piece of XML, and where in it: line and character from 1 on, and what stands there.
    Empty: nothing that makes it less than well-formed."""
    parser = expat.ParserCreate(namespace_separator=" ")
    try:
        parser.Parse(body[:end], False)
        parser.Parse(body[end:], True)
    except expat.ExpatError as error:
        at = min(max(parser.ErrorByteIndex, start), end)
        before = body[start:at].decode("utf-8", "replace")
        line, character = before.count("\n") + 1, len(before) - before.rfind("\n")
        shown = f"{before[-20:]}{body[at : min(at + 20, end)].decode('utf-8', 'replace')}"
        said = expat.ErrorString(error.code).removeprefix("not well-formed (").removesuffix(")")
        return f"{said} at line {line}, character {character} ({shown!r})"
    return ""


def _refuse(*_: object) -> None:
    raise SourceError("XML with a DTD, which is refused")


def strict(body: bytes) -> "Element":
    """The root element of what is well-formed. Raises NotWellFormed, and SourceError for what is refused."""
    from lxml import etree

    if _DOCTYPE.match(body):
        raise SourceError(f"no plain XML but {looks_like(body)}")
    try:
        root = etree.fromstring(body, _parser())
    except (etree.XMLSyntaxError, LookupError) as error:  # LookupError: an encoding that nobody knows
        raise NotWellFormed(str(error)) from None
    if getattr(root.getroottree().docinfo, "doctype", ""):  # the stubs do not know it
        _refuse()
    return root


def raw(element: "Element") -> bytes:
    """The element as XML in UTF-8, with the namespaces that it needs."""
    from lxml import etree

    return etree.tostring(element, encoding="utf-8", with_tail=False)


def name(element: "Element") -> str:
    """The element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def text(element: "Element | None") -> str | None:
    """The element's whole text, that of what is inside it too (markup in a title), trimmed; null when empty.
    Paragraphs and line breaks stand on lines of their own."""
    if element is None:
        return None
    written = _whole(element) if len(element) else element.text or ""
    return written.strip() or None


def _whole(element: "Element") -> str:
    parts = [element.text or ""]
    for child in element.iterchildren():
        apart = "\n" if name(child).lower() in _APART else ""
        parts += (apart, _whole(child), apart, child.tail or "")
    return "".join(parts)
