"""How one document is shown in the versions that are kept: where it came, changed, went, field by field.

Belongs here: that walk along versions. Does not belong here: comparing two states (`field_differences.py`), or two
versions as a whole (`changes.py`).
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.consumers.changes import PublishedChange
from harvester_dagster.consumers.field_differences import DocumentDifference, described
from harvester_dagster.sets.generations import live


class ShownOtherwise(NamedTuple):
    """A version that shows a document otherwise than the one before it that is kept. `promoted_at`: in UTC."""

    version_id: int
    before: int
    promoted_at: datetime
    difference: DocumentDifference


_VERSIONS = f"""
SELECT v.version_id, v.promoted_at, o.from_gen FROM (
    SELECT version_id, promoted_at FROM dataset_version WHERE promoted_at IS NOT NULL
    ORDER BY version_id DESC LIMIT %(most)s) v
LEFT JOIN dataset_version_set s ON s.version_id = v.version_id AND s.set_id = %(set)s
LEFT JOIN output o ON o.doc_id = %(doc)s AND o.published AND {live("o", "s.gen")}
ORDER BY 1
"""


def history(
    connection: Connection[Any], doc_id: int, set_id: int, srn: str, entity: str, most: int
) -> list[ShownOtherwise]:
    """Where the newest versions (so many of them) differ in this document, the newest first."""
    rows = connection.execute(_VERSIONS, {"doc": doc_id, "set": set_id, "most": most}).fetchall()
    begun = [from_gen for _, _, from_gen in rows if from_gen is not None]
    bodies: dict[int | None, str] = dict(
        connection.execute(
            "SELECT from_gen, body FROM output_body WHERE doc_id = %s AND from_gen = ANY (%s)", (doc_id, begun)
        ).fetchall()
    )

    def walked() -> Iterator[ShownOtherwise]:
        for (before, _, was), (version_id, promoted_at, is_now) in pairwise(rows):
            if was != is_now:
                change = PublishedChange(srn, entity, bodies.get(is_now), bodies.get(was))
                yield ShownOtherwise(version_id, before, promoted_at, described(change))

    return list(walked())[::-1]
