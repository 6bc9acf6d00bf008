"""How one document is shown in the versions that are kept: where it came, changed, went, field by field.

Belongs here: that walk along versions. Does not belong here: comparing two states (`field_differences.py`), or two
versions as a whole (`changes.py`).
"""

from datetime import datetime
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


_DIFFERENCES = f"""
SELECT version_id, before, promoted_at, was.from_gen, is_now.from_gen FROM (
    SELECT version_id, promoted_at, gen, lag(version_id) OVER kept AS before, lag(gen) OVER kept AS gen_before
    FROM dataset_version LEFT JOIN (SELECT version_id, gen FROM dataset_version_set WHERE set_id = %(set)s) s
        USING (version_id)
    WHERE promoted_at IS NOT NULL WINDOW kept AS (ORDER BY version_id)) v
LEFT JOIN output was ON was.doc_id = %(doc)s AND was.published AND {live("was", "v.gen_before")}
LEFT JOIN output is_now ON is_now.doc_id = %(doc)s AND is_now.published AND {live("is_now", "v.gen")}
WHERE before IS NOT NULL AND gen IS DISTINCT FROM gen_before AND was.from_gen IS DISTINCT FROM is_now.from_gen
ORDER BY version_id DESC LIMIT %(most)s
"""
"""Most versions leave a set as it was: they are not looked into."""


def history(
    connection: Connection[Any], doc_id: int, set_id: int, srn: str, entity: str, most: int
) -> list[ShownOtherwise]:
    """Where the versions that are kept differ in this document: the newest of these places, so many of them, the newest
    first."""
    rows = connection.execute(_DIFFERENCES, {"doc": doc_id, "set": set_id, "most": most}).fetchall()
    begun = [from_gen for row in rows for from_gen in row[3:] if from_gen is not None]
    bodies: dict[int | None, str] = dict(
        connection.execute(
            "SELECT from_gen, body FROM output_body WHERE doc_id = %s AND from_gen = ANY (%s)", (doc_id, begun)
        ).fetchall()
    )
    return [
        ShownOtherwise(
            version_id,
            before,
            promoted_at,
            described(PublishedChange(srn, entity, bodies.get(is_now), bodies.get(was))),
        )
        for version_id, before, promoted_at, was, is_now in rows
    ]
