"""What was taken down, or came back, in indices that were made before: each knows up to which seq it has that.

Whatever has become of an index, it is asked for here before an alias moves to it, and once more by whoever takes
something down. Belongs here: those few documents, sent or deleted in one index. Does not belong here: making indices
(`build.py`), which of them are brought up when (`aliases.py`, `releases/taking_down.py`).
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import Connection

from harvester_dagster.publication import log
from harvester_dagster.search import bulk, bulk_lines, index
from harvester_dagster.search.bulk import AS_USUAL, Sending
from harvester_dagster.search.mapping import Definition
from harvester_dagster.sets.versions import Version
from harvester_dagster.store.database import Pool

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


class Lacking(NamedTuple):
    """A document that an index shows otherwise than it may."""

    doc_id: int
    srn: str


# Before the first version no takedown has a seq: an index that has heard of none asks for all.
_LACKING = """
SELECT d.doc_id, s.key || ':' || d.external_id
FROM search_index i JOIN publication_document p ON p.seq > i.overlay_seq AND p.seq <= %(up_to)s
JOIN document d ON d.doc_id = p.doc_id AND d.entity = i.entity JOIN harvest_set s ON s.set_id = d.set_id
WHERE i.name = %(name)s
UNION
SELECT d.doc_id, s.key || ':' || d.external_id
FROM search_index i JOIN takedown t ON i.overlay_seq = 0
JOIN document d ON t.doc_id IN (d.doc_id, d.owner_id) AND d.set_id = t.set_id AND d.entity = i.entity
JOIN harvest_set s ON s.set_id = d.set_id
WHERE i.name = %(name)s ORDER BY 1
"""


def lacking(connection: Connection[Any], name: str, up_to: int) -> list[Lacking]:
    """What an index has not heard of, up to a seq."""
    return [Lacking._make(row) for row in connection.execute(_LACKING, {"name": name, "up_to": up_to})]


def bring(
    client: "OpenSearch", pool: Pool, name: str, version: Version, definition: Definition, how: Sending = AS_USUAL
) -> bool:
    """Have an index that holds a version show of it what may be shown; whether it had to be told. Raises
    SearchError."""
    with pool.connection() as connection:
        newest = log.newest_takedown(connection)
        found = lacking(connection, name, newest)
        ids = [one.doc_id for one in found]
        shown = list(bulk_lines.these(connection, version, definition.entity, ids, definition.form)) if ids else []
    if found:
        index.unseal(client, name)
        back = {line.doc_id for line in shown}
        gone = [bulk_lines.removal(*one) for one in found if one.doc_id not in back]
        bulk.send(client, name, [*gone, *shown], allowed=len(shown), how=how)
        index.refresh(client, name)
    with pool.connection() as connection:
        connection.execute(
            """UPDATE search_index SET overlay_seq = greatest(overlay_seq, %(seq)s),
                   complete = CASE WHEN %(moved)s THEN NULL ELSE complete END WHERE name = %(name)s""",
            {"seq": newest, "moved": bool(found), "name": name},
        )
    return bool(found)


def take_out(client: "OpenSearch", pool: Pool, names: Collection[str]) -> None:
    """Delete from these indices what they show and may not, at once: while somebody else works on them, who brings them
    up afterwards. Raises SearchError."""
    for name in names:
        with pool.connection() as connection:
            found = lacking(connection, name, log.newest_takedown(connection))
            rows = connection.execute(
                "SELECT DISTINCT doc_id FROM output WHERE doc_id = ANY (%s) AND published",
                ([one.doc_id for one in found],),
            )
            shown = {doc_id for (doc_id,) in rows}
        if gone := [bulk_lines.removal(*one) for one in found if one.doc_id not in shown]:
            index.unseal(client, name)
            bulk.send(client, name, gone, allowed=0)
            index.refresh(client, name)


def is_behind(connection: Connection[Any], names: Collection[str]) -> bool:
    """Whether one of these indices has not heard of a takedown, or of the undoing of one."""
    row = connection.execute(
        """SELECT EXISTS (SELECT FROM search_index WHERE name = ANY (%s) AND overlay_seq < (
               SELECT coalesce(max(seq), 0) FROM publication WHERE takedown))""",
        (list(names),),
    ).fetchone()
    return row == (True,)
