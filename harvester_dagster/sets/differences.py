"""What differs between generations of sets, set id → generation (0: nothing of it): listed, counted, and some of it.

A document that is shown otherwise has an output that begins, or one that ends, above the lower generation and up to the
higher. Of those that begin the ones live at the higher, of those that end the ones live at the lower: two ranges of two
indices hold both sides of all that differs, whatever the sets hold beside it. Belongs here: these two ranges beside
each other. Does not belong here: what the documents say (`consumers/`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from psycopg import Connection

from harvester_dagster import canonical
from harvester_dagster.sets.generations import live

Kind = Literal["added", "changed", "removed"]


class Change(NamedTuple):
    """One document that consumers see otherwise."""

    srn: str
    entity: str
    change: Kind
    doc_id: int


class DifferenceFigures(NamedTuple):
    """`counts`: entity → change → documents; `documents`: change → the ids of the first of them. `digest`: over which
    documents differ, and what they say before and after: as many others have another, and so have other values."""

    counts: Mapping[str, Mapping[Kind, int]]
    documents: Mapping[Kind, list[int]]
    digest: str


class SetMove(NamedTuple):
    """A set that is at another generation."""

    set_id: int
    old: int
    new: int


def moved(before: Mapping[int, int], after: Mapping[int, int]) -> list[SetMove]:
    """The sets that are at another generation, by their ids."""
    each = (SetMove(set_id, before.get(set_id, 0), after.get(set_id, 0)) for set_id in sorted({*before, *after}))
    return [one for one in each if one.old != one.new]


_DIFFER = """
WITH moved AS MATERIALIZED (
    SELECT set_id, least(old, new) AS low, greatest(old, new) AS high, old > new AS is_back
    FROM unnest(%(sets)s::int[], %(old)s::int[], %(new)s::int[]) m (set_id, old, new)),
high AS MATERIALIZED (
    SELECT o.*, is_back FROM moved CROSS JOIN LATERAL (
        SELECT set_id, doc_id, entity, hash FROM output o
        WHERE o.set_id = moved.set_id AND from_gen > low AND from_gen <= high AND (to_gen IS NULL OR to_gen > high)
          AND published OFFSET 0) o),
low AS MATERIALIZED (
    SELECT o.*, is_back FROM moved CROSS JOIN LATERAL (
        SELECT set_id, doc_id, entity, hash FROM output o
        WHERE o.set_id = moved.set_id AND to_gen > low AND to_gen <= high AND from_gen <= low
          AND published OFFSET 0) o),
differ AS (
    SELECT set_id, doc_id, coalesce(high.entity, low.entity) AS entity,
           coalesce(substr(low.hash, 1, 8), '') || '|' || coalesce(substr(high.hash, 1, 8), '') AS of,
           CASE WHEN low.hash IS NOT NULL AND high.hash IS NOT NULL THEN 'changed'
                WHEN (low.hash IS NULL) <> coalesce(high.is_back, low.is_back) THEN 'added' ELSE 'removed' END AS change
    FROM high FULL JOIN low USING (set_id, doc_id) WHERE high.hash IS DISTINCT FROM low.hash)
"""
# OFFSET 0: along each set's own range. As one join the planner reads all that is there where its statistics are old.
# The key by a question of its own: the planner takes a million for twenty, and joins sets to documents one by one.
_LISTED = f"""{_DIFFER}
SELECT (SELECT key FROM harvest_set s WHERE s.set_id = differ.set_id) || ':' || d.external_id,
       differ.entity, change, doc_id
FROM differ JOIN document d USING (doc_id) ORDER BY differ.set_id, doc_id
"""
_COUNTED = f"""{_DIFFER}
SELECT entity, change, count(*), (array_agg(doc_id ORDER BY doc_id))[:%(most)s],
       encode(sha256(string_agg(int8send(doc_id) || of, '' ORDER BY doc_id)), 'hex')
FROM differ GROUP BY entity, change ORDER BY entity, change
"""
_SOME = f"""
WITH ids AS (
    (SELECT doc_id FROM output WHERE set_id = %(set)s AND from_gen > %(low)s AND from_gen <= %(high)s LIMIT %(most)s)
    UNION (SELECT doc_id FROM output WHERE set_id = %(set)s AND to_gen > %(low)s AND to_gen <= %(high)s LIMIT %(most)s))
SELECT ids.doc_id FROM ids
LEFT JOIN output b ON b.doc_id = ids.doc_id AND b.published AND {live("b", "%(old)s")}
LEFT JOIN output a ON a.doc_id = ids.doc_id AND a.published AND {live("a", "%(new)s")}
WHERE a.hash IS DISTINCT FROM b.hash ORDER BY 1 LIMIT %(most)s
"""


def listed(connection: Connection[Any], before: Mapping[int, int], after: Mapping[int, int]) -> Iterator[Change]:
    """Every published document that differs, streamed, by set and document; what differs costs, not what there is."""
    with connection.cursor(name="difference") as cursor:
        cursor.itersize = 5_000
        for row in cursor.execute(_LISTED, _given(moved(before, after))):
            yield Change(*row)


def counted(
    connection: Connection[Any], before: Mapping[int, int], after: Mapping[int, int], most: int = 0
) -> DifferenceFigures:
    """How many documents differ, and the first of each kind, at most so many: a million in a second."""
    counts, documents, digests = dict[str, dict[Kind, int]](), dict[Kind, list[int]](), list[Any]()
    for entity, change, count, first, digest in connection.execute(
        _COUNTED, {**_given(moved(before, after)), "most": most}
    ):
        counts.setdefault(entity, {})[change] = count
        documents[change] = sorted([*documents.get(change, ()), *first])[:most]
        digests.append((entity, change, count, digest))
    return DifferenceFigures(counts, documents, canonical.digest(canonical.encode(digests)).hex())


def some(connection: Connection[Any], one: SetMove, most: int) -> list[int]:
    """The ids of some documents of one set that differ, at most so many, at a cost that does not grow with it."""
    given = {"set": one.set_id, "old": one.old, "new": one.new, "low": min(one[1:]), "high": max(one[1:]), "most": most}
    return [doc_id for (doc_id,) in connection.execute(_SOME, given)]


def _given(sets: Sequence[SetMove]) -> dict[str, list[int]]:
    return {"sets": [one.set_id for one in sets], "old": [one.old for one in sets], "new": [one.new for one in sets]}
