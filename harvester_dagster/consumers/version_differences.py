"""What differs between two versions, before somebody acts on it: how many documents, and some of them field by
field.

Belongs here: both within bounds, and what is told where even that takes too long. Does not belong here: the walk along
all that differs (`changes.py`), counting (`sets/versions.py`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.errors import QueryCanceled

from harvester_dagster.consumers import changes
from harvester_dagster.consumers.field_differences import DocumentDifference, described
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import Version

MOST = 200_000
"""Documents that are counted."""


class VersionsCompared(NamedTuple):
    """`counts`: entity → change (added, changed, removed) → documents; `is_whole`: false where there may be more of
    them. `sets`: how many are at another generation."""

    counts: Mapping[str, Mapping[str, int]]
    is_whole: bool
    sets: int
    samples: list[DocumentDifference]


def compared(
    connection: Connection[Any], old: Version | None, new: Version, samples: int, most: int = MOST
) -> VersionsCompared:
    """What would come, change and go, were the new one current in the place of the old (None: nothing). In a
    transaction of the caller's. What takes longer than a statement of this connection may, is not told."""
    before = old.generations if old else {}
    between = changes.of_generations(connection, before, new.generations)
    try:
        with connection.transaction():
            found = versions.counted(connection, old, new, most)
            read = changes.samples(connection, between, samples)
    except QueryCanceled:
        return VersionsCompared({}, False, len(between.keys), [])
    ordered = dict(sorted(found.counts.items(), reverse=True))
    return VersionsCompared(ordered, found.is_whole, len(between.keys), [*map(described, read)])
