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
        added, *answers = client.msearch(index=name, body=body, params={"request_timeout": SLOW})["responses"]
    return _sums(name, added), list(zip(queries, answers, strict=True))


def _sums(name: str, answer: Any) -> Sums:
    if "error" in answer:
        kind = Unreachable if answer["status"] >= 500 or answer["status"] == 429 else Refused
        raise kind(f"adding up {name}: status {answer['status']}: {answer['error'].get('reason')}")
    if answer["_shards"]["failed"] or answer["timed_out"]:
        raise Unreachable(f"adding up {name}: {answer['_shards']['failed']} shards did not answer")
    added = answer["aggregations"]
    return Sums(answer["hits"]["total"]["value"], tuple(int(added[part]["value"]) for part in PARTS))


def _answered(name: str, query: Query, answer: Any) -> Answered:
    """Raises Refused for a query that the server does not understand."""
    if "error" in answer:
        raise Refused(f"{name}: the test query {query.name!r} fails: {answer['error'].get('reason')}")
    return Answered(query.name, answer["hits"]["total"]["value"], query.minimum_hits)


def _enough(query: Answered) -> bool:
    return query.hits >= query.minimum_hits
