"""What goes into an index, streamed from stored outputs as lines of the server's bulk format.

What differs of an output in the index is stored beside it (`documents/index_form.py`), so nothing is decoded.
Belongs here: which documents a version publishes, what differs between two, sums over them. Does not belong here:
sending (`bulk.py`), and what an output is.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection

from harvester_dagster.documents.index_form import IndexForm, Stored, restored
from harvester_dagster.search.mapping import CHECKSUM
from harvester_dagster.sets import differences
from harvester_dagster.sets.generations import live
from harvester_dagster.sets.versions import Version

BATCH = 500
"""Changed documents that are read at once."""

PARTS = ("a", "b", "c")
"""A hash is summed in numbers of 24 bits: the server sums in doubles, exact up to 2^53 (500 million documents)."""


class BulkLine(NamedTuple):
    """One bulk operation: `data` holds its action and, unless it deletes, the document, each on a line."""

    doc_id: int
    srn: str
    data: bytes


Lines = Generator[BulkLine, None, None]
"""Closed when it is not read to its end: it has a COPY open."""


class Sums(NamedTuple):
    """What an index must hold, or holds: how many documents, and the sums over the parts of their hashes."""

    documents: int
    parts: tuple[int, ...]

    def plus(self, other: "Sums") -> "Sums":
        """Both together; of documents that none of them shares, or where one is what the other moves by."""
        return Sums(self.documents + other.documents, tuple(map(sum, zip(self.parts, other.parts, strict=True))))

    def minus(self, other: "Sums") -> "Sums":
        """This without documents that it holds."""
        return self.plus(Sums(-other.documents, tuple(-part for part in other.parts)))


class Delta(NamedTuple):
    """What brings an index from one version to another; the counts grow while `lines` is read."""

    lines: Lines
    counts: dict[str, int]


_PUBLISHED = f"""
FROM output o JOIN dataset_version_set v ON v.version_id = %(version)s AND v.set_id = o.set_id AND {live("o", "v.gen")}
"""

# COPY, since a server-side cursor fetches many rows at once, and one row may have megabytes of full texts.
_LINES = f"""
COPY (SELECT d.doc_id, s.key || ':' || d.external_id, o.hash, b.body, b.index_head, b.common_at {_PUBLISHED}
      JOIN document d ON d.doc_id = o.doc_id AND d.set_id = o.set_id
      JOIN harvest_set s ON s.set_id = o.set_id
      JOIN output_body b ON b.doc_id = o.doc_id AND b.from_gen = o.from_gen
      WHERE o.published AND o.entity = %(entity)s {{also}}) TO STDOUT (FORMAT BINARY)
"""


def _part(output: str, place: int) -> str:
    first = 3 * place
    bytes_ = [f"get_byte({output}.hash, {first + byte})" for byte in range(3)]
    return f"coalesce(sum(({bytes_[0]} << 16) | ({bytes_[1]} << 8) | {bytes_[2]}), 0)"


_SUMS = f"""
SELECT count(*), {", ".join(_part("o", place) for place in range(len(PARTS)))} {_PUBLISHED}
WHERE o.published AND o.entity = %(entity)s
"""

_MOVED = f"""
WITH ids AS (
    SELECT doc_id FROM output
    WHERE set_id = %(set)s AND entity = %(entity)s AND from_gen > %(low)s AND from_gen <= %(high)s
    UNION SELECT doc_id FROM output
    WHERE set_id = %(set)s AND entity = %(entity)s AND to_gen > %(low)s AND to_gen <= %(high)s)
SELECT count(a.hash) - count(b.hash),
       {", ".join(f"{_part('a', place)} - {_part('b', place)}" for place in range(len(PARTS)))}
FROM ids
LEFT JOIN output b ON b.doc_id = ids.doc_id AND b.published AND {live("b", "%(old)s")}
LEFT JOIN output a ON a.doc_id = ids.doc_id AND a.published AND {live("a", "%(new)s")}
"""

_TOUCHED = """
SELECT count(*) FROM (
    SELECT doc_id FROM output
    WHERE set_id = %(set)s AND entity = %(entity)s AND from_gen > %(low)s AND from_gen <= %(high)s
    UNION SELECT doc_id FROM output
    WHERE set_id = %(set)s AND entity = %(entity)s AND to_gen > %(low)s AND to_gen <= %(high)s
) touched
"""


def whole(connection: Connection[Any], version: Version, entity: str, form: IndexForm | None = None) -> Lines:
    """Every document that a version publishes of an entity, in the form of the index."""
    return _lines(connection, {"version": version.version_id, "entity": entity}, "", form)


def these(
    connection: Connection[Any], version: Version, entity: str, doc_ids: Sequence[int], form: IndexForm | None = None
) -> Lines:
    """Those of the documents with these ids that a version publishes, in the form of the index."""
    parameters = {"version": version.version_id, "entity": entity, "ids": list(doc_ids)}
    return _lines(connection, parameters, "AND o.doc_id = ANY (%(ids)s)", form)


def delta(
    connection: Connection[Any],
    old: Version,
    new: Version,
    entity: str,
    also: Iterable[int] = (),
    form: IndexForm | None = None,
) -> Delta:
    """What differs between two versions, and the documents of the new one that are named by id beside it (those that
    the old index lacks), in the form of the index."""
    counts = dict.fromkeys(("added", "changed", "removed"), 0)
    return Delta(_delta(connection, old, new, entity, set(also), counts, form), counts)


def touched(connection: Connection[Any], old: Version, new: Version, entity: str) -> int:
    """How many documents may differ between two versions: an upper bound that costs what changed, not what there is."""
    return sum(row[0] for row in _of_moved_sets(connection, _TOUCHED, old, new, entity))


def moved(connection: Connection[Any], old: Version, new: Version, entity: str) -> Sums:
    """By what the sums of the new version differ from those of the old one; what differs costs, not what there is."""
    found = Sums(0, (0,) * len(PARTS))
    for row in _of_moved_sets(connection, _MOVED, old, new, entity):
        found = found.plus(_sums(row))
    return found


def sums(connection: Connection[Any], version: Version, entity: str) -> Sums:
    """The count and sums over all that a version publishes."""
    return _added_up(connection, _SUMS, {"version": version.version_id, "entity": entity})


def sums_of(connection: Connection[Any], version: Version, entity: str, doc_ids: Sequence[int]) -> Sums:
    """The count and sums over those of these documents that a version publishes."""
    parameters = {"version": version.version_id, "entity": entity, "ids": list(doc_ids)}
    return _added_up(connection, f"{_SUMS} AND o.doc_id = ANY (%(ids)s)", parameters)


def line(doc_id: int, srn: str, digest: bytes, stored: Stored) -> BulkLine:
    """Index a document under its SRN, with the parts of its hash as its first field, in the form of the index."""
    head = b"," + stored.head if stored.head else b""
    common = b"," + stored.body[1:] if stored.head is None else stored.body[stored.common_at :]
    return BulkLine(
        doc_id,
        srn,
        b'{"index":{"_id":%b}}\n{"%b":{"a":%d,"b":%d,"c":%d}%b%b\n'
        % (
            msgspec.json.encode(srn),
            CHECKSUM.encode(),
            int.from_bytes(digest[0:3]),
            int.from_bytes(digest[3:6]),
            int.from_bytes(digest[6:9]),
            head,
            common,
        ),
    )


def removal(doc_id: int, srn: str) -> BulkLine:
    """Delete a document; one that is not there is fine."""
    return BulkLine(doc_id, srn, b'{"delete":{"_id":%b}}\n' % msgspec.json.encode(srn))


def _of_moved_sets(
    connection: Connection[Any], statement: str, old: Version, new: Version, entity: str
) -> Iterator[Any]:
    for set_id in {*old.generations, *new.generations}:
        x, y = old.generations.get(set_id, 0), new.generations.get(set_id, 0)
        if x != y:
            parameters = {"set": set_id, "entity": entity, "old": x, "new": y, "low": min(x, y), "high": max(x, y)}
            yield connection.execute(statement, parameters).fetchone()


def _added_up(connection: Connection[Any], statement: str, parameters: dict[str, Any]) -> Sums:
    return _sums(connection.execute(statement, parameters).fetchone())


def _sums(row: Any) -> Sums:
    return Sums(row[0], tuple(map(int, row[1:])))


def _lines(connection: Connection[Any], parameters: dict[str, Any], also: str, form: IndexForm | None) -> Lines:
    with connection.cursor() as cursor, cursor.copy(_LINES.format(also=also), parameters) as rows:
        rows.set_types(["int8", "text", "bytea", "bytea", "bytea", "int4"])  # the texts of JSON as they are
        for doc_id, srn, digest, *stored in rows.rows():
            kept = Stored(*stored)
            yield line(doc_id, srn, digest, restored(kept.body, form) if form and kept.head is None else kept)


def _delta(
    connection: Connection[Any],
    old: Version,
    new: Version,
    entity: str,
    also: set[int],
    counts: dict[str, int],
    form: IndexForm | None,
) -> Lines:
    batch: list[int] = []
    for change in differences.listed(connection, old.generations, new.generations):
        if change.entity != entity:
            continue
        counts[change.change] += 1
        also.discard(change.doc_id)
        if change.change == "removed":
            yield removal(change.doc_id, change.srn)
            continue
        batch.append(change.doc_id)
        if len(batch) == BATCH:
            yield from these(connection, new, entity, batch, form)
            batch.clear()
    batch += sorted(also)
    for start in range(0, len(batch), BATCH):
        yield from these(connection, new, entity, batch[start : start + BATCH], form)
