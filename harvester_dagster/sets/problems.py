"""What was odd about a harvest: notes on its list as a whole, which belong to no record, and those on records.

Belongs here: writing and reading them. Those of records are written with their records (`tally.py`).
"""

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from harvester_dagster.sets.attempts import Attempt
from harvester_dagster.sets.locked_set import LockedSet

OF_LIST = "kind = 'note' AND external_id IS NULL"
"""What tells such a row of `problem`."""


def note_list(connection: Connection[Any], locked: LockedSet, attempt: Attempt, notes: Sequence[str]) -> None:
    """Write the notes of the list of a harvest of the set, in place of any that it had."""
    connection.execute(f"DELETE FROM problem WHERE attempt_id = %s AND {OF_LIST}", (attempt.attempt_id,))
    connection.execute(
        """INSERT INTO problem (attempt_id, kind, reason) SELECT attempt_id, 'note', unnest(%s::text[]) FROM attempt
           WHERE attempt_id = %s AND set_id = %s""",
        (list(notes), attempt.attempt_id, locked.set_id),
    )


def of_list(connection: Connection[Any], attempt_id: int) -> list[str]:
    """The notes of a harvest's list."""
    return of_lists(connection, [attempt_id]).get(attempt_id, [])


def of_lists(connection: Connection[Any], attempt_ids: Sequence[int]) -> dict[int, list[str]]:
    """The notes of some harvests' lists, by attempt; none where nothing was odd."""
    rows = connection.execute(
        f"""SELECT attempt_id, array_agg(reason ORDER BY reason) FROM problem
            WHERE attempt_id = ANY (%s) AND {OF_LIST} GROUP BY attempt_id""",
        (list(attempt_ids),),
    )
    return dict(rows.fetchall())


def of_attempt(connection: Connection[Any], attempt_id: int, most: int) -> list[tuple[str | None, str, str]]:
    """What was odd about records and the list: the id of the record, the kind, the reason."""
    return connection.execute(
        """SELECT external_id, kind, reason FROM problem WHERE attempt_id = %s
           ORDER BY kind DESC, external_id NULLS FIRST, reason LIMIT %s""",
        (attempt_id, most),
    ).fetchall()


def of_attempts(
    connection: Connection[Any], attempt_ids: Sequence[int], most: int
) -> dict[int, list[tuple[str | None, str]]]:
    """Records of some harvests that were unreadable or odd, at most so many of each: the id, where there is one, and
    what was odd."""
    found: dict[int, list[tuple[str | None, str]]] = {}
    for attempt_id, external_id, reason in connection.execute(
        f"""SELECT a.id, p.external_id, p.reason FROM unnest(%s::bigint[]) AS a (id) CROSS JOIN LATERAL (
                SELECT external_id, reason FROM problem WHERE attempt_id = a.id AND NOT ({OF_LIST})
                ORDER BY kind DESC LIMIT %s) p""",
        (list(attempt_ids), most),
    ):
        found.setdefault(attempt_id, []).append((external_id, reason))
    return found


def counted(connection: Connection[Any], attempt_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """How many records with problems of each kind some harvests had, by attempt."""
    found: dict[int, dict[str, int]] = {}
    for attempt_id, kind, count in connection.execute(
        f"""SELECT attempt_id, kind, count(*) FROM problem WHERE attempt_id = ANY (%s) AND NOT ({OF_LIST})
            GROUP BY attempt_id, kind""",
        (list(attempt_ids),),
    ):
        found.setdefault(attempt_id, {})[kind] = count
    return found
