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
from harvester_dagster.failures import HarvesterError
from harvester_dagster.sets.locked_set import LockedSet
from harvester_dagster.sets.sets import SetState

Mode = Literal["full", "delta", "reset", "remap", "record", "reconcile", "push", "derive", "withdraw"]
HARVESTS: tuple[Mode, ...] = ("full", "delta", "reset")
"""What asked the source; when accepted, the set's watermark moves."""
MENDING: tuple[Mode, ...] = ("record", "reconcile")
"""What asked the source for some records by their ids; no watermark moves."""
BY_DAY: tuple[Mode, ...] = ("derive", "push", *MENDING)
"""What came of these is not told as what a set's harvest came to, unless it was rejected."""
PROPOSALS: tuple[Mode, ...] = (*HARVESTS, "remap", *MENDING)
"""What extracted records; rejected, it waits for somebody to accept it after all."""
GOES_ON = timedelta(days=2)
"""So long after its beginning a list that was cut is gone on with. Later its source may have become another."""
OPEN = ("open", "fetched", "staged")
NOT_FAILED = (*OPEN, "accepted", "rejected", "superseded", "dismissed")
"""A harvest that failed before it was staged took no candidate's place."""
BASE = """
SELECT max(b.attempt_id) FROM attempt b
WHERE b.set_id = {set_id} AND b.state = 'accepted' AND b.mode IN ('full', 'reset')
"""
"""The last accepted harvest of a set (a parameter or a column) that asked for everything."""


class NotOpen(HarvesterError):
    """The attempt that a step belongs to is no longer the set's open one."""


class Attempt(NamedTuple):
    """One row of `attempt`: what was asked, how far it came, and its verdict."""

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
    replays: bool
    """The stored pages that cover its set come before its own."""
    asked: str
    """What was asked of whom, as a digest: only the same is gone on with."""
    asked_at: datetime | None
    continues: int | None
    """The attempt that was cut in the middle of this one's list, and began it at `asked_at`."""
    is_cut: bool
    """It failed in the middle of its list, which may be gone on with."""
    is_short: bool
    """It failed for nothing but the size that its list announced."""
    report: Mapping[str, Any] | None
    """What a reconciliation found."""
    rejected_at: datetime | None
    """First; it may have been accepted by hand since."""
    is_stopped: bool
    """It failed because somebody stopped its night."""

    @property
    def watermark(self) -> datetime:
        """When its list was asked for first: what changes from then on may be missing of it."""
        return self.asked_at or self.started_at

    @property
    def asked_for_all(self) -> bool:
        """Whether its source was asked for everything."""
        return self.mode in ("full", "reset")

    @property
    def complete(self) -> bool:
        """Its pages hold everything: what they do not contain is gone."""
        return self.asked_for_all or self.replays


class Window(NamedTuple):
    """What to ask a source for: since when, in which mode, and why, in a few words for people."""

    mode: Mode
    since: datetime | None
    why: str
    replays: bool = False


_RECORD, _ASKED = "the record ", " was asked for"


def window_of_record(external_id: str) -> Window:
    """One record is asked for by its id."""
    return Window("record", None, f"{_RECORD}{external_id}{_ASKED}")


def record_of(attempt: Attempt) -> str | None:
    """The id of the record that an attempt asked for; None: it asked for others."""
    return attempt.why.removeprefix(_RECORD).removesuffix(_ASKED) if attempt.mode == "record" else None


def window(
    state: SetState,
    settings: SetSettings,
    mapping_version: str,
    now: datetime,
    asked: Mode | None = None,
    *,
    covered: bool = False,
) -> Window:
    """Which part of a set to ask its source for. `covered`: its stored pages hold all of it, so that a changed mapping
    needs no more than what changed since."""
    if asked in ("full", "reset"):
        return Window(asked, None, "asked for")
    if state.watermark is None:
        return Window("full", None, "the first harvest" if state.accepted_gen == 0 else "the set came back")
    remapped = state.mapping_version != mapping_version
    if remapped and not covered:
        return Window("full", None, "the mapping changed")
    if settings.deletes == "no":
        return Window("full", None, "the source reports no deletes")
    if state.refreshed_at is None or now - state.refreshed_at >= timedelta(days=settings.purge_after_days):
        return Window("full", None, f"a purge is due every {settings.purge_after_days} days")
    why = "since the last harvest"
    if remapped:
        why += "; the mapping changed, so stored pages are read anew"
    return Window("delta", state.watermark - settings.overlap, why, replays=remapped)


_COLUMNS = ", ".join(Attempt._fields)


def open_attempt(
    connection: Connection[Any],
    locked: LockedSet,
    asked: Window,
    *,
    mapping_version: str,
    run_id: str | None = None,
    night_id: int | None = None,
    of_whom: str = "",
) -> Attempt:
    """Open the set's attempt; one that another run left open is closed as interrupted. A harvest (`of_whom`: what it
    asks of whom) takes over the pages of one that asked the same and was cut."""
    now = locked.installation.clock()
    connection.execute(
        """UPDATE attempt SET state = 'failed', ended_at = %s, reason = 'interrupted: its run was cut',
               is_cut = state = 'open' AND mode = ANY (%s)
           WHERE set_id = %s AND state = ANY (%s)""",
        (now, [*HARVESTS, "reconcile"], locked.set_id, list(OPEN)),
    )
    cut = _to_go_on_with(connection, locked, asked, of_whom, now)
    why = f"{asked.why}; goes on where attempt {cut.attempt_id} was cut" if cut else asked.why
    with connection.cursor(row_factory=class_row(Attempt)) as cursor:
        row = cursor.execute(
            f"""INSERT INTO attempt (set_id, night_id, run_id, mode, why, since, started_at, mapping_version, base_gen,
                    replays, asked, asked_at, continues)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}""",
            (
                locked.set_id,
                night_id,
                run_id,
                asked.mode,
                why,
                asked.since,
                now,
                mapping_version,
                locked.state.accepted_gen,
                asked.replays,
                of_whom,
                cut.watermark if cut else None,
                cut.attempt_id if cut else None,
            ),
        ).fetchone()
    assert row is not None
    if cut:
        connection.execute(
            "UPDATE page_bundle SET attempt_id = %s WHERE attempt_id = %s", (row.attempt_id, cut.attempt_id)
        )
    return row


def _to_go_on_with(
    connection: Connection[Any], locked: LockedSet, asked: Window, of_whom: str, now: datetime
) -> Attempt | None:
    """The set's newest harvest, if it was cut not long ago, asked the same and left pages. A reconciliation goes on
    with one of its own, as long as what it is compared with has not moved."""
    newest = last(connection, locked.set_id, modes=HARVESTS if asked.mode in HARVESTS else (asked.mode,))
    if newest is None or not newest.is_cut or not timedelta() <= now - newest.watermark <= GOES_ON:
        return None
    if asked.mode == "reconcile" and newest.base_gen != locked.state.accepted_gen:
        return None
    if (newest.mode, newest.since, newest.replays, newest.asked) != (asked.mode, asked.since, asked.replays, of_whom):
        return None
    pages = connection.execute("SELECT FROM page_bundle WHERE attempt_id = %s LIMIT 1", (newest.attempt_id,))
    return newest if pages.rowcount else None


def fetched(
    connection: Connection[Any],
    locked: LockedSet,
    asked: Window,
    mapping_version: str,
    run_id: str | None,
    night_id: int | None,
    of_whom: str,
) -> Attempt | None:
    """The set's open attempt, now of this run, where it has all that is asked for, and was opened by the same run or in
    the same night: it was cut between that and its next step."""
    found = last(connection, locked.set_id, states=OPEN)
    if found is None or found.state != "fetched" or found.mode not in HARVESTS:
        return None
    is_own = (run_id is not None and found.run_id == run_id) or (night_id is not None and found.night_id == night_id)
    wanted = (asked.mode, asked.since, asked.replays, mapping_version, locked.state.accepted_gen, of_whom)
    has = (found.mode, found.since, found.replays, found.mapping_version, found.base_gen, found.asked)
    if not is_own or has != wanted:
        return None
    connection.execute("UPDATE attempt SET run_id = %s WHERE attempt_id = %s", (run_id, found.attempt_id))
    return found._replace(run_id=run_id)


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
    raise NotOpen(f"{state.key}: attempt {own.attempt_id} of this run is no longer open ({by})", "run the set again")


def last(
    connection: Connection[Any],
    set_id: int,
    *,
    states: tuple[str, ...] | None = None,
    run_id: str | None = None,
    modes: tuple[Mode, ...] | None = None,
) -> Attempt | None:
    """The newest attempt of a set that fits."""
    with connection.cursor(row_factory=class_row(Attempt)) as cursor:
        return cursor.execute(
            f"""SELECT {_COLUMNS} FROM attempt
                WHERE set_id = %(set)s AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
                  AND (%(run)s::text IS NULL OR run_id = %(run)s)
                  AND (%(modes)s::text[] IS NULL OR mode = ANY (%(modes)s))
                ORDER BY attempt_id DESC LIMIT 1""",
            {
                "set": set_id,
                "states": list(states) if states else None,
                "run": run_id,
                "modes": list(modes) if modes else None,
            },
        ).fetchone()


def newest_harvests(connection: Connection[Any]) -> dict[int, Attempt]:
    """The newest harvest of every set that has any, by the set's id."""
    named = ", ".join(f"a.{name}" for name in Attempt._fields)
    with connection.cursor(row_factory=class_row(Attempt)) as cursor:
        rows = cursor.execute(
            f"""SELECT {named} FROM harvest_set s CROSS JOIN LATERAL (
                    SELECT * FROM attempt a WHERE a.set_id = s.set_id AND a.mode = ANY (%s)
                    ORDER BY a.attempt_id DESC LIMIT 1) a""",
            (list(HARVESTS),),
        ).fetchall()
    return {row.set_id: row for row in rows}


def waiting(connection: Connection[Any], set_id: int | None = None) -> dict[int, Attempt]:
    """The rejected candidates that can still be accepted, of one set or of all, by the set's id: of each the newest
    that proposed something, whatever its mode, as long as nothing was accepted since but work of the day and pushes."""
    named = ", ".join(f"a.{name}" for name in Attempt._fields)
    with connection.cursor(row_factory=class_row(Attempt)) as cursor:
        rows = cursor.execute(
            f"""SELECT {named} FROM harvest_set s CROSS JOIN LATERAL (
                    SELECT * FROM attempt a
                    WHERE a.set_id = s.set_id AND a.state = ANY (%(states)s) AND a.mode = ANY (%(modes)s)
                    ORDER BY a.attempt_id DESC LIMIT 1) a
                WHERE (%(set)s::int IS NULL OR s.set_id = %(set)s) AND a.state = 'rejected' AND NOT EXISTS (
                    SELECT FROM generation g JOIN attempt b USING (attempt_id)
                    WHERE g.set_id = a.set_id AND g.gen > a.base_gen AND b.mode NOT IN ('derive', 'push'))""",
            {"states": list(NOT_FAILED), "modes": list(PROPOSALS), "set": set_id},
        ).fetchall()
    return {row.set_id: row for row in rows}


def last_ended(connection: Connection[Any]) -> datetime | None:
    """When an attempt of any set ended last; pushes, of which there are many, aside."""
    row = connection.execute("SELECT max(ended_at) FROM attempt WHERE mode <> 'push'").fetchone()
    return row[0] if row else None


def going_on(connection: Connection[Any], set_id: int) -> Attempt | None:
    """A harvest or replay of the set that was begun and has not come to its end; work of the day is none."""
    found = last(connection, set_id, states=OPEN)
    return found if found is not None and found.mode not in BY_DAY else None


def covering(connection: Connection[Any], set_id: int, before: int | None = None) -> list[Attempt]:
    """The accepted harvests (before that attempt) whose pages, in this order, hold all of a set: the last one that
    asked for everything, and every one after it. In the order in which they were accepted: a candidate that somebody
    accepted later has won over what was pushed meanwhile, or is followed by what won over it."""
    with connection.cursor(row_factory=class_row(Attempt)) as cursor:
        return cursor.execute(
            f"""SELECT {_COLUMNS} FROM attempt
                WHERE set_id = %(set)s AND state = 'accepted' AND mode = ANY (%(modes)s)
                  AND attempt_id >= ({BASE.format(set_id="%(set)s")})
                  AND (%(before)s::bigint IS NULL OR attempt_id < %(before)s)
                ORDER BY ended_at, attempt_id""",
            {"set": set_id, "modes": [*HARVESTS, *MENDING, "push"], "before": before},
        ).fetchall()


def by_id(connection: Connection[Any], attempt_id: int) -> Attempt:
    """The attempt of this id, which there must be."""
    with connection.cursor(row_factory=class_row(Attempt)) as cursor:
        row = cursor.execute(f"SELECT {_COLUMNS} FROM attempt WHERE attempt_id = %s", (attempt_id,)).fetchone()
    assert row is not None, attempt_id
    return row


def fail(
    connection: Connection[Any],
    locked: LockedSet,
    attempt: Attempt,
    reason: str,
    *,
    is_cut: bool = False,
    is_short: bool = False,
    is_stopped: bool = False,
) -> None:
    """The attempt came to nothing: the set stays where it is, its watermark too."""
    connection.execute(
        """UPDATE attempt SET state = 'failed', reason = %s, ended_at = %s, is_cut = %s, is_short = %s, is_stopped = %s
           WHERE attempt_id = %s AND state = ANY (%s)""",
        (reason, locked.installation.clock(), is_cut, is_short, is_stopped, attempt.attempt_id, list(OPEN)),
    )


def nights_too_short(connection: Connection[Any], set_id: int, timezone: str) -> int:
    """On how many calendar days, up to the newest harvest of a set, every one failed for nothing but the size that its
    list announced."""
    row = connection.execute(
        """SELECT count(DISTINCT (started_at AT TIME ZONE %(zone)s)::date) FROM attempt
           WHERE set_id = %(set)s AND mode = ANY (%(modes)s) AND is_short
             AND attempt_id > coalesce((SELECT max(attempt_id) FROM attempt WHERE set_id = %(set)s
                 AND mode = ANY (%(modes)s) AND NOT is_short), 0)""",
        {"set": set_id, "zone": timezone, "modes": list(HARVESTS)},
    ).fetchone()
    return row[0] if row else 0
