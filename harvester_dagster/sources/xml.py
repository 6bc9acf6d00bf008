"""Reading XML that others wrote: no entities, no DTD, no network, bounded depth and text.

Belongs here: the parser and its limits, and what formats ask of an element. Does not belong here: any name of a
protocol or a format.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeAlias
from xml.parsers import expat

from harvester_dagster.sources.asking import looks_like
from harvester_dagster.sources.source import SourceError

if TYPE_CHECKING:
    from lxml.etree import XMLParser, _Element

    Element: TypeAlias = _Element

_DOCTYPE = re.compile(rb"[^<]*(?:<(?:\?|!--)[^>]*>[^<]*)*<!DOCTYPE", re.IGNORECASE)
# Written as themselves or as references: both come out of documents that were pasted into repositories.
_FORBIDDEN = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]"
    rb"|&#0*(?:[0-8]|1[124-9]|2\d|3[01]);|&#x0*(?:[0-8bcef]|1[0-9a-f]|d[89a-f][0-9a-f]{2}|fff[ef]);",
    re.IGNORECASE,
)
_MENDS: tuple[Callable[[bytes], bytes], ...] = (
    lambda body: body,
    lambda body: _FORBIDDEN.sub(b"", body),
    lambda body: _FORBIDDEN.sub(b"", body.decode("utf-8", "replace").encode()),
)


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
    """The root element. Characters that XML forbids, and bytes that are no UTF-8, cost themselves and not the page.
    Raises SourceError for all else, in words that say what arrived instead."""
    from lxml.etree import XMLSyntaxError

    if not body.strip():
        raise SourceError("an empty answer")
    complaint = ""
    for mend in _MENDS:
        try:
            return _strict(mend(body))
        except (XMLSyntaxError, LookupError) as error:  # LookupError: an encoding that nobody knows
            complaint = complaint or f"no well-formed XML but {looks_like(body)} ({error})"
    raise SourceError(complaint)


def is_well_formed(body: bytes) -> bool:
    """Without a tree: two thirds of the time of `parse`. True only for what has no DTD; it may still be deeper or
    longer than `parse` takes."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, SourceError):
        return False
    return True


def _refuse(*_: object) -> None:
    raise SourceError("XML with a DTD, which is refused")


def _strict(body: bytes) -> "Element":
    from lxml import etree

    if _DOCTYPE.match(body):
        raise SourceError(f"no plain XML but {looks_like(body)}")
    root = etree.fromstring(body, _parser())
    if getattr(root.getroottree().docinfo, "doctype", ""):  # the stubs do not know it
        _refuse()
    return root


def raw(element: "Element") -> bytes:
    from lxml import etree

    return etree.tostring(element, encoding="utf-8", with_tail=False)


def name(element: "Element") -> str:
    """The local name."""
    return str(element.tag).rpartition("}")[2]


def text(element: "Element | None") -> str | None:
    """The element's own text, trimmed; null when empty."""
    return ((element.text or "").strip() or None) if element is not None else None
