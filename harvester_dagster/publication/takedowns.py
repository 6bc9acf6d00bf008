"""What is taken down: documents that nobody is shown any more, in whatever version, whatever their source sends.

A row is of one record; what it owns goes with it. A purge removes what is kept of it, too: then a keyed hash of the SRN
is what knows the record again when its source sends it.

Belongs here: the rows, and the hash. Does not belong here: withholding outputs (`sets/withheld.py`), the order of a
takedown and of a purge (`releases/taking_down.py`), how consumers are told (`log.py`).
"""

import hashlib
import hmac
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from harvester_dagster.config import Store
from harvester_dagster.failures import HarvesterError
from harvester_dagster.publication import audit
from harvester_dagster.store.kept_keys import kept_key

Purge = Literal["none", "asked", "done"]

ACT = "takedown"
UNDO = f"undo {ACT}"
A_DAY = 20
"""Takedowns that need no second word: a mistake in a script must not empty a platform."""
LONGEST_REASON = 1_000


class NotTakenDown(HarvesterError):
    """What was asked for cannot be taken down, or brought back; the message says why."""


class ManyTakedowns(NotTakenDown):
    """So many were taken down within a day that it must be said twice."""


class Takedown(NamedTuple):
    """One record that is taken down, by whom, when and why. `purge`: none; asked, and not finished; done."""

    doc_id: int
    srn: str
    entity: str
    at: datetime
    actor: str
    reason: str
    purge: Purge


_SELECT = """
SELECT t.doc_id, s.key || ':' || d.external_id AS srn, d.entity, t.at, t.actor, t.reason, t.purge
FROM takedown t JOIN document d USING (doc_id) JOIN harvest_set s ON s.set_id = t.set_id
"""


def find(connection: Connection[Any], doc_id: int) -> Takedown | None:
    """The takedown of a record; None: it is not taken down."""
    with connection.cursor(row_factory=class_row(Takedown)) as cursor:
        return cursor.execute(f"{_SELECT} WHERE t.doc_id = %s", (doc_id,)).fetchone()


def listed(connection: Connection[Any], purge: Purge | None = None) -> list[Takedown]:
    """All that is taken down now, oldest first; those whose purge stands so, where that is given."""
    with connection.cursor(row_factory=class_row(Takedown)) as cursor:
        return cursor.execute(
            f"{_SELECT} WHERE %(purge)s::text IS NULL OR t.purge = %(purge)s ORDER BY t.at, t.doc_id", {"purge": purge}
        ).fetchall()


def newest(connection: Connection[Any], most: int, skipped: int = 0) -> list[Takedown]:
    """What is taken down now, newest first: so many behind those that are skipped."""
    with connection.cursor(row_factory=class_row(Takedown)) as cursor:
        return cursor.execute(
            f"{_SELECT} ORDER BY t.at DESC, t.doc_id DESC LIMIT %s OFFSET %s", (most, skipped)
        ).fetchall()


def count(connection: Connection[Any]) -> int:
    """How many are taken down now."""
    row = connection.execute("SELECT count(*) FROM takedown").fetchone()
    return row[0] if row else 0


def count_of_a_day(connection: Connection[Any], now: datetime, but: Collection[str] = ()) -> int:
    """How many documents were taken down or purged within a day before now, also those that came back. `but`: not
    these SRNs."""
    row = connection.execute(
        """SELECT count(DISTINCT subject) FROM audit
           WHERE act = %s AND outcome = 'done' AND at > %s AND subject <> ALL (%s)""",
        (ACT, now - timedelta(days=1), list(but)),
    ).fetchone()
    return row[0] if row else 0


def check_number(connection: Connection[Any], srns: Collection[str], now: datetime, *, confirmed: bool) -> None:
    """Raises ManyTakedowns where it must be said twice: with so many others of a day these are too many."""
    others = count_of_a_day(connection, now, srns)
    if srns and others + len(srns) > A_DAY and not confirmed:
        said = f"{others} other documents were taken down or purged within a day; more than {A_DAY} must be said twice"
        raise ManyTakedowns(said, "say so once more: --confirm")


def is_none(reason: str) -> bool:
    """Whether it says nothing: dots that stand for one, for instance."""
    return not any(letter.isalnum() for letter in reason)


def checked_reason(reason: str) -> str:
    """A reason as it is kept. Raises NotTakenDown."""
    reason = " ".join(reason.replace("\0", " ").split())
    if is_none(reason) or len(reason) > LONGEST_REASON:
        raise NotTakenDown(
            "a takedown has a reason", f"a few words, such as a case's number; at most {LONGEST_REASON} characters"
        )
    return reason


def put(
    connection: Connection[Any], doc_id: int, set_id: int, reason: str, now: datetime, mark: bytes | None = None
) -> None:
    """Take a record down; one that is keeps its first words. `mark`: purge it, too, or once more with today's key."""
    connection.execute(
        """INSERT INTO takedown (doc_id, set_id, at, actor, reason, purge, mark)
           VALUES (%(doc)s, %(set)s, %(now)s, %(actor)s, %(reason)s, %(purge)s, %(mark)s)
           ON CONFLICT (doc_id) DO UPDATE SET purge = 'asked', mark = excluded.mark
           WHERE excluded.mark IS NOT NULL""",
        {
            "doc": doc_id,
            "set": set_id,
            "now": now,
            "actor": audit.doer().name,
            "reason": reason,
            "purge": "asked" if mark else "none",
            "mark": mark,
        },
    )


def lift(connection: Connection[Any], doc_id: int) -> None:
    """A record may be shown again."""
    connection.execute("DELETE FROM takedown WHERE doc_id = %s", (doc_id,))


def is_purged(connection: Connection[Any], doc_id: int) -> None:
    """Nothing is left of it but its row."""
    connection.execute("UPDATE takedown SET purge = 'done' WHERE doc_id = %s AND purge = 'asked'", (doc_id,))


def among(connection: Connection[Any], doc_ids: Sequence[int]) -> set[int]:
    """Those of these records that are taken down."""
    rows = connection.execute("SELECT doc_id FROM takedown WHERE doc_id = ANY (%s)", (list(doc_ids),))
    return {doc_id for (doc_id,) in rows}


def mark_of(store: Store, srn: str) -> bytes:
    """The keyed hash by which a purged record is known again."""
    return Marking(store).mark(srn)


class Marking:
    """Makes marks, with the key of this installation."""

    def __init__(self, store: Store) -> None:
        self._key = kept_key("takedown", store.takedown_key_env).encode()

    def mark(self, srn: str) -> bytes:
        """Of a record by its SRN."""
        return hmac.digest(self._key, srn.encode("utf-8", "surrogatepass"), hashlib.sha256)


def marks(connection: Connection[Any], set_id: int) -> frozenset[bytes]:
    """Of what was purged of a set, or is to be."""
    rows = connection.execute("SELECT mark FROM takedown WHERE set_id = %s AND mark IS NOT NULL", (set_id,))
    return frozenset(bytes(mark) for (mark,) in rows)
