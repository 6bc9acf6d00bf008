"""A candidate's rows: written by batches, a transaction each, while the next batch is made.

A batch is one statement a table, COPY for what is new; no statement per document. Belongs here: every statement that
writes documents, revisions and bodies. Does not belong here: what to write (`compare.py`).
"""

from collections import deque
from collections.abc import Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from psycopg import Connection

from harvester_dagster.sets.compare import Writes
from harvester_dagster.sets.generations import live, source_date
from harvester_dagster.sets.locked_set import LockedSet
from harvester_dagster.store.database import analyze, copy

MOST_WRITING = 2
"""Batches under way."""
DOCUMENT = {"doc_id": "int8", "set_id": "int4", "entity": "text", "external_id": "text", "owner_id": "int8"}
REVISION = {
    "doc_id": "int8",
    "set_id": "int4",
    "entity": "text",
    "from_gen": "int4",
    "state": "text",
    "hash": "bytea",
    "hash_gen": "int4",
    "raw_hash": "bytea",
    "source_modified_at": "text",
}
BODY = {"doc_id": "int8", "from_gen": "int4", "body": "bytea"}


class Writer:
    """Writes the candidate of a set in a thread, batch after batch. Leaving its context waits for all of them; what
    failed is raised there, or earlier."""

    def __init__(self, locked: LockedSet) -> None:
        self._locked = locked
        self._gen = locked.state.candidate_gen
        self._added = {"document": 0, "revision": 0, "body": 0}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="copy")
        self._under_way: deque[tuple[Future[None], Set[str]]] = deque()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        with self._thread:
            if kind is None:
                self._wait()

    def settle(self, names: Set[str]) -> None:
        """Wait until nothing that is under way concerns these records: what the store says of them then holds."""
        if not all(written.isdisjoint(names) for _, written in self._under_way):
            self._wait()

    def write(self, writes: Writes, names: Set[str]) -> None:
        """Hand on a batch and the records that it concerns; waits while too many are under way."""
        self._wait(but=MOST_WRITING - 1)
        self._under_way.append((self._thread.submit(self._write, writes), names))

    def _wait(self, but: int = 0) -> None:
        """Until no more than these are under way."""
        while len(self._under_way) > but:
            self._under_way.popleft()[0].result()

    def _write(self, writes: Writes) -> None:
        with self._locked.connection() as connection:
            _undo(connection, writes.undo, self._gen)
            _close(connection, writes.close, self._gen)
            _renew_raw_hashes(connection, writes.raw_hashes, self._gen)
            self._copy(connection, "document", DOCUMENT, writes.documents)
            self._copy(connection, "revision", REVISION, writes.revisions)
            self._copy(connection, "body", BODY, writes.bodies)

    def _copy(
        self, connection: Connection[Any], table: str, columns: dict[str, str], rows: Sequence[Sequence[Any]]
    ) -> None:
        if rows:
            self._added[table] += copy(connection, table, list(columns), list(columns.values()), rows)

    def analyze(self, connection: Connection[Any]) -> None:
        """Let the planner know of what grew."""
        for table, added in self._added.items():
            analyze(connection, table, added)


def close_with_parts(connection: Connection[Any], locked: LockedSet, roots: Sequence[int]) -> None:
    """The accepted revisions of these documents, and of all that they own, end with the candidate."""
    owned = connection.execute("SELECT doc_id FROM document WHERE owner_id = ANY (%s)", (list(roots),))
    _close(connection, [*roots, *(doc_id for (doc_id,) in owned)], locked.state.candidate_gen)


def keep_dates(connection: Connection[Any], locked: LockedSet) -> None:
    """A document whose properties came back within a harvest keeps the date of them."""
    connection.execute(
        """UPDATE revision n SET hash_gen = o.hash_gen FROM revision o
           WHERE n.set_id = %(set)s AND n.from_gen = %(gen)s AND o.doc_id = n.doc_id AND o.to_gen = %(gen)s
             AND o.hash = n.hash AND o.hash_gen <> n.hash_gen""",
        {"set": locked.set_id, "gen": locked.state.candidate_gen},
    )


def restore(connection: Connection[Any], locked: LockedSet) -> dict[int, str]:
    """What changed and changed back within a harvest did not change: its accepted revision stays, but for its raw hash,
    which would speak for parts that may have changed. These documents, with their entity."""
    gen = locked.state.candidate_gen
    back = dict(
        connection.execute(
            """SELECT n.doc_id, n.entity FROM revision n JOIN revision o USING (doc_id)
               WHERE n.set_id = %(set)s AND n.from_gen = %(gen)s AND o.to_gen = %(gen)s
                 AND o.hash = n.hash AND o.state = n.state""",
            {"set": locked.set_id, "gen": gen},
        ).fetchall()
    )
    if back:
        _undo(connection, list(back), gen)
        connection.execute(
            "UPDATE revision SET to_gen = NULL, raw_hash = NULL WHERE doc_id = ANY (%(ids)s) AND to_gen = %(gen)s",
            {"ids": list(back), "gen": gen},
        )
    return back


def new_ids(connection: Connection[Any], at_least: int, block: int) -> list[int]:
    """Ids for new documents, by whole blocks."""
    blocks = -(-at_least // block)
    if blocks <= 0:
        return []
    rows = connection.execute("SELECT nextval('doc_id_block') FROM generate_series(1, %s)", (blocks,))
    return [doc_id for (first,) in rows for doc_id in range(first, first + block)]


def _close(connection: Connection[Any], doc_ids: Sequence[int], gen: int) -> None:
    if doc_ids:
        connection.execute(
            """UPDATE revision SET to_gen = %(gen)s
               WHERE doc_id = ANY (%(ids)s) AND from_gen < %(gen)s AND to_gen IS NULL""",
            {"gen": gen, "ids": list(doc_ids)},
        )


def _undo(connection: Connection[Any], doc_ids: list[int], gen: int) -> None:
    if doc_ids:
        for table in ("revision", "body"):
            connection.execute(f"DELETE FROM {table} WHERE doc_id = ANY (%s) AND from_gen = %s", (doc_ids, gen))


def _renew_raw_hashes(
    connection: Connection[Any], renewed: Sequence[tuple[int, bytes | None, str | None]], gen: int
) -> None:
    if renewed:
        connection.execute(
            f"""UPDATE revision r SET
                    raw_hash = u.raw_hash,
                    seen_modified_at = CASE WHEN u.raw_hash IS NULL THEN {source_date("r", "%(gen)s - 1")}
                        ELSE coalesce(u.seen, r.seen_modified_at) END,
                    parts_gen = CASE WHEN u.raw_hash IS NULL THEN %(gen)s END,
                    parts_modified_at = CASE WHEN u.raw_hash IS NULL THEN u.seen END
                FROM unnest(%(ids)s::bigint[], %(hashes)s::bytea[], %(seen)s::text[]) u (doc_id, raw_hash, seen)
                WHERE r.doc_id = u.doc_id AND {live("r", "%(gen)s")}""",
            {
                "ids": [doc_id for doc_id, _, _ in renewed],
                "hashes": [raw_hash for _, raw_hash, _ in renewed],
                "seen": [seen for _, _, seen in renewed],
                "gen": gen,
            },
        )
