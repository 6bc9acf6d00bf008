"""What differs between two states of a document, field by field: for people who want to see before they act.

Belongs here: pure comparing. Does not belong here: which documents differ (`changes.py`), how it is shown.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from harvester_dagster.consumers.changes import PublishedChange

_FIRST = ("title", "subtitle", "description")
_DERIVED = frozenset({"suggest_completion", "suggest_phrase", "texts"})
"""Made of other fields, for the index."""


class FieldDifference(NamedTuple):
    """A field of a document, by its name; a value that is not there is None."""

    field: str
    before: Any
    after: Any


class DocumentDifference(NamedTuple):
    """A document that differs, with the title that it has or had."""

    srn: str
    entity: str
    change: Literal["added", "changed", "removed"]
    title: str | None
    fields: tuple[FieldDifference, ...]
    """Of a changed one; what is added or removed differs as a whole."""


def described(change: PublishedChange) -> DocumentDifference:
    """A change, field by field."""
    was = _decoded(change.before)
    is_now = _decoded(change.body)
    title = (is_now or was or {}).get("title")
    if was is None or is_now is None:
        what: Literal["added", "removed"] = "added" if was is None else "removed"
        return DocumentDifference(change.srn, change.entity, what, title, ())
    return DocumentDifference(change.srn, change.entity, "changed", title, between(was, is_now))


def between(was: Mapping[str, Any], is_now: Mapping[str, Any]) -> tuple[FieldDifference, ...]:
    """The fields of which the values differ: what people read first, what is made of it for the index last."""
    return tuple(
        FieldDifference(name, was.get(name), is_now.get(name))
        for name in sorted({*was, *is_now}, key=_place)
        if was.get(name) != is_now.get(name)
    )


def _place(name: str) -> tuple[int, str]:
    """What names are sorted by."""
    if name in _FIRST:
        return _FIRST.index(name) - len(_FIRST), name
    return int(name in _DERIVED), name


def _decoded(body: str | None) -> dict[str, Any] | None:
    return msgspec.json.decode(body) if body is not None else None
