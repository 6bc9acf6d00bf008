"""From stored pages to a candidate: extract what is not known by its raw bytes, compare, write what differs.

A candidate is the set's next, tentative generation (`generations.py`). A record whose raw bytes and mapping are
unchanged is not extracted; one whose properties hash is unchanged is not written. Everything goes by batches of
records: one look-up, the closes, three COPYs; no statement per document. Memory: the accepted state's raw hashes
(about 0.2 KB a record), three batches, and the chunks that are being extracted. Of a record that comes more than once
what comes last holds.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.types.json import Jsonb

from harvester_dagster.harvesting import attempts, generations
from harvester_dagster.harvesting.attempts import Attempt
from harvester_dagster.harvesting.extracting import Chunk, Extracted, Incoming, Page, Sent, extracted
from harvester_dagster.harvesting.fetching import kind_of, stored_pages
from harvester_dagster.harvesting.garbage import rarely_collected
from harvester_dagster.harvesting.generations import live
from harvester_dagster.harvesting.sets import SetState, find
from harvester_dagster.installation import Installation
from harvester_dagster.sources.source import Kind
from harvester_dagster.store.database import analyze, copy

BATCH = 1_000
CHUNK = 250
"""Records that are extracted together, of pages that are not longer than this together."""
CHUNK_BYTES = 4 * 1024 * 1024
MOST_WRITING = 2
"""Batches."""
AHEAD = 8
"""Chunks for a worker: while a batch is compared, it must not run out of them."""
MOST_REPEATED = 20_000
"""Unchanged records beside some that are compared; more are not remembered."""
ID_BLOCK = 1_000
MOST_PROBLEMS = 10_000


class _Known(NamedTuple):
    doc_id: int
    entity: str
    external_id: str
    owner_id: int | None
    from_gen: int | None
    state: str | None
    hash: bytes | None
    raw_hash: bytes | None
    hash_gen: int | None


class _Writes(NamedTuple):
    """What one batch changes; each list goes out as one statement."""

    documents: list[tuple[int, int, str, str, int | None]]
    revisions: list[tuple[int, int, str, int, str, bytes, int, bytes | None, str | None]]
    bodies: list[tuple[int, int, bytes]]
    close: list[int]
    undo: list[int]
    raw_hashes: list[tuple[int, bytes]]


def stage(
    installation: Installation, key: str, attempt: Attempt, progress: Callable[[str], None] = lambda _: None
) -> Attempt:
    """Stage a fetched attempt's candidate; idempotent: begins by cleaning. The caller has the set's lock."""
    with installation.pool.connection() as connection:
        state = find(connection, key)
        generations.clean(connection, state.set_id, attempt.attempt_id)
        generations.staged(connection, state.set_id, None)  # not before all of it is there
        connection.execute("DELETE FROM problem WHERE attempt_id = %s", (attempt.attempt_id,))
    run = _Staging(installation, state, attempt, kind_of(installation, key))
    with rarely_collected():
        run.all_pages(progress)
    with installation.pool.connection() as connection:
        counts = run.counts(connection)
        connection.execute(
            """UPDATE attempt SET records = %s, counts = %s, outputs_made = false,
                   state = CASE state WHEN 'fetched' THEN 'staged' ELSE state END
               WHERE attempt_id = %s""",
            (run.records, Jsonb(counts), attempt.attempt_id),
        )
        if attempt.state in attempts.OPEN:
            generations.staged(connection, state.set_id, attempt.attempt_id)
        for table, added in run.added.items():
            analyze(connection, table, added)
        return attempts.by_id(connection, attempt.attempt_id)


class _Staging:
    """The state of one staging run."""

    def __init__(self, installation: Installation, state: SetState, attempt: Attempt, kind: Kind):
        self.installation, self.state, self.attempt, self.kind = installation, state, attempt, kind
        self.gen = state.accepted_gen + 1
        self.records = self.unreadable = self.notes = 0
        self.added = dict.fromkeys(("document", "revision", "body"), 0)
        self.batch: list[Sent] = []
        self.upto = 0
        """Records before this one have been handed on."""
        self.unchanged: dict[str, set[int]] = {}
        self.inactive: dict[str, int] = {}
        self.problems: list[tuple[str | None, str, str]] = []
        self.repeated: dict[int, int] = {}
        self.touched: set[int] = set()
        self.raw_hasher = hashlib.sha256(attempt.mapping_version.encode())
        self.by_raw_hash: dict[bytes, int] = {}
        self.unseen: set[int] = set()
        self.has_documents = False
        self.ids: deque[int] = deque()
        self.writing: deque[tuple[Future[None], Set[str]]] = deque()
        """Batches that are written, and their records: what is known of any others does not change by it."""

    def all_pages(self, progress: Callable[[str], None]) -> None:
        self._load_known()
        with ThreadPoolExecutor(1, thread_name_prefix="copy") as writer:
            for sent in self._extracted():
                self.batch.extend(sent)
                if max(len(self.batch), len(self.problems)) >= BATCH or len(self.repeated) >= MOST_REPEATED:
                    self._flush(writer)
                    progress(f"{self.state.key}: {self.records:,} records compared")
            self._flush(writer)
            self._await_writes()
        if self.attempt.complete:
            self._close_unseen()
        if self.attempt.mode != "reset" and self.state.accepted_gen:
            self._restore()

    def _load_known(self) -> None:
        with self.installation.pool.connection() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM document WHERE set_id = %s)", (self.state.set_id,))
            self.has_documents = cursor.fetchone() == (True,)
            if not (self.attempt.complete and self.has_documents):
                return
            cursor.execute(
                f"""SELECT doc_id, raw_hash FROM revision r
                    WHERE set_id = %(set)s AND entity = %(entity)s AND {live("r", "%(gen)s")}""",
                {"set": self.state.set_id, "entity": self.kind.entity, "gen": self.state.accepted_gen},
            )
            rows = cursor.fetchall()
        self.unseen = {row[0] for row in rows}
        if self.attempt.mode != "reset":
            self.by_raw_hash = {row[1]: row[0] for row in rows if row[1] is not None}

    def _extracted(self) -> Iterator[list[Sent]]:
        """The records, in their order, that their raw bytes do not show to be unchanged; some chunks of pages are
        extracted at a time."""
        workers = self.installation.workers
        waiting: deque[tuple[int, Future[Extracted]]] = deque()
        ahead = workers.count * AHEAD
        with ThreadPoolExecutor(ahead, thread_name_prefix="extract") as pool:
            for chunk in self._chunks(waiting):
                future = pool.submit(workers.run, extracted, Chunk(self.state.key, self.attempt.since, chunk))
                waiting.append((self.records, future))
                if len(self.repeated) >= MOST_REPEATED:  # everything, so that it can be forgotten
                    yield [sent for _ in range(len(waiting)) for sent in self._kept(*waiting.popleft())]
                elif len(waiting) > ahead:
                    yield self._kept(*waiting.popleft())
            while waiting:
                yield self._kept(*waiting.popleft())

    def _chunks(self, waiting: Collection[object]) -> Iterator[list[Page]]:
        """Pages with records to extract; an empty chunk where many pages have none."""
        chunk: list[Page] = []
        records = size = 0
        for content in stored_pages(self.installation, self.attempt):
            page = self._cut(content, pending=bool(chunk or waiting or self.batch))
            if page.wanted:
                chunk.append(page)
                records += len(page.wanted)
                size += len(content)
            if records >= CHUNK or size >= CHUNK_BYTES or len(self.repeated) >= MOST_REPEATED:
                yield chunk
                chunk, records, size = [], 0, 0
        yield chunk

    def _cut(self, content: bytes, pending: bool) -> Page:
        """A page, and which of its records must be extracted."""
        raws = self.kind.cut(content)
        first = self.records
        self.records += len(raws)
        hashes = [self._raw_hash(raw) for raw in raws]
        wanted = list(range(len(raws)))
        if self.by_raw_hash:
            known = [self.by_raw_hash.get(raw_hash) for raw_hash in hashes]
            self.unseen.difference_update(known)
            wanted = [index for index, doc_id in enumerate(known) if doc_id is None]
            if pending or wanted:  # one of these may say otherwise of the same document, before or after
                self.repeated.update((doc_id, first + i) for i, doc_id in enumerate(known) if doc_id is not None)
        return Page(content, first, wanted, hashes)

    def _raw_hash(self, raw: bytes) -> bytes:
        """Covers the mapping version: equal means that extraction would say the same."""
        hasher = self.raw_hasher.copy()
        hasher.update(raw)
        return hasher.digest()[:16]

    def _kept(self, upto: int, future: Future[Extracted]) -> list[Sent]:
        """The records that were extracted; what was odd about the others is kept."""
        found, self.upto = future.result(), upto
        for external_id, kind, reason in found.problems:
            self._keep_problem(external_id, kind, reason)
        for sent in found.sent:
            if sent.documents and (state := sent.documents[0].state) != "active":
                self.inactive[state] = self.inactive.get(state, 0) + 1
        return found.sent

    def _keep_problem(self, external_id: str | None, kind: str, reason: str) -> None:
        if kind == "unreadable":
            self.unreadable += 1
        else:
            self.notes += 1
        self.problems.append((external_id, kind, reason))

    def _write_problems(self) -> None:
        """A row each up to a bound; a record that cannot be extracted counts as seen."""
        problems, self.problems = self.problems, []
        unreadable = [external_id for external_id, kind, _ in problems if kind == "unreadable" and external_id]
        room = MOST_PROBLEMS - (self.unreadable + self.notes - len(problems))
        with self.installation.pool.connection() as connection:
            copy(
                connection,
                "problem",
                ("attempt_id", "external_id", "kind", "reason"),
                ("int8", "text", "text", "text"),
                ((self.attempt.attempt_id, *problem) for problem in problems[: max(room, 0)]),
            )
            if unreadable and self.unseen:
                seen = connection.execute(
                    "SELECT doc_id FROM document WHERE set_id = %s AND entity = %s AND external_id = ANY (%s)",
                    (self.state.set_id, self.kind.entity, unreadable),
                )
                self.unseen.difference_update(doc_id for (doc_id,) in seen)

    def _flush(self, writer: ThreadPoolExecutor) -> None:
        """Compare a batch and hand its writes to the writing thread: the server works while the next is extracted."""
        if self.problems:
            self._write_problems()
        batch, self.batch = self.batch, []
        if not batch:
            self._forget()
            return
        unique = {sent.external_id: sent for sent in batch}
        if not all(written.isdisjoint(unique) for _, written in self.writing):
            self._await_writes()
        with self.installation.pool.connection() as connection:
            known = self._look_up(connection, list(unique)) if self.has_documents else {}
            self._take_ids(connection, unique.values(), known)
            writes = self._compare(unique.values(), known)
        self._forget()
        self._await_writes(but=MOST_WRITING - 1)
        self.writing.append((writer.submit(self._write, writes), unique.keys()))
        self.has_documents = True

    def _await_writes(self, but: int = 0) -> None:
        """Until no more than these are under way."""
        while len(self.writing) > but:
            self.writing.popleft()[0].result()

    def _forget(self) -> None:
        """What is known to repeat concerns the records after it; those read ahead are still to come."""
        self.repeated = {doc_id: number for doc_id, number in self.repeated.items() if number >= self.upto}

    def _look_up(self, connection: Connection[Any], external_ids: list[str]) -> dict[tuple[str, str], _Known]:
        """The documents of these records and all that they own, with their state in the candidate."""
        columns = """d.doc_id, d.entity, d.external_id, d.owner_id,
                     r.from_gen, r.state, r.hash, r.raw_hash, r.hash_gen"""
        join = f"LEFT JOIN revision r ON r.doc_id = d.doc_id AND {live('r', '%(gen)s')}"
        with connection.cursor(binary=True) as cursor:
            cursor.execute(
                f"""WITH own AS MATERIALIZED (
                        SELECT * FROM document
                        WHERE set_id = %(set)s AND entity = %(entity)s AND external_id = ANY (%(ids)s))
                    SELECT {columns} FROM own d {join}
                    UNION ALL
                    SELECT {columns} FROM own o JOIN document d ON d.owner_id = o.doc_id {join}""",
                {"set": self.state.set_id, "entity": self.kind.entity, "ids": external_ids, "gen": self.gen},
            )
            return {(row[1], row[2]): _Known._make(row) for row in cursor.fetchall()}

    def _compare(self, batch: Iterable[Sent], known: dict[tuple[str, str], _Known]) -> _Writes:
        writes = _Writes([], [], [], [], [], [])
        parts: dict[int, list[_Known]] = {}
        for row in known.values():
            if row.owner_id is not None:
                parts.setdefault(row.owner_id, []).append(row)
        for sent in batch:
            root = known.get((self.kind.entity, sent.external_id))
            if root:
                self.unseen.discard(root.doc_id)
                if self.repeated.get(root.doc_id, -1) > sent.number:
                    continue  # what is accepted came once more, after this
                self.by_raw_hash.pop(root.raw_hash or b"", None)
            self._compare_family(sent, root, parts.get(root.doc_id, []) if root else [], known, writes)
        return writes

    def _compare_family(
        self,
        sent: Sent,
        root: _Known | None,
        parts: Sequence[_Known],
        known: dict[tuple[str, str], _Known],
        writes: _Writes,
    ) -> None:
        """A record's documents against what is known of them; parts that it does not name are closed."""
        kept: set[int] = set()
        owner_id: int | None = None
        differs = False
        for document in sent.documents:
            before = known.get((document.entity, document.external_id))
            doc_id = before.doc_id if before else self.ids.popleft()
            if before is None:
                writes.documents.append((doc_id, self.state.set_id, document.entity, document.external_id, owner_id))
            kept.add(doc_id)
            differs |= self._compare_one(doc_id, document, before, sent if owner_id is None else None, writes)
            owner_id = owner_id or doc_id
        for row in (root, *parts) if root else ():
            if row.doc_id not in kept and row.from_gen is not None:
                differs = True
                self.unchanged.get(row.entity, set()).discard(row.doc_id)
                (writes.undo if row.from_gen == self.gen else writes.close).append(row.doc_id)
        if root is None or root.from_gen is None:
            return
        if differs:
            self.touched.add(root.doc_id)
        elif root.doc_id not in self.touched and root.raw_hash != sent.raw_hash:
            writes.raw_hashes.append((root.doc_id, sent.raw_hash))

    def _compare_one(
        self, doc_id: int, new: Incoming, before: _Known | None, root: Sent | None, writes: _Writes
    ) -> bool:
        """Whether it differs, and so is written.

        The raw hash of a revision that stays is renewed only where its whole family stays: it would outlive a
        rejected candidate, and say that a changed file is known.
        """
        was_live = before is not None and before.from_gen is not None
        same = was_live and before is not None and before.hash == new.hash
        unchanged = self.unchanged.setdefault(new.entity, set())
        if before and same and before.state == new.state and not self._reset_again(before):
            if before.from_gen != self.gen and not self.attempt.complete:
                unchanged.add(doc_id)
            return False
        unchanged.discard(doc_id)
        if before and was_live:
            (writes.undo if before.from_gen == self.gen else writes.close).append(doc_id)
        hash_gen = before.hash_gen if before and same and before.hash_gen else self.gen
        writes.revisions.append(
            (
                doc_id,
                self.state.set_id,
                new.entity,
                self.gen,
                new.state,
                new.hash,
                hash_gen,
                root.raw_hash if root else None,
                root.modified_at if root else None,
            )
        )
        writes.bodies.append((doc_id, self.gen, new.body))
        return True

    def _reset_again(self, before: _Known) -> bool:
        """A reset writes everything anew, each document once."""
        return self.attempt.mode == "reset" and before.from_gen != self.gen

    def _take_ids(
        self, connection: Connection[Any], batch: Iterable[Sent], known: Mapping[tuple[str, str], _Known]
    ) -> None:
        """Ids for what is new in a batch, in one statement."""
        new = sum((document.entity, document.external_id) not in known for sent in batch for document in sent.documents)
        blocks = -(-(new - len(self.ids)) // ID_BLOCK)
        if blocks > 0:
            rows = connection.execute("SELECT nextval('doc_id_block') FROM generate_series(1, %s)", (blocks,))
            for (first,) in rows:
                self.ids.extend(range(first, first + ID_BLOCK))

    def _write(self, writes: _Writes) -> None:
        for table, rows in (("document", writes.documents), ("revision", writes.revisions), ("body", writes.bodies)):
            self.added[table] += len(rows)
        with self.installation.pool.connection() as connection:
            if writes.undo:
                for table in ("revision", "body"):
                    connection.execute(
                        f"DELETE FROM {table} WHERE doc_id = ANY (%s) AND from_gen = %s", (writes.undo, self.gen)
                    )
            self._close(connection, writes.close)
            if writes.raw_hashes:
                connection.execute(
                    f"""UPDATE revision r SET raw_hash = u.raw_hash
                        FROM unnest(%(ids)s::bigint[], %(hashes)s::bytea[]) u (doc_id, raw_hash)
                        WHERE r.doc_id = u.doc_id AND {live("r", "%(gen)s")}""",
                    {
                        "ids": [doc_id for doc_id, _ in writes.raw_hashes],
                        "hashes": [raw_hash for _, raw_hash in writes.raw_hashes],
                        "gen": self.gen,
                    },
                )
            if writes.documents:
                copy(
                    connection,
                    "document",
                    ("doc_id", "set_id", "entity", "external_id", "owner_id"),
                    ("int8", "int4", "text", "text", "int8"),
                    writes.documents,
                )
            if writes.revisions:
                copy(
                    connection,
                    "revision",
                    (
                        "doc_id",
                        "set_id",
                        "entity",
                        "from_gen",
                        "state",
                        "hash",
                        "hash_gen",
                        "raw_hash",
                        "source_modified_at",
                    ),
                    ("int8", "int4", "text", "int4", "text", "bytea", "int4", "bytea", "text"),
                    writes.revisions,
                )
                copy(connection, "body", ("doc_id", "from_gen", "body"), ("int8", "int4", "bytea"), writes.bodies)

    def _close(self, connection: Connection[Any], doc_ids: list[int]) -> None:
        if doc_ids:
            connection.execute(
                """UPDATE revision SET to_gen = %(gen)s
                   WHERE doc_id = ANY (%(ids)s) AND from_gen < %(gen)s AND to_gen IS NULL""",
                {"gen": self.gen, "ids": doc_ids},
            )

    def _close_unseen(self) -> None:
        """What a complete harvest did not contain is gone, with all that it owned."""
        unseen = sorted(self.unseen)
        for start in range(0, len(unseen), BATCH):
            with self.installation.pool.connection() as connection:
                roots = unseen[start : start + BATCH]
                owned = connection.execute("SELECT doc_id FROM document WHERE owner_id = ANY (%s)", (roots,))
                self._close(connection, [*roots, *(row[0] for row in owned)])

    def _restore(self) -> None:
        """What changed and changed back within this harvest did not change: its accepted revision stays."""
        parameters: dict[str, Any] = {"set": self.state.set_id, "gen": self.gen}
        with self.installation.pool.connection() as connection:
            back = connection.execute(
                """SELECT n.doc_id, n.entity FROM revision n JOIN revision o USING (doc_id)
                   WHERE n.set_id = %(set)s AND n.from_gen = %(gen)s AND o.to_gen = %(gen)s
                     AND o.hash = n.hash AND o.state = n.state""",
                parameters,
            ).fetchall()
            if not back:
                return
            parameters["ids"] = [doc_id for doc_id, _ in back]
            for table in ("revision", "body"):
                connection.execute(
                    f"DELETE FROM {table} WHERE doc_id = ANY (%(ids)s) AND from_gen = %(gen)s", parameters
                )
            connection.execute(
                "UPDATE revision SET to_gen = NULL WHERE doc_id = ANY (%(ids)s) AND to_gen = %(gen)s", parameters
            )
        for doc_id, entity in back:
            self.unchanged.setdefault(entity, set()).add(doc_id)

    def counts(self, connection: Connection[Any]) -> dict[str, dict[str, int]]:
        """Per entity: new, changed, deleted, unchanged; of the records: unreadable, notes, by state."""
        counted = generations.changes(connection, self.state.set_id, self.gen)
        for entity in self.installation.catalog.entities:
            row = counted.setdefault(entity.name, {"new": 0, "changed": 0, "deleted": 0})
            row["unchanged"] = len(self.unchanged.get(entity.name, ()))
        if self.attempt.complete:  # most are known to be unchanged by their raw bytes, and so are their files
            before = connection.execute(
                f"""SELECT entity, count(*) FROM revision r
                    WHERE set_id = %(set)s AND {live("r", "%(gen)s")} GROUP BY 1""",
                {"set": self.state.set_id, "gen": self.state.accepted_gen},
            )
            for entity, had in before:
                counted[entity]["unchanged"] = had - counted[entity]["changed"] - counted[entity]["deleted"]
        counted[self.kind.entity] |= {"unreadable": self.unreadable, "notes": self.notes, **self.inactive}
        return counted
