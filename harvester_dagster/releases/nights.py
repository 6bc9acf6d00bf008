"""A night: which sets are expected, how each ended, and when its release is due.

Belongs here: the barrier's rule, over rows of our own and the states of runs that somebody passes in, and the rows that
runs write about themselves. A night has an id of its own; two nights on one day are two. One that a schedule asks for
is keyed by its tick: the first of its runs opens it, the others find it. Does not belong here: requesting or watching
runs.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from harvester_dagster.config import Config

RunState = Literal["waiting", "running", "success", "failure"]
Ended = Literal["success", "failure"]
SCHEDULE_GRACE = timedelta(minutes=5)
"""How long a scheduled night's runs may take to appear before they are requested again: its tick creates them."""

STOPPED = "its night was stopped"
"""Why a set came to no end in a night."""


class Night(NamedTuple):
    """`scheduled_at`: the tick of the schedule that asked for it; None: opened by hand."""

    night_id: int
    """0: none of the runs of its tick has begun yet."""
    opened_at: datetime
    deadline_at: datetime
    scheduled_at: datetime | None
    released_at: datetime | None
    """When its release began."""
    ended_at: datetime | None
    """When its release had ended, or somebody has stopped it."""

    @property
    def name(self) -> str:
        """What its run keys are made of: known before it is opened."""
        return str(self.night_id) if self.scheduled_at is None else tick_name(self.scheduled_at)


class Due(NamedTuple):
    """What is to be requested for a night."""

    missing: tuple[str, ...]
    """Sets whose runs are not there."""
    release: bool
    late: tuple[str, ...]
    """Sets that were not ready at the deadline: the release goes on without them."""


def tick_name(tick: datetime) -> str:
    """A tick of a schedule in UTC, as ISO 8601."""
    return tick.astimezone(UTC).isoformat()


def next_deadline(config: Config, now: datetime) -> datetime:
    """The next moment, later than `now`, at which the clock of the installation's zone shows the deadline; in UTC.

    In the hour that happens twice it shows it twice. An hour that is left out ends where the clock is put forward, and
    the deadline with it.
    """
    today = now.astimezone(config.zone).date()
    shown = (
        datetime.combine(today + timedelta(days=days), config.night.deadline.replace(fold=fold), config.zone)
        for days in (0, 1, 2)
        for fold in (0, 1)
    )
    moments = (moment.astimezone(UTC) for moment in shown if moment.fold == 0 or _is_shown(moment))
    return min(moment for moment in moments if moment > now)


def _is_shown(local: datetime) -> bool:
    """Whether the clock of its zone ever shows this time."""
    return local.astimezone(UTC).astimezone(local.tzinfo) == local


_COLUMNS = ", ".join(Night._fields)


def open_night(connection: Connection[Any], config: Config, now: datetime, tick: datetime | None = None) -> Night:
    """A night over every set that is not retired: a new one by hand, else the one of the tick, which is opened once."""
    if tick is not None and (night := of_tick(connection, tick)):
        return night
    with connection.transaction():  # a night without its sets would have ended
        with connection.cursor(row_factory=class_row(Night)) as cursor:
            opened = cursor.execute(
                f"""INSERT INTO night (opened_at, deadline_at, origin, scheduled_at) VALUES (%s, %s, %s, %s)
                    ON CONFLICT (scheduled_at) DO NOTHING RETURNING {_COLUMNS}""",
                (now, next_deadline(config, now), "schedule" if tick else "hand", tick),
            ).fetchone()
        if opened is not None:
            connection.execute(
                "INSERT INTO night_set (night_id, set_id) SELECT %s, set_id FROM harvest_set WHERE retired_at IS NULL",
                (opened.night_id,),
            )
            return opened
    assert tick is not None
    other = of_tick(connection, tick)
    assert other is not None, tick
    return other


def of_tick(connection: Connection[Any], tick: datetime) -> Night | None:
    """The night of a tick; None: none of its runs has begun."""
    with connection.cursor(row_factory=class_row(Night)) as cursor:
        return cursor.execute(f"SELECT {_COLUMNS} FROM night WHERE scheduled_at = %s", (tick,)).fetchone()


def by_hand(connection: Connection[Any], opened_at: datetime) -> Night | None:
    """The night that somebody has opened by hand at this very moment: whose answer was lost asks for it again."""
    with connection.cursor(row_factory=class_row(Night)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM night WHERE scheduled_at IS NULL AND opened_at = %s", (opened_at,)
        ).fetchone()


def begun_since(connection: Connection[Any], tick: datetime) -> bool:
    """Whether the night of a tick has begun, or another one since."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM night WHERE scheduled_at = %(tick)s OR opened_at >= %(tick)s)", {"tick": tick}
    ).fetchone()
    return row == (True,)


def by_id(connection: Connection[Any], night_id: int) -> Night:
    """The night of this id, which there must be."""
    with connection.cursor(row_factory=class_row(Night)) as cursor:
        night = cursor.execute(f"SELECT {_COLUMNS} FROM night WHERE night_id = %s", (night_id,)).fetchone()
    assert night is not None, night_id
    return night


def to_come(config: Config, tick: datetime, requested_at: datetime) -> Night:
    """The night of a tick whose runs were requested, and none of which has begun."""
    return Night(0, requested_at, next_deadline(config, requested_at), tick, None, None)


def open_nights(connection: Connection[Any]) -> list[Night]:
    """Oldest first."""
    with connection.cursor(row_factory=class_row(Night)) as cursor:
        return cursor.execute(f"SELECT {_COLUMNS} FROM night WHERE ended_at IS NULL ORDER BY night_id").fetchall()


def expected(connection: Connection[Any], night_id: int) -> list[str]:
    """The keys of the sets of a night."""
    rows = connection.execute(
        "SELECT s.key FROM night_set n JOIN harvest_set s USING (set_id) WHERE n.night_id = %s ORDER BY s.set_id",
        (night_id,),
    )
    return [key for (key,) in rows]


def due(night: Night, sets: Sequence[str], runs: Mapping[str, RunState], now: datetime) -> Due:
    """What is to be requested. `sets`: the keys that are expected; `runs`: the state of each one's newest run."""
    awaited = [key for key in sets if runs.get(key) not in ("success", "failure")]
    past_deadline = now >= night.deadline_at
    patient = night.scheduled_at is not None and now < night.opened_at + SCHEDULE_GRACE
    missing = () if patient or past_deadline else tuple(key for key in sets if key not in runs)
    return Due(missing, not awaited or past_deadline, tuple(awaited) if past_deadline else ())


def set_ended(
    connection: Connection[Any], night_id: int, key: str, outcome: Ended, now: datetime, reason: str = ""
) -> None:
    """Note how the run of a set ended: the run itself says so."""
    connection.execute(
        """UPDATE night_set SET outcome = %s, ended_at = %s, reason = %s
           WHERE night_id = %s AND set_id = (SELECT set_id FROM harvest_set WHERE key = %s)""",
        (outcome, now, reason, night_id, key),
    )


def release_begun(connection: Connection[Any], night_id: int, runs: Mapping[str, RunState], now: datetime) -> None:
    """Note when the night's release began, and how the runs ended that were killed before they could say so."""
    connection.execute("UPDATE night SET released_at = %s WHERE night_id = %s AND released_at IS NULL", (now, night_id))
    ended = {key: state for key, state in runs.items() if state in ("success", "failure")}
    connection.execute(
        """UPDATE night_set n SET outcome = u.outcome, ended_at = %s
           FROM unnest(%s::text[], %s::text[]) AS u (key, outcome) JOIN harvest_set s USING (key)
           WHERE n.night_id = %s AND n.set_id = s.set_id AND n.outcome IS NULL""",
        (now, list(ended), list(ended.values()), night_id),
    )


def end(connection: Connection[Any], night_id: int, now: datetime, failed_run: str = "", why: str = "") -> None:
    """Its release ended. `failed_run`: where that came to nothing, and why."""
    connection.execute(
        """UPDATE night SET ended_at = %s, failed_run = %s, failed_why = %s
           WHERE night_id = %s AND ended_at IS NULL""",
        (now, failed_run, why, night_id),
    )


def stop(connection: Connection[Any], night_id: int, now: datetime) -> bool:
    """Let nothing more be requested for a night: it is over, whatever of it was done. Whether it went on until now."""
    found = connection.execute(
        "UPDATE night SET ended_at = %s WHERE night_id = %s AND ended_at IS NULL", (now, night_id)
    )
    return found.rowcount == 1


class ReleaseFailure(NamedTuple):
    """The release of a night that came to nothing, where nothing was promoted since."""

    night_id: int
    run_id: str
    why: str
    ended_at: datetime


def failed_release(connection: Connection[Any]) -> ReleaseFailure | None:
    """Of the newest night that has ended."""
    with connection.cursor(row_factory=class_row(ReleaseFailure)) as cursor:
        return cursor.execute(
            """SELECT n.night_id, n.failed_run AS run_id, n.failed_why AS why, n.ended_at
               FROM (SELECT * FROM night WHERE ended_at IS NOT NULL ORDER BY night_id DESC LIMIT 1) n
               WHERE n.failed_run <> '' AND NOT EXISTS (
                   SELECT FROM current_version JOIN dataset_version v USING (version_id)
                   WHERE v.promoted_at > coalesce(n.released_at, n.ended_at) AND NOT v.pushed)"""
        ).fetchone()


def is_open(connection: Connection[Any], night_id: int) -> bool:
    """Whether it has not ended yet."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM night WHERE night_id = %s AND ended_at IS NULL)", (night_id,)
    ).fetchone()
    return row == (True,)


def failed(connection: Connection[Any], night_id: int) -> dict[str, str]:
    """The sets whose runs failed in a night that is over, or came to no end in it, by their key, and why."""
    rows = connection.execute(
        """SELECT s.key, n.outcome, n.reason, night.released_at IS NULL AND night.failed_run = ''
           FROM night_set n JOIN harvest_set s USING (set_id) JOIN night USING (night_id)
           WHERE n.night_id = %s AND n.outcome IS DISTINCT FROM 'success' ORDER BY n.set_id""",
        (night_id,),
    )
    return {
        key: reason or (STOPPED if stopped else "" if outcome else "it was not ready when the night had to end")
        for key, outcome, reason, stopped in rows
    }


_LEFT_BEHIND = """
WITH newest AS (SELECT night_id, opened_at FROM night WHERE released_at IS NOT NULL ORDER BY night_id DESC LIMIT 1)
SELECT s.key, n.outcome, newest.night_id
FROM newest JOIN night_set n USING (night_id) JOIN harvest_set s USING (set_id)
WHERE n.outcome IS DISTINCT FROM 'success' AND s.retired_at IS NULL AND NOT EXISTS (
    SELECT FROM attempt a WHERE a.set_id = s.set_id AND a.started_at >= newest.opened_at
      AND a.state = 'accepted' AND a.mode IN ('full', 'delta', 'reset'))
"""


def left_behind(connection: Connection[Any]) -> dict[str, str]:
    """The sets that the newest release went on without, by their key, and why; not those accepted since."""
    return {
        key: f"its run in night {night_id} failed" if outcome else f"it was not ready when night {night_id} had to end"
        for key, outcome, night_id in connection.execute(_LEFT_BEHIND)
    }
