"""All documents of an entity in a version, as lines of JSON: in one stream, or in pieces that a manifest lists.

Lines are documents as they are stored. A piece lies in one set and says between which srns, so that it is the same
documents whoever asks when. Belongs here: reading ranges in bounded memory, manifests, and remembering these. Does not
belong here: HTTP, compression (`web/api/export_routes.py`).
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection
from psycopg.sql import SQL

from harvester_dagster.consumers.snapshots import PublishedSet, Snapshot, check_kept
from harvester_dagster.sets.generations import live
from harvester_dagster.store.database import Pool

PIECE = 10_000
"""Documents of a piece, about 40 MB; read by one statement, at one state of the store."""
PIECE_SECONDS = 600
"""That statement waits for a client that reads slowly."""
BLOCK = 256 * 1024
"""Bytes that are handed over at once."""
REMEMBERED = 16
"""Manifests."""


class SrnRange(NamedTuple):
    """Documents behind an srn (empty: from the first), up to another one that belongs to it (None: to the last), in the
    order of their bytes; of one set, by its key (None: of all)."""

    after: str = ""
    up_to: str | None = None
    key: str | None = None


class Piece(msgspec.Struct):
    """A range of a manifest: `bytes` and `sha256` are of its lines without compression."""

    set: str
    after: str
    up_to: str
    documents: int
    bytes: int
    sha256: str


class Manifest(NamedTuple):
    """The pieces of an entity in a version, in the order in which one stream has them."""

    pieces: tuple[Piece, ...]

    @property
    def documents(self) -> int:
        """In all pieces."""
        return sum(piece.documents for piece in self.pieces)

    @property
    def bytes(self) -> int:
        """In all pieces."""
        return sum(piece.bytes for piece in self.pieces)


class _Part(NamedTuple):
    """What a range takes of one set, by external ids."""

    of: PublishedSet
    after: str
    up_to: str | None


# Binary: as text, each \ would be two, and to look for them takes longer than the rest.
_ROWS = SQL(f"""
COPY (
    SELECT b.body FROM document d
    JOIN output o ON o.doc_id = d.doc_id AND o.published AND {live("o", "%(gen)s")}
    JOIN output_body b ON b.doc_id = o.doc_id AND b.from_gen = o.from_gen
    WHERE d.set_id = %(set)s AND d.entity = %(entity)s AND d.external_id > %(after)s
      AND (%(up_to)s::text IS NULL OR d.external_id <= %(up_to)s)
    ORDER BY d.external_id LIMIT %(most)s)
TO STDOUT (FORMAT binary)
""")


def lines(pool: Pool, found: Snapshot, entity: str, within: SrnRange, at_once: int = PIECE) -> Iterator[bytes]:
    """The documents of a range, a line each, in blocks. A connection is held while a piece is read. Raises
    NoLongerKept, also between two pieces."""
    block = bytearray()
    for part in _parts(found, within):
        for row in _rows(pool, found, entity, part, at_once):
            block += row
            block += b"\n"
            if len(block) >= BLOCK:
                yield bytes(block)
                block.clear()
    if block:
        yield bytes(block)


def manifest(pool: Pool, found: Snapshot, entity: str, at_once: int = PIECE) -> Manifest:
    """The pieces of a snapshot, each read to its end. Raises NoLongerKept."""
    pieces: list[Piece] = []
    for part in _parts(found, SrnRange()):
        after, read = f"{part.of.key}:", _Reading()
        for row in _rows(pool, found, entity, part, at_once):
            read.take(row)
            if read.documents == at_once:
                pieces.append(read.piece(part.of.key, after))
                after, read = pieces[-1].up_to, _Reading()
        if read.documents:
            pieces.append(read.piece(part.of.key, after))
    return Manifest(tuple(pieces))


# Along the indices: a sort of all bodies would go to the disk before the first one goes out.
_IN_ORDER = """SET LOCAL enable_sort = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
SET LOCAL max_parallel_workers_per_gather = 0"""


class _Line(msgspec.Struct):
    srn: str


_line = msgspec.json.Decoder(_Line)


class _Reading:
    """What has been read of a piece."""

    def __init__(self) -> None:
        self.documents = self._bytes = 0
        self._digest = hashlib.sha256()
        self._last = b""

    def take(self, row: bytes) -> None:
        self.documents += 1
        self._bytes += len(row) + 1
        self._digest.update(row)
        self._digest.update(b"\n")
        self._last = row

    def piece(self, key: str, after: str) -> Piece:
        up_to = _line.decode(self._last).srn
        return Piece(key, after, up_to, self.documents, self._bytes, self._digest.hexdigest())


def _parts(found: Snapshot, within: SrnRange) -> Iterator[_Part]:
    """What a range takes of each set that it touches."""
    for one in found.sets:
        begin = f"{one.key}:"
        if within.key not in (None, one.key) or (within.up_to is not None and begin >= within.up_to):
            continue
        if within.after > begin and not within.after.startswith(begin):
            continue  # all of its srns come before
        up_to = within.up_to.removeprefix(begin) if within.up_to and within.up_to.startswith(begin) else None
        yield _Part(one, within.after.removeprefix(begin) if within.after.startswith(begin) else "", up_to)


def _rows(pool: Pool, found: Snapshot, entity: str, part: _Part, at_once: int) -> Iterator[bytes]:
    after, read = part.after, at_once
    while read == at_once:
        last, read = b"", 0
        asked = {"set": part.of.set_id, "gen": part.of.gen, "entity": entity, "after": after, "up_to": part.up_to}
        with pool.connection() as connection, connection.transaction():
            _at_one_state(connection, found)
            with connection.cursor().copy(_ROWS, {**asked, "most": at_once}) as copy:
                copy.set_types(["bytea"])  # a text's bytes
                for (last,) in copy.rows():
                    read += 1
                    yield last
        if read == at_once:
            after = _line.decode(last).srn.removeprefix(f"{part.of.key}:")


def _at_one_state(connection: Connection[Any], found: Snapshot) -> None:
    """What the statement reads after this check is what the check saw."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.execute(f"SET LOCAL statement_timeout = '{PIECE_SECONDS}s'")
    connection.execute(_IN_ORDER)
    check_kept(connection, found)


class Remembered(NamedTuple):
    """What a manifest was made of. `newest`: the newest seq then, for whatever is told of a version later (that a
    document was taken back, say) comes with a new one."""

    entity: str
    version_id: int
    newest: int


class Manifests:
    """The manifests that were asked for last. Each is made once, whoever asks meanwhile; one after the other."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._known: OrderedDict[Remembered, Future[Manifest]] = OrderedDict()

    def get(self, key: Remembered, make: Callable[[], Manifest]) -> Manifest:
        """The manifest, made by whoever asks first."""
        with self._lock:
            known = self._known.get(key)
            if known is None:
                mine = self._known[key] = Future[Manifest]()
            self._known.move_to_end(key)
        if known is not None:
            return known.result()
        try:
            with self._making:
                mine.set_result(make())
        except BaseException as error:
            mine.set_exception(error)
            with self._lock:
                self._known.pop(key, None)
            raise
        with self._lock:
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return mine.result()
