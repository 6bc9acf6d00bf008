"""How often each value occurs in the current version, counted after a release for the trees and for the next night.

Belongs here: counting, and keeping the counts together with the version that they are of, so that only what differs
from it is counted (30,000 products a second). Does not belong here: which field of an output counts for which
vocabulary (the tasks' rows), and what a count means (`trees.py`, `publisher_year.py`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from psycopg import Connection

from harvester_dagster import canonical
from harvester_dagster.catalog import Catalog
from harvester_dagster.installation import Installation
from harvester_dagster.publication import log
from harvester_dagster.sets import versions
from harvester_dagster.sets.generations import live
from harvester_dagster.sets.versions import NotPromotable
from harvester_dagster.store.database import connected, copy
from harvester_dagster.tasks.published import Counted
from harvester_dagster.vocabularies.current import OF_VERSION

BATCH = 2_000

Counts = dict[str, Counter[str]]
"""In how many published products each value occurs, by vocabulary."""


class _Counting:
    """What is counted in the outputs of one entity; their many other keys are skipped while decoding."""

    def __init__(self, entity: str, counted: Sequence[Counted]) -> None:
        self.entity = entity
        self._counted = [(one.vocabulary, one.field, one.values) for one in counted]
        fields = [(name, Any, None) for name in dict.fromkeys(one.field for one in counted)]
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Output", fields))

    def add(self, counts: Counts, outputs: Iterable[bytes], sign: int) -> None:
        for output in outputs:
            decoded = self._decoder.decode(output)
            for vocabulary, field, values in self._counted:
                value = getattr(decoded, field)
                if value is not None:
                    for one in values(value):
                        counts[vocabulary][one] += sign


def count(installation: Installation) -> Counts:
    """Bring the counts from the version that they are of to the current one, and keep them. What one moment shows is
    counted, while takedowns go on beside it; what these changed is set right when the counts are kept. That moment is
    seen by a connection that is none of the pool's: who holds one of these waits for no second one."""
    catalog = installation.catalog
    with connected(installation.address, "harvester counts") as seen, seen.transaction():
        seen.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        heard = log.newest_takedown(seen)
        version = versions.current(seen)
        generations = version.generations if version else {}
        counts = counts_of(seen, catalog, generations)
        with installation.pool.connection() as connection:
            connection.execute(_ALONE)
            turned = log.documents_between(connection, heard, log.newest_takedown(connection))
            doc_ids = [doc_id for of_set in turned.values() for doc_id in of_set]
            _add_documents(seen, catalog, doc_ids, generations, counts, -1)
            _add_documents(connection, catalog, doc_ids, generations, counts, 1)
            _keep(connection, version, _digest(_counted(catalog)), counts)
    return counts


def turn(connection: Connection[Any], catalog: Catalog, doc_ids: Sequence[int], sign: int) -> None:
    """Take published documents from the kept counts (-1), or add them (1), in the transaction that withholds them or
    gives them back: while they are published. What differs from those counts is then counted as ever."""
    connection.execute(_ALONE)
    generations, _ = _kept(connection, _digest(_counted(catalog)))
    counts = _nothing(_counted(catalog))
    _add_documents(connection, catalog, doc_ids, generations, counts, sign)
    rows = [(field, value, n) for field, values in counts.items() for value, n in values.items()]
    connection.execute(
        """INSERT INTO vocabulary_count (field, value, count)
           SELECT * FROM unnest(%s::text[], %s::text[], %s::int[])
           ON CONFLICT (field, value) DO UPDATE SET count = vocabulary_count.count + excluded.count""",
        [list(column) for column in zip(*rows, strict=True)] or [[], [], []],
    )
    connection.execute("DELETE FROM vocabulary_count WHERE count <= 0 AND field <> %s", (OF_VERSION,))


_ALONE = "LOCK TABLE vocabulary_count IN SHARE ROW EXCLUSIVE MODE"
"""For a moment only: a takedown waits for it while all promotions wait for the takedown."""
_BODIES = """
SELECT o.set_id, o.from_gen, coalesce(o.to_gen, 2147483647), b.body
FROM output o JOIN output_body b USING (doc_id, from_gen)
WHERE o.doc_id = ANY (%(ids)s) AND o.entity = %(entity)s AND o.published
"""


def _add_documents(
    connection: Connection[Any],
    catalog: Catalog,
    doc_ids: Sequence[int],
    generations: Mapping[int, int],
    counts: Counts,
    sign: int,
) -> None:
    """What these documents show at these generations, as the connection sees it."""
    for counting in _countings(_counted(catalog)):
        bodies = connection.execute(_BODIES, {"ids": list(doc_ids), "entity": counting.entity})
        shown = (body for set_id, begun, ended, body in bodies if begun <= generations.get(set_id, 0) < ended)
        counting.add(counts, (body.encode() for body in shown), sign)


def counts_of(connection: Connection[Any], catalog: Catalog, generations: Mapping[int, int]) -> Counts:
    """How often each value occurs where each set is shown at a generation (set id → generation), from the kept counts
    and what differs from these."""
    counted = _counted(catalog)
    before, kept = _kept(connection, _digest(counted))
    counts = _nothing(counted)
    counts |= {field: values for field, values in kept.items() if field in counts}
    for counting in _countings(counted):
        for set_id in {*before, *generations}:
            x, y = before.get(set_id, 0), generations.get(set_id, 0)
            counting.add(counts, _outputs(connection, counting.entity, set_id, y, x), 1)
            counting.add(counts, _outputs(connection, counting.entity, set_id, x, y), -1)
    return counts


def _counted(catalog: Catalog) -> dict[str, list[Counted]]:
    return {
        entity.name: [one for task in catalog.tasks_of(entity.name) for one in task.counts]
        for entity in catalog.entities
    }


def _nothing(counted: Mapping[str, Sequence[Counted]]) -> Counts:
    return {one.vocabulary: Counter() for rows in counted.values() for one in rows}


def _countings(counted: Mapping[str, Sequence[Counted]]) -> list[_Counting]:
    return [_Counting(entity, rows) for entity, rows in counted.items() if rows]


def _digest(counted: Mapping[str, Sequence[Counted]]) -> str:
    rows = [(entity, one.vocabulary, one.field) for entity, rows in counted.items() for one in rows]
    return canonical.digest(canonical.encode(rows)).hex()


def _outputs(connection: Connection[Any], entity: str, set_id: int, at: int, but_not_at: int) -> Iterator[bytes]:
    """Published outputs of a set that are live at one generation and not at the other (0: there was none)."""
    low, high = sorted((at, but_not_at))
    if low == high:
        return
    with connection.cursor(name="outputs", binary=True) as cursor:
        cursor.itersize = BATCH
        cursor.execute(
            f"""SELECT convert_to(b.body::text, 'UTF8') FROM output o JOIN output_body b USING (doc_id, from_gen)
                WHERE o.set_id = %(set)s AND o.entity = %(entity)s AND o.published
                  AND (o.from_gen > %(low)s AND o.from_gen <= %(high)s OR o.to_gen > %(low)s AND o.to_gen <= %(high)s)
                  AND {live("o", "%(at)s")} AND NOT ({live("o", "%(but_not_at)s")})""",
            {
                "set": set_id,
                "entity": entity,
                "at": at,
                "but_not_at": but_not_at,
                "low": min(at, but_not_at),
                "high": max(at, but_not_at),
            },
        )
        for (body,) in cursor:
            yield body


def _kept(connection: Connection[Any], what: str) -> tuple[Mapping[int, int], Counts]:
    """The generations that the kept counts are of, and these; nothing when that version is no longer retained, or
    something else was counted."""
    counts: Counts = {}
    rows = connection.execute("SELECT field, value, count FROM vocabulary_count").fetchall()
    of = next((n for field, value, n in rows if field == OF_VERSION and value == what), None)
    try:
        base = versions.by_id(connection, of or 0)
    except NotPromotable:
        return {}, counts
    for field, value, n in rows:
        if field != OF_VERSION:
            counts.setdefault(field, Counter())[value] = n
    return base.generations, counts


def _keep(connection: Connection[Any], version: versions.Version | None, what: str, counts: Counts) -> None:
    connection.execute("DELETE FROM vocabulary_count")
    rows = [(field, value, n) for field, values in counts.items() for value, n in values.items() if n > 0]
    if version:
        rows.append((OF_VERSION, what, version.version_id))
    copy(connection, "vocabulary_count", ("field", "value", "count"), ("text", "text", "int4"), rows)
