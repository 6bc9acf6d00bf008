"""What differs between two versions, before somebody acts on it: how many documents, and some of them field by
field.

Belongs here: counting within bounds, and the first of them. Does not belong here: the walk along all that differs
(`changes.py`), which documents differ (`sets/versions.py`).
"""

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.consumers import changes
from harvester_dagster.consumers.changes import FeedPlace
from harvester_dagster.consumers.field_differences import DocumentDifference, described
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import Version

MOST = 200_000
"""Documents that are counted."""


class VersionsCompared(NamedTuple):
    """`counts`: entity → change (added, changed, removed) → documents; `is_whole`: false where there are more of
    them. `sets`: how many are at another generation."""

    counts: Mapping[str, Mapping[str, int]]
    is_whole: bool
    sets: int
    samples: list[DocumentDifference]


def compared(
    connection: Connection[Any], old: Version | None, new: Version, samples: int, most: int = MOST
) -> VersionsCompared:
    """What would come, change and go, were the new one current in the place of the old (None: nothing). In a
    transaction of the caller's."""
    counts: dict[str, Counter[str]] = {}
    counted = 0
    for counted, change in enumerate(islice(versions.difference(connection, old, new), most + 1), 1):
        if counted <= most:
            counts.setdefault(change.entity, Counter())[change.change] += 1
    before = old.generations if old else {}
    between = changes.of_generations(connection, before, new.generations)
    read = changes.page(connection, between, FeedPlace(), samples, with_before=True)
    ordered = dict(sorted(counts.items(), reverse=True))
    return VersionsCompared(ordered, counted <= most, len(between.keys), [*map(described, read.changes)])
