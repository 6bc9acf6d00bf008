"""Records against what is known of them: what must be written for a candidate to say what the source said.

Pure: no connection, no clock. A document whose properties hash and state are unchanged is not written, a part that its
record does not name any more is closed, a record without documents is deleted with all that it owns.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from harvester_dagster.sets.extract import Incoming, SentRecord
from harvester_dagster.sets.known import Key, KnownDocument


class Terms(NamedTuple):
    """What a harvest is compared under."""

    set_id: int
    gen: int
    """The candidate's generation."""
    entity: str
    """What a record is; the other documents that come with it are its parts."""
    anew: bool = False
    """Every document is written once, unchanged or not."""


class Writes(NamedTuple):
    """What one batch changes; each list goes out as one statement, as rows of its table or as document ids."""

    documents: list[tuple[int, int, str, str, int | None]]
    revisions: list[tuple[int, int, str, int, str, bytes, int, bytes | None, str | None]]
    bodies: list[tuple[int, int, bytes]]
    close: list[int]
    """Accepted revisions that end with the candidate."""
    undo: list[int]
    """Revisions of the candidate that an earlier batch of the harvest wrote."""
    raw_hashes: list[tuple[int, bytes | None, str | None]]
    """Revisions that stay, of records that came with other bytes: the hash of these, none where parts differ, and the
    source's date in them."""


class Compared(NamedTuple):
    """What comparing a batch came to."""

    writes: Writes
    unchanged: dict[int, str]
    """Documents whose accepted revision stays, with their entity."""
    touched: set[int]
    """Records, by the id of their document, of which something that was known differs."""


def new_documents(records: Iterable[SentRecord], known: Mapping[Key, KnownDocument]) -> int:
    """How many ids `compared` takes."""
    return sum((document.entity, document.external_id) not in known for sent in records for document in sent.documents)


def compared(
    records: Iterable[SentRecord],
    known: Mapping[Key, KnownDocument],
    terms: Terms,
    ids: deque[int],
    touched: Set[int] = frozenset(),
) -> Compared:
    """Compare a batch in which no record comes twice. `known`: the documents of its records and of all that they own;
    `ids`: taken from the left for what is new; `touched`: what earlier batches of the harvest touched."""
    batch = _Batch(known, terms, ids, touched)
    for sent in records:
        batch.compare(sent)
    return batch.found


class _Batch:
    def __init__(self, known: Mapping[Key, KnownDocument], terms: Terms, ids: deque[int], touched: Set[int]) -> None:
        self.known, self.terms, self.ids, self.touched = known, terms, ids, touched
        self.found = Compared(Writes([], [], [], [], [], []), {}, set())
        self.parts: dict[int, list[KnownDocument]] = {}
        for row in known.values():
            if row.owner_id is not None:
                self.parts.setdefault(row.owner_id, []).append(row)

    def compare(self, sent: SentRecord) -> None:
        """A record's documents against what is known of them; parts that it does not name are closed."""
        writes = self.found.writes
        root = self.known.get((self.terms.entity, sent.external_id))
        kept: set[int] = set()
        owner_id: int | None = None
        written: set[int] = set()
        for document in sent.documents:
            before = self.known.get((document.entity, document.external_id))
            doc_id = before.doc_id if before else self.ids.popleft()
            if before is None:
                new = (doc_id, self.terms.set_id, document.entity, document.external_id, owner_id)
                writes.documents.append(new)
            kept.add(doc_id)
            if self._differs(doc_id, document, before, sent if owner_id is None else None):
                written.add(doc_id)
            owner_id = owner_id or doc_id
        gone = [row for row in self._family(root) if row.doc_id not in kept and row.from_gen is not None]
        for row in gone:
            self._end(row)
        if root is None or root.from_gen is None:
            return
        if written or gone:
            self.found.touched.add(root.doc_id)
        if root.doc_id in kept - written:
            self._note_bytes(root, sent)

    def _note_bytes(self, root: KnownDocument, sent: SentRecord) -> None:
        """The raw hash of a revision that stays speaks for its whole family. An accepted one outlives a candidate that
        is rejected: it gets these bytes' only where the whole family stays, else none, for it would say of the bytes of
        before that they are what is live."""
        differs = root.doc_id in self.touched or root.doc_id in self.found.touched
        speaks = None if differs and root.from_gen != self.terms.gen else sent.raw_hash
        if root.raw_hash != speaks or speaks is None:
            self.found.writes.raw_hashes.append((root.doc_id, speaks, sent.modified_at))

    def _family(self, root: KnownDocument | None) -> Sequence[KnownDocument]:
        return (root, *self.parts.get(root.doc_id, ())) if root else ()

    def _differs(self, doc_id: int, new: Incoming, before: KnownDocument | None, root: SentRecord | None) -> bool:
        """Whether a document differs, and so is written."""
        gen, writes = self.terms.gen, self.found.writes
        is_live = before is not None and before.from_gen is not None
        same = is_live and before is not None and before.hash == new.hash
        if before and same and before.state == new.state and not (self.terms.anew and before.from_gen != gen):
            if before.from_gen != gen:
                self.found.unchanged[doc_id] = new.entity
            return False
        if before and is_live:
            self._end(before)
        writes.revisions.append(
            (
                doc_id,
                self.terms.set_id,
                new.entity,
                gen,
                new.state,
                new.hash,
                before.hash_gen if before and same and before.hash_gen else gen,
                root.raw_hash if root else None,
                root.modified_at if root else None,
            )
        )
        writes.bodies.append((doc_id, gen, new.body))
        return True

    def _end(self, row: KnownDocument) -> None:
        writes = self.found.writes
        (writes.undo if row.from_gen == self.terms.gen else writes.close).append(row.doc_id)
