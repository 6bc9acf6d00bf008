"""A night: which sets are expected, how each ended, and when its release is due.

Belongs here: the barrier's rules, over rows of our own and the states of runs that somebody passes in. A night has an
id of its own; two nights on one day are two. Does not belong here: requesting or watching runs.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from harvester_dagster.config import Config
from harvester_dagster.harvesting import sets

RunState = Literal["waiting", "running", "success", "failure"]
SCHEDULE_GRACE = timedelta(minutes=5)
"""How long a scheduled night's runs may take to appear before they are requested again: its tick creates them."""


class Night(NamedTuple):
    night_id: int
    opened_at: datetime
    deadline_at: datetime
    origin: str
    released_at: datetime | None
    ended_at: datetime | None


class Watched(NamedTuple):
    """What is to be done for an open night: runs to request, and whether its release is due."""

    missing: tuple[str, ...]
    release_due: bool
    late: tuple[str, ...]
    """Sets that were not ready at the deadline: the release goes on without them."""


def next_deadline(config: Config, now: datetime) -> datetime:
    """The next time that the clock of the installation's zone shows the deadline."""
    local = now.astimezone(config.zone)
    deadline = datetime.combine(local.date(), config.night.deadline, config.zone)
    if deadline <= local:
        deadline = datetime.combine(local.date() + timedelta(days=1), config.night.deadline, config.zone)
    return deadline


def open_night(
    connection: Connection[Any], config: Config, now: datetime, origin: Literal["schedule", "hand"]
) -> tuple[Night, list[str]]:
    """A new night over every configured set, and their keys."""
    with connection.cursor(row_factory=class_row(Night)) as cursor:
        night = cursor.execute(
            "INSERT INTO night (opened_at, deadline_at, origin) VALUES (%s, %s, %s) RETURNING *",
            (now, next_deadline(config, now), origin),
        ).fetchone()
    assert night is not None
    active = [state for state in sets.all_sets(connection) if state.retired_at is None]
    connection.execute(
        "INSERT INTO night_set (night_id, set_id) SELECT %s, unnest(%s::int[])",
        (night.night_id, [state.set_id for state in active]),
    )
    return night, [state.key for state in active]


def open_nights(connection: Connection[Any]) -> list[Night]:
    with connection.cursor(row_factory=class_row(Night)) as cursor:
        return cursor.execute("SELECT * FROM night WHERE ended_at IS NULL ORDER BY night_id").fetchall()


def watch(connection: Connection[Any], night: Night, runs: Mapping[str, RunState], now: datetime) -> Watched:
    """Note how the night's runs ended, and say what is due. `runs`: the state of each set's newest run by its key."""
    expected = connection.execute(
        """SELECT s.key, n.outcome FROM night_set n JOIN harvest_set s USING (set_id)
           WHERE n.night_id = %s ORDER BY s.set_id""",
        (night.night_id,),
    ).fetchall()
    for key, outcome in expected:
        state = runs.get(key)
        if state in ("success", "failure") and outcome != state:
            connection.execute(
                """UPDATE night_set SET outcome = %s, ended_at = %s
                   WHERE night_id = %s AND set_id = (SELECT set_id FROM harvest_set WHERE key = %s)""",
                (state, now, night.night_id, key),
            )
    awaited = [key for key, _ in expected if runs.get(key) not in ("success", "failure")]
    past_deadline = now >= night.deadline_at
    patient = night.origin == "schedule" and now < night.opened_at + SCHEDULE_GRACE
    missing = () if patient or past_deadline else tuple(key for key, _ in expected if key not in runs)
    due = not awaited or past_deadline
    if due and night.released_at is None:
        connection.execute("UPDATE night SET released_at = %s WHERE night_id = %s", (now, night.night_id))
    return Watched(missing, due, tuple(awaited) if past_deadline else ())


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


def end(connection: Connection[Any], night_id: int, now: datetime) -> None:
    """Its release ended."""
    connection.execute("UPDATE night SET ended_at = %s WHERE night_id = %s AND ended_at IS NULL", (now, night_id))
