"""Withholding the outputs of what is taken down: in every version at once, for all read only what is `published`.

So a list, a walk, an export or a rollback costs nothing more, and none of them can forget to ask. Which outputs would
be published but for a takedown their `reasons` say (none). Belongs here: these statements, each of one record and what
it owns, by its id. Does not belong here: the rows of takedowns (`publication/takedowns.py`), the index
(`search/overlay.py`).
"""

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from harvester_dagster.sets.generations import live

_FAMILY = """
SELECT doc_id FROM document WHERE doc_id = %(doc)s UNION ALL SELECT doc_id FROM document WHERE owner_id = %(doc)s
ORDER BY 1
"""


def family(connection: Connection[Any], doc_id: int) -> list[int]:
    """The ids of a record's own document and of all that it ever owned."""
    return [one for (one,) in connection.execute(_FAMILY, {"doc": doc_id})]


_TURN = """
UPDATE output o SET published = %(shown)s FROM output_body b
WHERE o.doc_id = ANY (%(ids)s) AND b.doc_id = o.doc_id AND b.from_gen = o.from_gen
  AND b.reasons IS NULL AND o.published <> %(shown)s
RETURNING o.doc_id
"""
_COUNTS = f"""
UPDATE generation g SET published = (
    SELECT json_object_agg(entity, coalesce(was.n, 0) + %(sign)s * coalesce(turned.n, 0))
    FROM (SELECT key AS entity, value::int AS n FROM json_each_text(g.published)) was
    FULL JOIN (
        SELECT o.entity, count(*) AS n FROM output o
        WHERE o.doc_id = ANY (%(ids)s) AND o.published AND {live("o", "g.gen")} GROUP BY 1) turned USING (entity))
WHERE g.set_id = %(set)s AND g.gen >= (
    SELECT least(s.accepted_gen, min(v.gen)) FROM harvest_set s LEFT JOIN dataset_version_set v USING (set_id)
    WHERE s.set_id = %(set)s GROUP BY s.accepted_gen) AND EXISTS (
    SELECT FROM output o WHERE o.doc_id = ANY (%(ids)s) AND o.published AND {live("o", "g.gen")})
"""


def withhold(connection: Connection[Any], set_id: int, doc_ids: Sequence[int]) -> list[int]:
    """Show nothing of these documents, at whatever generation, and count them nowhere. Those of which something was
    shown."""
    asked = {"ids": list(doc_ids), "set": set_id}
    connection.execute(_COUNTS, {**asked, "sign": -1})
    return sorted({doc_id for (doc_id,) in connection.execute(_TURN, {**asked, "shown": False})})


def give_back(connection: Connection[Any], set_id: int, doc_ids: Sequence[int]) -> list[int]:
    """Show these documents again where they were or would have been. Those of which something is shown."""
    asked = {"ids": list(doc_ids), "set": set_id}
    turned = sorted({doc_id for (doc_id,) in connection.execute(_TURN, {**asked, "shown": True})})
    connection.execute(_COUNTS, {**asked, "sign": 1})
    return turned


# Made while a takedown was undone: that could not see it.
_BACK_IN_CANDIDATE = """
UPDATE output o SET published = true FROM output_body b, document d
WHERE o.set_id = %(set)s AND o.from_gen > %(gen)s AND NOT o.published AND d.doc_id = o.doc_id
  AND b.doc_id = o.doc_id AND b.from_gen = o.from_gen AND b.reasons IS NULL
  AND NOT EXISTS (SELECT FROM takedown t WHERE t.doc_id IN (d.doc_id, d.owner_id))
"""
_OF_CANDIDATE = """
UPDATE output o SET published = false
FROM takedown t JOIN document d ON d.doc_id = t.doc_id OR d.owner_id = t.doc_id
WHERE t.set_id = %(set)s AND o.doc_id = d.doc_id AND o.published
"""


def settle_candidate(connection: Connection[Any], set_id: int, accepted_gen: int) -> None:
    """The same of what a candidate holds and was made while its record was taken down, or given back. From here on the
    set's row is held, as a takedown does: one of them comes after the other."""
    connection.execute("SELECT FROM harvest_set WHERE set_id = %s FOR UPDATE", (set_id,))
    connection.execute(_BACK_IN_CANDIDATE, {"set": set_id, "gen": accepted_gen})
    if connection.execute("SELECT FROM takedown WHERE set_id = %s LIMIT 1", (set_id,)).fetchone():
        connection.execute(_OF_CANDIDATE, {"set": set_id})
