"""The feed: what differs between what was shown at a seq and what is shown now, each document once.

Pages are read along the indices of output rows that begin or end between the two generations of a set, so that a whole
feed costs what has changed, however it is cut into pages. Belongs here: that walk. Does not belong here: HTTP.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple

from psycopg import Connection

from harvester_dagster.consumers.snapshots import NoLongerKept, Snapshot, kept_from, snapshot
from harvester_dagster.publication import log
from harvester_dagster.sets.generations import live


class PublishedChange(NamedTuple):
    """A document that is shown otherwise: `body` as it is stored; None: it is not shown any more. `before`: as it was,
    where that is asked for; None: it was not shown."""

    srn: str
    entity: str
    body: str | None
    before: str | None = None


Along = Literal["from_gen", "to_gen", "takedowns"]


class FeedPlace(NamedTuple):
    """How far a feed has been read: which set (its id), along which index, after which row. Takedowns come last: their
    documents in the order of their ids."""

    set_id: int = 0
    along: Along = "from_gen"
    gen: int = 0
    doc_id: int = 0


class ChangePage(NamedTuple):
    """Some changes, and where the next page begins; None: these were the last. A page may have fewer than were asked
    for, or none, and not be the last: of what differs in rows much may be shown as it was."""

    changes: Sequence[PublishedChange]
    place: FeedPlace | None


class Difference(NamedTuple):
    """What is compared: of each set (by id) the generations before and after, its key, and the documents that were
    taken down in between, or came back."""

    before: Mapping[int, int]
    after: Mapping[int, int]
    keys: Mapping[int, str]
    turned: Mapping[int, Sequence[int]]


def between(connection: Connection[Any], seq: int, found: Snapshot) -> Difference:
    """What is to be compared for somebody who has what was shown at a seq (0: nothing). Raises NoLongerKept when that
    is no seq, or too old to be compared with."""
    shown = log.shown_at(connection, seq) if seq else None
    if seq and (shown is None or seq > found.seq):
        raise NoLongerKept(f"there is no seq {seq} yet: the newest is {found.seq}", "begin anew with after=0")
    before = dict(shown.generations) if shown else {}
    after = found.generations
    oldest = kept_from(connection)
    moved = [set_id for set_id in {*before, *after} if before.get(set_id, 0) != after.get(set_id, 0)]
    if any(0 < before.get(set_id, 0) < oldest[set_id] for set_id in moved):
        raise NoLongerKept(f"what was shown at seq {seq} is not kept any more", "begin anew with after=0")
    turned = log.documents_between(connection, seq, found.seq) if seq else {}
    return of_generations(connection, before, after, turned)


MOST_READ = 1_000
"""Rows that one statement reads, where the first found too little."""
MOST_WALKED = 50_000
"""Rows that are read for one page, about: then it is given as it is."""
_TOLD = f"""
told AS (
    SELECT rows.gen, rows.doc_id, rows.is_told, x.from_gen AS was, y.from_gen AS is_now FROM rows
    LEFT JOIN output x ON x.doc_id = rows.doc_id AND x.published AND {live("x", "%(old)s")}
    LEFT JOIN output y ON y.doc_id = rows.doc_id AND y.published AND {live("y", "%(new)s")}
    WHERE x.hash IS DISTINCT FROM y.hash OR rows.is_told
    ORDER BY 1, 2 LIMIT %(most)s)
(SELECT (SELECT count(*) FROM rows), gen, doc_id, NULL, NULL, NULL, NULL FROM rows ORDER BY 2 DESC, 3 DESC LIMIT 1)
UNION ALL
SELECT NULL, told.gen, told.doc_id, d.external_id, d.entity, b.body,
       CASE WHEN %(before)s AND NOT told.is_told THEN (
           SELECT body FROM output_body e WHERE e.doc_id = told.doc_id AND e.from_gen = told.was) END
FROM told JOIN document d ON d.doc_id = told.doc_id
LEFT JOIN output_body b ON b.doc_id = told.doc_id AND b.from_gen = told.is_now
"""
"""How many rows were read, and the last of them; and of these, in no order, those whose documents are shown
otherwise."""
_WALK = f"""
WITH rows AS (
    SELECT o.{{along}} AS gen, o.doc_id, false AS is_told FROM output o
    WHERE o.set_id = %(set)s AND (o.{{along}}, o.doc_id) > (%(gen)s, %(doc)s) AND o.{{along}} <= %(high)s
      AND (%(entities)s::text[] IS NULL OR o.entity = ANY (%(entities)s))
      AND NOT o.doc_id = ANY (%(turned)s)
      AND NOT EXISTS (
          SELECT FROM output e WHERE e.doc_id = o.doc_id AND {{seen}})
    ORDER BY 1, 2 LIMIT %(read)s),
{_TOLD}
"""
# "+ 0": by its document alone, for right after a promotion the statistics know of no newer generation, and to look at
# all that has changed for each that has took a second for two thousand.
_BEGINS = _WALK.format(along="from_gen", seen="e.from_gen + 0 > %(low)s AND e.from_gen + 0 < o.from_gen")
_ENDS = _WALK.format(
    along="to_gen",
    seen="""(e.from_gen + 0 > %(low)s AND e.from_gen + 0 <= %(high)s
             OR e.to_gen + 0 > %(low)s AND e.to_gen + 0 < o.to_gen)""",
)
# What was taken down or came back is told as it is shown now, whatever it was: where it was seen, it must be put right.
_TURNED = f"""
WITH rows AS (
    SELECT 0 AS gen, d.doc_id, true AS is_told FROM document d
    WHERE d.doc_id = ANY (%(turned)s) AND d.doc_id > %(doc)s
      AND (%(entities)s::text[] IS NULL OR d.entity = ANY (%(entities)s))
    ORDER BY 2 LIMIT %(read)s),
{_TOLD}
"""
_WALKS: Final[tuple[tuple[Along, str], ...]] = (("from_gen", _BEGINS), ("to_gen", _ENDS), ("takedowns", _TURNED))
_ORDER = [along for along, _ in _WALKS]


def page(
    connection: Connection[Any],
    difference: Difference,
    place: FeedPlace,
    most: int,
    entities: Sequence[str] | None = None,
    *,
    with_before: bool = False,
) -> ChangePage:
    """The changes from a place on, at most so many; of these entities (None: of all)."""
    changes: list[PublishedChange] = []
    walked = 0
    for read, at, rows in _batches(connection, difference, place, most, {"entities": entities, "before": with_before}):
        changes += rows
        walked += read
        if len(changes) >= most or walked >= MOST_WALKED:
            return ChangePage(changes, at)
    return ChangePage(changes, None)


def _batches(
    connection: Connection[Any], difference: Difference, place: FeedPlace, most: int, wanted: Mapping[str, Any]
) -> Iterator[tuple[int, FeedPlace, list[PublishedChange]]]:
    """What one statement after another finds: the rows that it read, where the next would begin, and the changes; never
    more than `most` in all. The first reads no more rows than there may be changes, each further one four times as
    many as the one before, up to MOST_READ."""
    left = read = most
    for set_id, set_key in difference.keys.items():
        if set_id < place.set_id:
            continue
        old, new = difference.before.get(set_id, 0), difference.after.get(set_id, 0)
        low, high = min(old, new), max(old, new)
        start = place if set_id == place.set_id else FeedPlace(set_id)
        turned = list(difference.turned.get(set_id, ()))
        asked = {"set": set_id, "old": old, "new": new, "low": low, "high": high, "turned": turned, **wanted}
        for along, statement in _WALKS:
            if _ORDER.index(along) < _ORDER.index(start.along) or (along == "takedowns" and not turned):
                continue
            gen, doc_id = (start.gen, start.doc_id) if along == start.along else (0, 0)
            if along != "takedowns":
                gen, doc_id = max((gen, doc_id), (low, 2**62))
            is_over = False
            while not is_over:
                values = {**asked, "gen": gen, "doc": doc_id, "most": left, "read": read}
                rows = connection.execute(statement, values, prepare=False).fetchall()  # planned for these values
                if not rows:
                    break
                (last,) = (row for row in rows if row[0] is not None)
                told = sorted((row for row in rows if row[0] is None), key=itemgetter(1, 2))
                # The rows behind the last change that fits are read again, by whatever statement comes next.
                _, gen, doc_id, *_ = told[-1] if len(told) == left else last
                is_over = last[0] < read and len(told) < left
                left -= len(told)
                yield last[0], FeedPlace(set_id, along, gen, doc_id), [*map(partial(_change, set_key), told)]
                read = max(read, min(4 * read, MOST_READ))


def _change(set_key: str, row: Sequence[Any]) -> PublishedChange:
    _, _, _, external_id, entity, body, before = row
    return PublishedChange(f"{set_key}:{external_id}", entity, body, before)


def whole(connection: Connection[Any], difference: Difference, at_once: int = 1_000) -> Iterator[PublishedChange]:
    """Every change, each with what it was before."""
    place: FeedPlace | None = FeedPlace()
    while place is not None:
        found = page(connection, difference, place, at_once, with_before=True)
        yield from found.changes
        place = found.place


_THESE = f"""
SELECT s.key, d.external_id, d.entity, after.body, before.body
FROM unnest(%(docs)s::bigint[]) WITH ORDINALITY given (doc_id, place)
JOIN document d USING (doc_id) JOIN harvest_set s USING (set_id)
JOIN unnest(%(sets)s::int[], %(old)s::int[], %(new)s::int[]) m (set_id, old, new) USING (set_id)
LEFT JOIN output x ON x.doc_id = d.doc_id AND x.published AND {live("x", "m.old")}
LEFT JOIN output_body before ON before.doc_id = x.doc_id AND before.from_gen = x.from_gen
LEFT JOIN output y ON y.doc_id = d.doc_id AND y.published AND {live("y", "m.new")}
LEFT JOIN output_body after ON after.doc_id = y.doc_id AND after.from_gen = y.from_gen
ORDER BY place
"""


def these(connection: Connection[Any], difference: Difference, doc_ids: Sequence[int]) -> list[PublishedChange]:
    """The changes of these documents, in their order, each with what it was before."""
    sets = list(difference.keys)
    old, new = ([of.get(set_id, 0) for set_id in sets] for of in (difference.before, difference.after))
    given = {"docs": list(doc_ids), "sets": sets, "old": old, "new": new}
    return [
        PublishedChange(f"{key}:{external_id}", entity, body, before)
        for key, external_id, entity, body, before in connection.execute(_THESE, given)
    ]


def of_generations(
    connection: Connection[Any],
    before: Mapping[int, int],
    after: Mapping[int, int],
    turned: Mapping[int, Sequence[int]] | None = None,
) -> Difference:
    """What is to be compared of two versions, or of a set and its candidate: set id → generation; and what was taken
    down in between, or came back, where that is to be told."""
    turned = turned or {}
    moved = [set_id for set_id in {*before, *after} if before.get(set_id, 0) != after.get(set_id, 0)]
    concerned = [*moved, *turned]
    keys = connection.execute("SELECT set_id, key FROM harvest_set WHERE set_id = ANY (%s)", (concerned,)).fetchall()
    return Difference(before, after, dict(sorted(keys)), turned)


def current(connection: Connection[Any]) -> Snapshot | None:
    """What is shown now; None: nothing has been published."""
    shown = log.shown_at(connection)
    return snapshot(connection, shown) if shown else None
