"""What differs between two versions, or a set and its candidate, before somebody acts on it: how many documents, and
some of them field by field.

Belongs here: both, and what is told where that takes too long. Does not belong here: the walk along all that differs
(`changes.py`), counting (`sets/differences.py`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.errors import QueryCanceled

from harvester_dagster.consumers import changes
from harvester_dagster.consumers.field_differences import DocumentDifference, described
from harvester_dagster.sets import differences
from harvester_dagster.sets.differences import DifferenceFigures, Kind

Generations = Mapping[int, int]


class VersionsCompared(NamedTuple):
    """`counts`: entity → change (added, changed, removed) → documents; None where it took longer than a statement may.
    `sets`: how many are at another generation."""

    counts: Mapping[str, Mapping[Kind, int]] | None
    sets: int
    samples: list[DocumentDifference]


def compared(connection: Connection[Any], before: Generations, after: Generations, most: int) -> VersionsCompared:
    """What would come, change and go, were the generations `after` current in the place of those `before`, with at most
    so many samples. In a transaction of the caller's."""
    sets = len(differences.moved(before, after))
    try:
        with connection.transaction():
            found = differences.counted(connection, before, after, most)
            read = samples(connection, before, after, found, most)
    except QueryCanceled:
        return VersionsCompared(None, sets, [])
    return VersionsCompared(dict(sorted(found.counts.items(), reverse=True)), sets, read)


def samples(
    connection: Connection[Any], before: Generations, after: Generations, found: DifferenceFigures, most: int
) -> list[DocumentDifference]:
    """Of what was counted some of what comes, of what changes and of what goes: of each as many, where there are so
    many."""
    kinds = [found.documents.get(kind, []) for kind in ("added", "changed", "removed")]
    shares = [0, 0, 0]
    while sum(shares) < min(most, sum(map(len, kinds))):
        for kind, doc_ids in enumerate(kinds):
            shares[kind] += shares[kind] < len(doc_ids) and sum(shares) < most
    chosen = [doc_id for share, doc_ids in zip(shares, kinds, strict=True) for doc_id in doc_ids[:share]]
    between = changes.of_generations(connection, before, after)
    return [*map(described, changes.these(connection, between, chosen))]
