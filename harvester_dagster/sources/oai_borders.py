"""Where the records of a list of OAI-PMH begin and end, when its page is no well-formed XML.

A page that parses is cut by its parser. On one that does not, tags are looked at in one pass: what hides them
(comments, CDATA, instructions) is skipped, records inside records are counted, and wherever that leads astray the next
border counts that no metadata has: the end of a record, and behind it the beginning of one with its header, or the end
of the list. So one record's bytes, whatever they are, end with it.

Belongs here: borders, in time that grows with the page. Does not belong here: what a record says (`oai_page.py`).
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from xml.parsers import expat

_NAME = rb"(?:[\w.-]+:)?"
_GAP = rb"(?:\s|<!--[^<>]*-->)*+"
_LIST = re.compile(rb"<(%b)(?:ListRecords|GetRecord)(?:\s[^<>]*+)?>" % _NAME)
_LIST_ENDS = re.compile(rb"</%b(?:ListRecords|GetRecord)\s*>" % _NAME)
_TAG = re.compile(rb"<(?:(!--)|(!\[CDATA\[)|(\?)|(/?)%brecord(?=[\s/>])[^<>]*?(/?)>)" % _NAME)
_CLOSERS = (b"-->", b"]]>", b"?>")
_IN_THE_LIST = 2
"""How many elements are open between records: the answer and its list."""
_IDENTIFIER = re.compile(rb"<%bidentifier[\s>]" % _NAME)


class _Patterns(NamedTuple):
    """What borders look like under the prefix of a list, which is found three times as fast as any prefix."""

    begins: re.Pattern[bytes]
    border: re.Pattern[bytes]
    follows: re.Pattern[bytes]
    token: re.Pattern[bytes]


@lru_cache(16)
def _under(prefix: bytes) -> _Patterns:
    name = re.escape(prefix)
    with_header = rb"<%brecord(?:\s[^<>]*+)?>%b<%bheader[\s>/]" % (name, _GAP, name)
    token = rb"<%bresumptionToken[\s>/]" % name
    return _Patterns(
        re.compile(with_header),
        re.compile(rb"</%brecord\s*>(?=%b(?:%b|(%b)|\Z))" % (name, _GAP, with_header, token)),
        re.compile(rb"%b(?:<%brecord[\s>/]|(%b)|\Z)" % (_GAP, name, token)),
        re.compile(token),
    )


class Pieces(NamedTuple):
    """A page in three: up to its list, its records in their order, and what is left of it."""

    head: bytes
    records: list[bytes]
    tail: bytes


def headers(page: bytes) -> int:
    """How many records with a header begin on a page, wherever they stand."""
    listed = _LIST.search(page)
    return sum(1 for _ in _under(listed[1]).begins.finditer(page)) if listed else 0


def pieces(page: bytes, is_well_formed: bool = False) -> Pieces | None:
    """The records of a page (UTF-8 or whatever else keeps ASCII), broken ones too. None: it has no list, or its list
    does not end. On one that is well-formed, what stands in a comment or CDATA between records is none."""
    start = _LIST.search(page)
    ends = list(_LIST_ENDS.finditer(page, start.end())) if start else []
    if not start or not ends:
        return None
    first, last = start.end(), ends[-1].start()
    head, listed, tail = page[:first], page[first:last], page[last:]
    read = _blanked(page)[first:last] if is_well_formed else listed
    records, gaps = [], []
    for begin, end, is_record in _spans(read, _under(start[1])):
        piece = listed[begin:end]
        if is_record or (piece.strip() and _IDENTIFIER.search(piece) and not _is_xml(piece)):
            records.append(piece)
        else:
            gaps.append(_own(piece, _under(start[1])))
    return Pieces(head, records, b"".join((*gaps, tail)))


def _own(gap: bytes, under: _Patterns) -> bytes:
    """What stands between records, without the rest of one that seemed to end before it did."""
    ends = [found.end() for found in under.border.finditer(gap)]
    return gap[ends[-1] :] if ends else gap


def _is_xml(piece: bytes) -> bool:
    try:
        expat.ParserCreate().Parse(b"<x>" + piece + b"</x>", True)
    except expat.ExpatError:
        return False
    return True


def _blanked(page: bytes) -> bytes:
    """A well-formed page, spaces in place of what its parser finds between records that hides what is in it: comments,
    instructions and CDATA."""
    blanked, parser, opened = bytearray(page), expat.ParserCreate(), 0

    def starts(_name: str, _attributes: object) -> None:
        nonlocal opened
        opened += 1

    def ends(_name: str) -> None:
        nonlocal opened
        opened -= 1

    def blanks(closer: bytes) -> None:
        begin = parser.CurrentByteIndex
        end = page.find(closer, begin) + len(closer)
        if opened == _IN_THE_LIST:
            blanked[begin:end] = b" " * (end - begin)

    parser.StartElementHandler, parser.EndElementHandler = starts, ends
    parser.CommentHandler = lambda _text: blanks(b"-->")
    parser.ProcessingInstructionHandler = lambda _target, _text: blanks(b"?>")
    parser.StartCdataSectionHandler = lambda: blanks(b"]]>")
    try:
        parser.Parse(page, True)
    except (expat.ExpatError, ValueError, LookupError):  # of an encoding that it does not know
        return page
    return bytes(blanked)


class _Places(NamedTuple):
    """What no metadata has, by its place in a list, in the order of the list."""

    begins: list[int]
    """Records with a header."""
    ends: list[int]
    """The ends of records that another one, the token or the end of the list follows."""
    token: int | None
    """The one that stands behind all records."""


def _spans(listed: bytes, under: _Patterns) -> Iterator[tuple[int, int, bool]]:
    """The places of all records and of what lies between them."""
    places = _places(listed, under)
    matched = _matched(listed, places.ends)
    at = 0
    for begin in matched:  # in the order of the page
        if begin < at:
            continue
        yield at, begin, False
        at = _end(listed, begin, matched[begin], places, under)
        yield begin, at, True
    yield at, len(listed), False


def _places(listed: bytes, under: _Patterns) -> _Places:
    begins = [found.start() for found in under.begins.finditer(listed)]
    tokens = [found.start() for found in under.token.finditer(listed)]
    token = tokens[-1] if tokens and (not begins or tokens[-1] > begins[-1]) else None
    borders = under.border.finditer(listed)
    return _Places(begins, [found.end() for found in borders if found.start(1) in {-1, token}], token)


def _end(listed: bytes, begin: int, matched: int | None, places: _Places, under: _Patterns) -> int:
    if matched is not None and (found := under.follows.match(listed, matched)) and found.start(1) in {-1, places.token}:
        return matched
    following, border = _after(places.begins, begin + 1), _after(places.ends, matched or begin + 1)
    if matched is not None and (border is None or (following or border) < border):
        return matched  # what follows it is no part of it
    if following is None and border is None:  # the last one, whose end is missing: the token is no part of it
        return places.token if places.token is not None and places.token > begin else len(listed)
    return min(stop for stop in (following, border) if stop is not None)


def _after(places: list[int], place: int) -> int | None:
    index = bisect_left(places, place)
    return places[index] if index < len(places) else None


def _matched(listed: bytes, borders: list[int]) -> dict[int, int | None]:
    """For the beginning of each record, also one inside another, its end; None where the tags do not say."""
    found: dict[int, int | None] = {}
    opened: list[int] = []
    closers = [0, 0, 0]
    """Where each is found next; the length of the list where there is none any more."""
    at = 0
    while tag := _TAG.search(listed, at):
        at = tag.end()
        if tag.lastindex is not None and tag.lastindex <= 3:
            kind = tag.lastindex - 1
            if closers[kind] < at:
                place = listed.find(_CLOSERS[kind], at)
                closers[kind] = place if place >= 0 else len(listed)
            hides_border = bisect_left(borders, at) != bisect_left(borders, closers[kind])
            if closers[kind] < len(listed) and not hides_border:
                at = closers[kind] + len(_CLOSERS[kind])
        elif tag[4]:
            if opened:
                found[opened.pop()] = tag.end()
        else:
            found[tag.start()] = tag.end() if tag[5] else None
            if not tag[5]:
                opened.append(tag.start())
    return found
