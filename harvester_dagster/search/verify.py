"""Whether an index holds what a version publishes: counts, sums over the hashes, test queries that answer.

Both sides add up for themselves; no document is read. Belongs here: looking and comparing. Does not belong here: what
follows from it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import Connection

from harvester_dagster.search import documents
from harvester_dagster.search.client import SLOW, Refused, Unreachable, asking
from harvester_dagster.search.documents import PARTS, Sums
from harvester_dagster.search.mapping import CHECKSUM, Definition, Query
from harvester_dagster.versions.versions import Version

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


class Answered(NamedTuple):
    """A test query and its hits."""

    name: str
    hits: int
    minimum_hits: int


class Verdict(NamedTuple):
    """`wrong` is empty when the index is what it should be."""

    wrong: str
    expected: Sums
    found: Sums
    queries: tuple[Answered, ...]


def verify(
    client: "OpenSearch", connection: Connection[Any], name: str, version: Version, definition: Definition
) -> Verdict:
    """Compare an index with a version, but for the documents that it had to leave out. Raises SearchError."""
    expected = documents.sums(connection, version, definition.entity, without=name)
    found = sums(client, name)
    if found != expected:
        what = "documents" if found.documents != expected.documents else "checksum"
        wrong = (
            f"{name} does not hold version {version.version_id}: {what} differ "
            f"({found.documents:,} in the index, {expected.documents:,} expected)"
        )
        return Verdict(wrong, expected, found, ())
    queries = answers(client, name, definition.queries)
    short = [f"{query.name}: {query.hits} of {query.minimum_hits} hits" for query in queries if not _enough(query)]
    return Verdict(
        f"{name}: test queries find too little ({'; '.join(short)})" if short else "", expected, found, queries
    )


def sums(client: "OpenSearch", name: str) -> Sums:
    """What an index holds, added up by the server."""
    body = {
        "size": 0,
        "track_total_hits": True,
        "aggs": {part: {"sum": {"field": f"{CHECKSUM}.{part}"}} for part in PARTS},
    }
    with asking(f"adding up {name}"):
        answer = client.search(index=name, body=body, params={"request_timeout": SLOW})
    if answer["_shards"]["failed"] or answer["timed_out"]:
        raise Unreachable(f"adding up {name}: {answer['_shards']['failed']} shards did not answer")
    added = answer["aggregations"]
    return Sums(answer["hits"]["total"]["value"], tuple(int(added[part]["value"]) for part in PARTS))


def answers(client: "OpenSearch", name: str, queries: Sequence[Query]) -> tuple[Answered, ...]:
    """The test queries, in one request. Raises Refused for one that the server does not understand."""
    if not queries:
        return ()
    body = [part for query in queries for part in ({}, {"size": 0, "track_total_hits": True, "query": query.query})]
    with asking(f"test queries on {name}"):
        found = client.msearch(index=name, body=body, params={"request_timeout": SLOW})["responses"]
    for query, answer in zip(queries, found, strict=True):
        if "error" in answer:
            raise Refused(f"{name}: the test query {query.name!r} fails: {answer['error'].get('reason')}")
    return tuple(
        Answered(query.name, answer["hits"]["total"]["value"], query.minimum_hits)
        for query, answer in zip(queries, found, strict=True)
    )


def _enough(query: Answered) -> bool:
    return query.hits >= query.minimum_hits
