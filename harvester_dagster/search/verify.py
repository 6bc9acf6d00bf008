"""Whether an index holds what a version publishes: counts, sums over the hashes, test queries that answer.

Both sides add up for themselves; no document is read. Belongs here: looking and comparing. Does not belong here: what
follows from it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from harvester_dagster.search.bulk_lines import PARTS, Sums
from harvester_dagster.search.connection import SLOW, Refused, Unreachable, asking
from harvester_dagster.search.mapping import CHECKSUM, Definition, Query
from harvester_dagster.sets.versions import Version

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


class Answered(NamedTuple):
    """A test query, how many hits it has, and how many it must have."""

    name: str
    hits: int
    minimum_hits: int


class Verified(NamedTuple):
    """`wrong` is empty when the index is what it should be."""

    wrong: str
    expected: Sums
    found: Sums
    queries: tuple[Answered, ...]


def verify(client: "OpenSearch", name: str, version: Version, definition: Definition, expected: Sums) -> Verified:
    """Compare an index with what it must hold. Raises SearchError."""
    found, queries = _asked(client, name, definition.queries)
    if found != expected:
        what = "documents" if found.documents != expected.documents else "checksum"
        wrong = (
            f"{name} does not hold version {version.version_id}: {what} differ "
            f"({found.documents:,} in the index, {expected.documents:,} expected)"
        )
        return Verified(wrong, expected, found, ())
    answered = tuple(_answered(name, query, answer) for query, answer in queries)
    short = [f"{query.name}: {query.hits} of {query.minimum_hits} hits" for query in answered if not _enough(query)]
    return Verified(
        f"{name}: test queries find too little ({'; '.join(short)})" if short else "", expected, found, answered
    )


def _asked(client: "OpenSearch", name: str, queries: Sequence[Query]) -> tuple[Sums, list[tuple[Query, Any]]]:
    """What an index holds, added up by the server, and its answers to the test queries: one request for all."""
    adding = {
        "size": 0,
        "track_total_hits": True,
        "aggs": {part: {"sum": {"field": f"{CHECKSUM}.{part}"}} for part in PARTS},
    }
    asked = [adding, *({"size": 0, "track_total_hits": True, "query": query.query} for query in queries)]
    body = [part for each in asked for part in ({}, each)]
    with asking(f"verifying {name}"):
        said = client.msearch(index=name, body=body, params={"request_timeout": SLOW})
    answers = said.get("responses") if isinstance(said, dict) else None
    if not isinstance(answers, list) or len(answers) != len(asked):
        raise Unreachable(f"verifying {name}: the answer is none of OpenSearch", "is there a proxy in between?")
    return _sums(name, answers[0]), list(zip(queries, answers[1:], strict=True))


def _sums(name: str, answer: Any) -> Sums:
    _check_whole(f"adding up {name}", answer)
    added = answer["aggregations"]
    return Sums(answer["hits"]["total"]["value"], tuple(int(added[part]["value"]) for part in PARTS))


def _answered(name: str, query: Query, answer: Any) -> Answered:
    """Raises SearchError as `_check_whole`."""
    _check_whole(f"{name}: the test query {query.name!r} fails", answer)
    return Answered(query.name, answer["hits"]["total"]["value"], query.minimum_hits)


def _check_whole(what: str, answer: Any) -> None:
    """Raises Refused for a question that the server does not take, Unreachable where it has not looked at all."""
    if "error" in answer:
        status, error = answer.get("status", 500), answer["error"]
        reason = error.get("reason") if isinstance(error, dict) else error
        kind = Unreachable if status >= 500 or status == 429 else Refused
        raise kind(f"{what}: status {status}: {reason}")
    if answer["_shards"]["failed"] or answer["timed_out"]:
        raise Unreachable(f"{what}: {answer['_shards']['failed']} shards did not answer")


def _enough(query: Answered) -> bool:
    return query.hits >= query.minimum_hits
