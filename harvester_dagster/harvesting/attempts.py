"""Attempts: one row for each try to move a set on, from opened to accepted, rejected or failed.

Belongs here: which window to ask for, opening an attempt, finding the one that a step belongs to. Fetching,
staging and judging it have modules of their own.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from harvester_dagster.config import SetSettings
from harvester_dagster.harvesting.sets import SetState

Mode = Literal["full", "delta", "reset", "derive", "withdraw"]
OPEN = ("open", "fetched", "staged")
NOT_FAILED = (*OPEN, "accepted", "rejected", "superseded", "dismissed")
"""A harvest that failed before it was staged took no candidate's place."""


class NotOpen(Exception):
    """The attempt that a step belongs to is no longer the set's open one."""


class Attempt(NamedTuple):
    attempt_id: int
    set_id: int
    night_id: int | None
    run_id: str | None
    mode: Mode
    why: str
    since: datetime | None
    started_at: datetime
    mapping_version: str
    base_gen: int
    state: str
    fetched_at: datetime | None
    ended_at: datetime | None
    pages: int
    records: int
    outputs_made: bool
    accept_at: datetime | None
    counts: Mapping[str, Mapping[str, int]] | None
    verdict: Mapping[str, Any] | None
    reason: str
    generation: int | None

    @property
    def complete(self) -> bool:
        """Asked for everything: what it does not contain is gone."""
        return self.mode in ("full", "reset")


class Window(NamedTuple):
    mode: Mode
    since: datetime | None
    why: str


def window(
    state: SetState, settings: SetSettings, mapping_version: str, now: datetime, asked: Mode | None = None
) -> Window:
    """Which part of a set to ask its source for."""
    if asked in ("full", "reset"):
        return Window(asked, None, "asked for")
    if state.watermark is None:
        return Window("full", None, "the first harvest" if state.accepted_gen == 0 else "the set came back")
    if state.mapping_version != mapping_version:
        return Window("full", None, "the mapping changed")
    if settings.deletes == "no":
        return Window("full", None, "the source reports no deletes")
    if state.refreshed_at is None or now - state.refreshed_at >= timedelta(days=settings.purge_after_days):
        return Window("full", None, f"a purge is due every {settings.purge_after_days} days")
    return Window("delta", state.watermark - settings.overlap, "since the last harvest")


_COLUMNS = ", ".join(Attempt._fields)


def open_attempt(
    connection: Connection[Any],
    state: SetState,
    asked: Window,
    *,
    now: datetime,
    mapping_version: str,
    run_id: str | None = None,
    night_id: int | None = None,
) -> Attempt:
    """Open the set's attempt; one that another run left open is closed as interrupted (the caller has the lock)."""
    connection.execute(
        """UPDATE attempt SET state = 'failed', ended_at = %s, reason = 'interrupted: its run was cut'
           WHERE set_id = %s AND state = ANY (%s)""",
        (now, state.set_id, list(OPEN)),
    )
    with connection.cursor(row_factory=class_row(Attempt)) as cursor:
        row = cursor.execute(
            f"""INSERT INTO attempt (set_id, night_id, run_id, mode, why, since, started_at, mapping_version, base_gen)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}""",
            (
                state.set_id,
                night_id,
                run_id,
                asked.mode,
                asked.why,
                asked.since,
                now,
                mapping_version,
                state.accepted_gen,
            ),
        ).fetchone()
    assert row is not None
    return row


def of_run(connection: Connection[Any], state: SetState, run_id: str | None) -> Attempt | None:
    """The open attempt that a step of this run works on; None: the set's accepted state.

    Raises NotOpen when the run opened an attempt and another one took its place.
    """
    own = last(connection, state.set_id, run_id=run_id) if run_id else None
    current = last(connection, state.set_id, states=OPEN)
    if own is None or (current and current.attempt_id == own.attempt_id) or own.state not in (*OPEN, "failed"):
        return current
    if own.state == "failed" and not own.reason.startswith("interrupted"):
        return None
    by = f"attempt {current.attempt_id} took its place" if current else "its candidate is gone"
    raise NotOpen(f"{state.key}: attempt {own.attempt_id} of this run is no longer open ({by}); run the set again")


def last(
    connection: Connection[Any],
    set_id: int,
    *,
    states: tuple[str, ...] | None = None,
    run_id: str | None = None,
    harvests_only: bool = False,
) -> Attempt | None:
    """The newest attempt of a set that fits."""
    with connection.cursor(row_factory=class_row(Attempt)) as cursor:
        return cursor.execute(
            f"""SELECT {_COLUMNS} FROM attempt
                WHERE set_id = %(set)s AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
                  AND (%(run)s::text IS NULL OR run_id = %(run)s)
                  AND (NOT %(harvests)s OR mode IN ('full', 'delta', 'reset'))
                ORDER BY attempt_id DESC LIMIT 1""",
            {"set": set_id, "states": list(states) if states else None, "run": run_id, "harvests": harvests_only},
        ).fetchone()


def by_id(connection: Connection[Any], attempt_id: int) -> Attempt:
    with connection.cursor(row_factory=class_row(Attempt)) as cursor:
        row = cursor.execute(f"SELECT {_COLUMNS} FROM attempt WHERE attempt_id = %s", (attempt_id,)).fetchone()
    assert row is not None, attempt_id
    return row


def fail(connection: Connection[Any], attempt: Attempt, reason: str, now: datetime) -> None:
    """The attempt came to nothing: the set stays where it is, its watermark too."""
    connection.execute(
        "UPDATE attempt SET state = 'failed', reason = %s, ended_at = %s WHERE attempt_id = %s AND state = ANY (%s)",
        (reason, now, attempt.attempt_id, list(OPEN)),
    )
