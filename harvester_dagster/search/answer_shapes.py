"""What is read of the search server's answers; whatever else it, or somebody in between, sends is none.

Belongs here: shapes, and whether an answer is whole. Does not belong here: asking (`kept_client.py`), what is made of
an answer (`consumers/search_answers.py`).
"""

from typing import Any

import msgspec

from harvester_dagster.search.connection import Unreachable


class _Total(msgspec.Struct):
    value: int


class _Source(msgspec.Struct):
    srn: str


class _Hit(msgspec.Struct):
    source: _Source = msgspec.field(name="_source")
    highlight: dict[str, list[str]] = {}


class _Hits(msgspec.Struct):
    hits: list[_Hit]
    total: _Total | None = None


class _Bucket(msgspec.Struct):
    key: str | int | float | bool
    doc_count: int


class _Values(msgspec.Struct):
    buckets: list[_Bucket]


class _Facet(msgspec.Struct):
    values: _Values


class _Option(msgspec.Struct):
    text: str
    score: float = 0
    source: dict[str, Any] = msgspec.field(name="_source", default_factory=dict)


class _Suggested(msgspec.Struct):
    options: list[_Option]


class _Shards(msgspec.Struct):
    failed: int


class _Answer(msgspec.Struct):
    """What is read of an answer to a search."""

    hits: _Hits
    timed_out: bool
    shards: _Shards = msgspec.field(name="_shards")
    aggregations: dict[str, _Facet] = {}
    suggest: dict[str, list[_Suggested]] = {}


class Both(msgspec.Struct):
    """Answers to two questions that were asked at once."""

    responses: tuple[dict[str, Any], dict[str, Any]]


class _Token(msgspec.Struct):
    token: str


class Analysed(msgspec.Struct):
    """What an analyzer makes of a text."""

    tokens: list[_Token]


class _Part(msgspec.Struct):
    """Of an explanation, with its own parts."""

    value: float
    description: str
    details: "list[_Part]" = []


class Explained(msgspec.Struct):
    """How a document is scored."""

    explanation: _Part | None = None


def whole(answer: Any) -> dict[str, Any]:
    """An answer to a search, as it is. Raises Unreachable for one of which a part is missing, ValidationError for what
    is none."""
    read = msgspec.convert(answer, _Answer)
    if read.timed_out or read.shards.failed:
        why = "not all of it in time" if read.timed_out else f"{read.shards.failed} shards did not answer"
        raise Unreachable(f"searching: only a part of the index was searched: {why}")
    whole: dict[str, Any] = answer
    return whole


def total(answer: Any) -> int:
    """Of an answer to a question that counts. Raises ValidationError where it has none."""
    total = msgspec.convert(answer, _Answer).hits.total
    if total is None:
        raise msgspec.ValidationError("Object missing required field `total` - at `$.hits`")
    return total.value


def shaped(answer: Any, shape: type[msgspec.Struct]) -> dict[str, Any]:
    """An answer as it is. Raises ValidationError where it has not that shape."""
    msgspec.convert(answer, shape)
    shaped: dict[str, Any] = answer
    return shaped
