"""Where the items of a JSON:API collection begin and end, when its page is no valid JSON.

Item after item is read from where the one before ended. Where one cannot be read, the list goes on at the next resource
object that can: an object with an id and attributes or meta, behind a comma. All up to there is the broken item.

Belongs here: borders, with a bound on the work. Does not belong here: what an item says (`json_api.py`).
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from harvester_dagster.sources.source_error import SourceError

WORK = 20
"""So many times its length of a page is looked at before it is given up as one that cannot be cut."""
TOO_DEEP = 100_000
"""Characters that an attempt is counted as which ended in too many levels."""
_BLANK = re.compile(r"[\s\ufeff]*")
_NEXT = re.compile(r"\}\s*,\s*(?=\{)")
_ENDS = re.compile(r"\s*([,\]])\s*")
_OF_A_PAGE = re.compile(r'"(?:links|meta|jsonapi|included)"\s*:')
_decoder = json.JSONDecoder(strict=False, parse_constant=lambda _: None)


class JsonPieces(NamedTuple):
    """The raw items of `data`, and all else that the page's object holds."""

    items: list[str]
    envelope: Mapping[str, Any]


class _Cutter:
    def __init__(self, page: str) -> None:
        self.page = page
        self.left = WORK * len(page)

    def read(self, at: int) -> tuple[Any, int] | None:
        """The value that begins there, and where it ends; None: there is none. Raises SourceError when there were too
        many attempts."""
        found, used = None, TOO_DEEP
        try:
            found = _decoder.raw_decode(self.page, at)
            used = found[1] - at
        except json.JSONDecodeError as error:
            used = error.pos - at
        except RecursionError:
            pass
        self.left -= used + 1 + at // 64  # an error counts the lines before it
        if self.left < 0:
            raise SourceError("a page of JSON whose records cannot be told apart")
        return found

    def items(self, at: int) -> tuple[list[str], int]:
        """The items of the list whose first one begins there, and where what follows the list begins."""
        spans: list[tuple[int, int]] = []
        begin, is_over = at, self.page.startswith("]", at)
        following = at + 1
        while not is_over:
            read = self.read(begin)
            ends = _ENDS.match(self.page, read[1]) if read else None
            if read and ends and (ends[1] == "," or self.is_the_end(ends.end())):
                end, following, is_over = read[1], ends.end(), ends[1] == "]"
            else:
                if self.page.startswith("]", begin):
                    raise SourceError("a page of JSON with a comma behind its last record")
                if spans and not self.page.startswith("{", begin):  # what is left of one that seemed to end before
                    begin, _ = spans.pop()
                end, following, is_over = self.next_resource(begin)
            spans.append((begin, end))
            begin = following
        return [self.page[begin:end] for begin, end in spans], following

    def is_the_end(self, at: int) -> bool:
        """Whether what follows a list is the rest of a whole object."""
        self.left -= 1 + len(self.page) // 64
        if self.page[at : at + 1] not in (",", "}"):
            return False
        try:
            json.loads('{"data":0' + self.page[at:], strict=False)
        except (ValueError, RecursionError) as error:
            self.left -= getattr(error, "pos", TOO_DEEP)
            return False
        return True

    def is_believable(self, begin: int, end: int, following: int) -> bool:
        """Whether a list ends behind a broken item, and is not cut off within: what follows is of a page, or as many
        braces close in the item as open."""
        if _OF_A_PAGE.search(self.page, following):
            return True
        return self.page.count("{", begin, end) == self.page.count("}", begin, end)

    def next_resource(self, begin: int) -> tuple[int, int, bool]:
        """Where a broken item ends, where the list goes on or what follows it begins, and whether it is over."""
        for gap in _NEXT.finditer(self.page, begin):
            read = self.read(gap.end())
            if read and _is_resource(read[0]) and _ENDS.match(self.page, read[1]):
                return gap.start() + 1, gap.end(), False
        end = self.page.find("]", begin)
        while end >= 0 and self.left > 0:
            following = _blank(self.page, end + 1)
            if self.is_the_end(following) and self.is_believable(begin, end, following):
                return end, following, True
            end = self.page.find("]", end + 1)
        raise SourceError("a page of JSON whose list does not end, or cannot be told apart")


def _is_resource(value: Any) -> bool:
    return isinstance(value, dict) and "id" in value and ("attributes" in value or "meta" in value)


def pieces(page: str) -> JsonPieces | None:
    """The items of a page; None where it is no object with a list `data`. Raises SourceError for a page that is cut
    off, or cannot be cut."""
    cutter = _Cutter(page)
    at = _blank(page, 0)
    while page[at : at + 1] in ("{", ","):
        key = cutter.read(_blank(page, at + 1))
        if not key or not isinstance(key[0], str):
            return None
        colon = _blank(page, key[1])
        value = _blank(page, colon + 1)
        if page[colon : colon + 1] != ":":
            return None
        if key[0] == "data" and page.startswith("[", value):
            items, end = cutter.items(_blank(page, value + 1))
            return _with_envelope(page[_blank(page, 0) : value], items, page[end:])
        read = cutter.read(value)
        if not read:
            return None
        at = _blank(page, read[1])
    return None


def _with_envelope(head: str, items: list[str], tail: str) -> JsonPieces | None:
    try:
        return JsonPieces(items, json.loads(f"{head}[]{tail}", strict=False))
    except (ValueError, RecursionError):
        return None


def _blank(page: str, at: int) -> int:
    found = _BLANK.match(page, at)
    return found.end() if found else at
