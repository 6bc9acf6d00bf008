"""What is known of a set when a harvest is compared: its accepted records by raw hash, its documents by key.

A record whose raw bytes and mapping are unchanged needs no extraction. Of one that comes more than once what comes last
holds: accepted bytes that come beside others are remembered with their place, until those others are compared.

Belongs here: what needs no extraction, what a complete harvest has not contained so far, what the store holds of some
records. Does not belong here: comparing (`compare.py`). Memory: about 0.2 KB an accepted record.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.sets.generations import live
from harvester_dagster.sets.sets import SetState

Key = tuple[str, str]
"""A document's entity and external id, which are unique in its set."""


class KnownDocument(NamedTuple):
    """A document of the store with its revision in the candidate; none is live there: nothing but its ids."""

    doc_id: int
    entity: str
    external_id: str
    owner_id: int | None
    from_gen: int | None = None
    state: str | None = None
    hash: bytes | None = None
    raw_hash: bytes | None = None
    hash_gen: int | None = None


class AcceptedRecords:
    """The accepted records of a set while a harvest goes through them; a delta needs to know none.

    `raw_hashes`: of each accepted record (by the id of its document); `skips`: they spare extraction.
    `most_repeated`: accepted bytes that are remembered beside others; more are not (`is_full`).
    """

    def __init__(
        self,
        mapping_version: str,
        raw_hashes: Mapping[int, bytes | None] | None = None,
        skips: bool = True,
        most_repeated: int = 20_000,
    ) -> None:
        accepted = raw_hashes or {}
        self.unseen = set(accepted)
        """Accepted records that the harvest has not contained so far."""
        self._by_raw_hash = {value: doc_id for doc_id, value in accepted.items() if value is not None and skips}
        self._repeated: dict[int, int] = {}
        self._most_repeated = most_repeated
        self._hasher = hashlib.sha256(mapping_version.encode())

    @property
    def is_full(self) -> bool:
        """No more can be remembered: what was extracted is to be compared now."""
        return len(self._repeated) >= self._most_repeated

    def raw_hash(self, raw: bytes) -> bytes:
        """Covers the mapping version: equal means that extraction would say the same."""
        hasher = self._hasher.copy()
        hasher.update(raw)
        return hasher.digest()[:16]

    def unknown(self, raw_hashes: Sequence[bytes], first: int, pending: bool) -> list[int]:
        """Which records of a page must be extracted. `first`: the place of its first one in the harvest; `pending`:
        records before it are not compared yet."""
        if not self._by_raw_hash:
            return list(range(len(raw_hashes)))
        known = [self._by_raw_hash.get(raw_hash) for raw_hash in raw_hashes]
        self.unseen.difference_update(known)
        wanted = [index for index, doc_id in enumerate(known) if doc_id is None]
        if pending or wanted:  # one of these may say otherwise of the same document, before or after
            self._repeated.update((doc_id, first + i) for i, doc_id in enumerate(known) if doc_id is not None)
        return wanted

    def see(self, doc_ids: Iterable[int]) -> None:
        """The harvest contains these, whatever it says of them."""
        self.unseen.difference_update(doc_ids)

    def contradict(self, root: KnownDocument, number: int) -> bool:
        """The harvest has other bytes of a known record at this place. Whether they count: not when the accepted ones
        came once more after them; else these no longer say that nothing changed."""
        self.unseen.discard(root.doc_id)
        if self._repeated.get(root.doc_id, -1) > number:
            return False
        self._by_raw_hash.pop(root.raw_hash or b"", None)
        return True

    def forget(self, before: int) -> None:
        """All records before this place are compared: what repeats concerns those after it."""
        self._repeated = {doc_id: number for doc_id, number in self._repeated.items() if number >= before}


def has_documents(connection: Connection[Any], set_id: int) -> bool:
    """Whether the set has ever had a document."""
    row = connection.execute("SELECT EXISTS (SELECT FROM document WHERE set_id = %s)", (set_id,)).fetchone()
    return row == (True,)


def raw_hashes(connection: Connection[Any], state: SetState, entity: str) -> dict[int, bytes | None]:
    """Of the accepted records, by the id of their document."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(
            f"""SELECT doc_id, raw_hash FROM revision r
                WHERE set_id = %(set)s AND entity = %(entity)s AND {live("r", "%(gen)s")}""",
            {"set": state.set_id, "entity": entity, "gen": state.accepted_gen},
        )
        return dict(cursor.fetchall())


def look_up(
    connection: Connection[Any], state: SetState, entity: str, external_ids: Collection[str]
) -> dict[Key, KnownDocument]:
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
            {"set": state.set_id, "entity": entity, "ids": list(external_ids), "gen": state.candidate_gen},
        )
        return {(row[1], row[2]): KnownDocument._make(row) for row in cursor.fetchall()}


def ids_of(connection: Connection[Any], set_id: int, entity: str, external_ids: Collection[str]) -> list[int]:
    """The ids of the documents of these records, of those that have any."""
    rows = connection.execute(
        "SELECT doc_id FROM document WHERE set_id = %s AND entity = %s AND external_id = ANY (%s)",
        (set_id, entity, list(external_ids)),
    )
    return [doc_id for (doc_id,) in rows]
