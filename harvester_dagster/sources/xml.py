"""Reading XML that others wrote: no entities, no DTD, no network, bounded depth and text.

Belongs here: the parser and its limits, and what formats ask of an element. Does not belong here: any name of a
protocol or a format.
"""

import re
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from harvester_dagster.sources.asking import looks_like
from harvester_dagster.sources.source import SourceError

if TYPE_CHECKING:
    from lxml.etree import XMLParser, _Element

    Element: TypeAlias = _Element

_DOCTYPE = re.compile(rb"[^<]*(?:<(?:\?|!--)[^>]*>[^<]*)*<!DOCTYPE", re.IGNORECASE)


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
    """The root element. Raises SourceError, in words that say what arrived instead."""
    from lxml import etree

    if not body.strip():
        raise SourceError("an empty answer")
    if _DOCTYPE.match(body):
        raise SourceError(f"no plain XML but {looks_like(body)}")
    try:
        root = etree.fromstring(body, _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SourceError(f"no well-formed XML but {looks_like(body)} ({error})") from None
    if getattr(root.getroottree().docinfo, "doctype", ""):  # the stubs do not know it
        raise SourceError("XML with a DTD, which is refused")
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
