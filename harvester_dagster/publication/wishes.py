"""Records whose purge was undone: nobody here has them any more, so their source is to be asked for each by its id.

A wish is noted in the transaction of the undoing. It ends when its record is here again, whoever brought it, when
somebody dismissed what its source sent, when its source has it not, or when people want it no more.

Belongs here: the rows, and which events of a set end them. Does not belong here: asking, and when it is tried again
(`releases/asking_anew.py`).
"""

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

FORGOTTEN = "removed:"
"""What the id of a record begins with whose SRN is no longer kept: nobody can ask for it."""


class Wish(NamedTuple):
    """A record that its source is to be asked for. `reason`: why it could not be, the last time."""

    doc_id: int
    key: str
    external_id: str
    since: datetime
    tried_at: datetime | None
    reason: str

    @property
    def srn(self) -> str:
        """Of the record."""
        return f"{self.key}:{self.external_id}"


def wish(connection: Connection[Any], doc_id: int, now: datetime) -> None:
    """Have its source be asked for a record, unless nobody knows what to ask for."""
    connection.execute(
        """INSERT INTO asked_anew (doc_id, set_id, since) SELECT doc_id, set_id, %s FROM document
           WHERE doc_id = %s AND NOT starts_with(external_id, %s) ON CONFLICT (doc_id) DO NOTHING""",
        (now, doc_id, FORGOTTEN),
    )


def forget(connection: Connection[Any], doc_id: int) -> None:
    """It is asked for no more."""
    connection.execute("DELETE FROM asked_anew WHERE doc_id = %s", (doc_id,))


def fulfil(connection: Connection[Any], wished: Wish) -> bool:
    """This wish is over, not a later one for the same record. Whether it was there still."""
    asked = (wished.doc_id, wished.since)
    return connection.execute("DELETE FROM asked_anew WHERE doc_id = %s AND since = %s", asked).rowcount > 0


def all_wishes(connection: Connection[Any]) -> list[Wish]:
    """All of them: what was never tried first, then what was tried longest ago."""
    with connection.cursor(row_factory=class_row(Wish)) as cursor:
        return cursor.execute(
            """SELECT a.doc_id, s.key, d.external_id, a.since, a.tried_at, a.reason
               FROM asked_anew a JOIN document d USING (doc_id) JOIN harvest_set s ON s.set_id = a.set_id
               ORDER BY a.tried_at NULLS FIRST, a.since, a.doc_id"""
        ).fetchall()


def claim(connection: Connection[Any], wished: Wish, now: datetime) -> bool:
    """Whether it falls to who has read this wish to ask for it now: of several, one."""
    return (
        connection.execute(
            """UPDATE asked_anew SET tried_at = %s
               WHERE doc_id = %s AND since = %s AND tried_at IS NOT DISTINCT FROM %s""",
            (now, wished.doc_id, wished.since, wished.tried_at),
        ).rowcount
        > 0
    )


def note(connection: Connection[Any], wished: Wish, now: datetime, reason: str) -> None:
    """It was tried, and why it came to nothing."""
    connection.execute(
        "UPDATE asked_anew SET tried_at = %s, reason = %s WHERE doc_id = %s AND since = %s",
        (now, reason.replace("\0", ""), wished.doc_id, wished.since),
    )


def end_those_here(connection: Connection[Any], set_id: int, gen: int) -> None:
    """What a set has at the generation that is accepted is asked for no more, in the transaction that accepts it."""
    connection.execute(
        """DELETE FROM asked_anew a USING revision r
           WHERE a.set_id = %(set)s AND r.doc_id = a.doc_id
             AND r.from_gen <= %(gen)s AND (r.to_gen IS NULL OR r.to_gen > %(gen)s)""",
        {"set": set_id, "gen": gen},
    )


def end_dismissed(connection: Connection[Any], set_id: int, external_id: str) -> None:
    """What its source sent was laid aside by somebody, who would be asked the same for ever."""
    connection.execute(
        """DELETE FROM asked_anew a USING document d
           WHERE a.set_id = %s AND d.doc_id = a.doc_id AND d.external_id = %s""",
        (set_id, external_id),
    )
