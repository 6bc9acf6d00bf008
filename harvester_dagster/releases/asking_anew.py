"""Records whose purge was undone: nobody here has them any more, so their source is asked for each by its id.

Undoing notes the wish in its own transaction; it stays until the source has answered, whoever asks: the command that
undid it, or the job `mend`, which a sensor asks for. Belongs here: asking, and when it is tried again. Does not belong
here: how one record is harvested (`sets/one_record.py`).
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.sets import one_record
from harvester_dagster.sets.one_record import Did
from harvester_dagster.sources.kind import UnknownRecord

PAUSE = timedelta(minutes=10)
FORGOTTEN = "removed:"
"""What the id of a record begins with whose SRN is no longer kept: nobody can ask for it."""
Progress = Callable[[str], None]


class Wish(NamedTuple):
    """A record that its source is to be asked for. `reason`: why it could not be, the last time."""

    doc_id: int
    key: str
    external_id: str
    since: datetime
    tried_at: datetime | None
    reason: str


class AskedAnew(NamedTuple):
    """What came of it: what the record does to its set, or nothing and why. `is_over`: nobody asks again."""

    wish: Wish
    did: Did | None
    reason: str
    is_over: bool


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


def wishes(connection: Connection[Any]) -> list[Wish]:
    """All of them, oldest first."""
    with connection.cursor(row_factory=class_row(Wish)) as cursor:
        return cursor.execute(
            """SELECT a.doc_id, s.key, d.external_id, a.since, a.tried_at, a.reason
               FROM asked_anew a JOIN document d USING (doc_id) JOIN harvest_set s ON s.set_id = a.set_id
               ORDER BY a.since, a.doc_id"""
        ).fetchall()


def due(installation: Installation) -> list[Wish]:
    """Those that are to be tried now."""
    now = installation.clock()
    with installation.pool.connection() as connection:
        return [one for one in wishes(connection) if one.tried_at is None or now - one.tried_at >= PAUSE]


def ask(installation: Installation, wished: Wish, progress: Progress = lambda _: None) -> AskedAnew:
    """Ask for a record, and take what comes into its set; a release shows it. What could not be done now stays to be
    asked for."""
    _note(installation, wished, wished.reason)
    try:
        came, outcome = one_record.harvest(installation, wished.key, wished.external_id, progress)
    except UnknownRecord as error:
        return _over(installation, AskedAnew(wished, None, str(error), is_over=True))
    except HarvesterError as error:
        _note(installation, wished, error.sentence)
        return AskedAnew(wished, None, str(error), is_over=False)
    if outcome.is_replaced:
        _note(installation, wished, outcome.reason)
        return AskedAnew(wished, came.did, f"it was rejected: {outcome.reason}", is_over=False)
    return _over(installation, AskedAnew(wished, came.did, "", is_over=True))


def _note(installation: Installation, wished: Wish, reason: str) -> None:
    with installation.pool.connection() as connection:
        connection.execute(
            "UPDATE asked_anew SET tried_at = %s, reason = %s WHERE doc_id = %s",
            (installation.clock(), reason.replace("\0", ""), wished.doc_id),
        )


def _over(installation: Installation, asked: AskedAnew) -> AskedAnew:
    with installation.pool.connection() as connection:
        forget(connection, asked.wish.doc_id)
    return asked
