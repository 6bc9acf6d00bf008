"""Work done by day: made into outputs, and whether it waits to be released and has been quiet for long enough.

Belongs here: which sets have any, and when its release is asked for. Does not belong here: making the outputs of one
set (`sets/steps.py`).
"""

import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg import Error as PostgresError

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import inbox
from harvester_dagster.releases import nights
from harvester_dagster.sets import attempts, outputs, pushed, sets, steps, versions
from harvester_dagster.store.locks import Busy

PATIENCE = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 35, 60))
"""After a release was first due: when it is asked for again, where it did not succeed; then every hour."""
HOUR = timedelta(hours=1)
LOCK_PATIENCE = 5.0
"""Seconds for a run that works on a set: a release that is due waits for none."""
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Waiting(NamedTuple):
    """`mark` names this very state of the sets, and how often its release was due: one is requested for each.
    `since`: the last change. `due_since`: when its release was due first. `sets`: how many have advanced."""

    mark: str
    since: datetime | None
    due_since: datetime
    sets: int


def times_due(due_since: datetime, now: datetime) -> int:
    """How often a release that does not succeed has been due by now, the first time included."""
    waited = now - due_since
    return 1 + sum(waited >= step for step in PATIENCE) + max(0, (waited - PATIENCE[-1]) // HOUR)


def waiting(installation: Installation) -> Waiting | str:
    """What waits for a release; else why nothing is to be done."""
    with installation.pool.connection() as connection:
        if nights.open_nights(connection):
            return "a night is open: its release takes the work of the day along"
        if held := versions.hold(connection):
            return f"automatic releases are held: {held}"
        moved = connection.execute(
            """SELECT s.set_id, g.gen, g.at FROM harvest_set s
               LEFT JOIN current_version c ON true
               LEFT JOIN dataset_version_set v ON v.version_id = c.version_id AND v.set_id = s.set_id
               JOIN LATERAL (
                   SELECT g.gen, greatest(g.accepted_at, a.ended_at) AS at
                   FROM generation g LEFT JOIN attempt a USING (attempt_id)
                   WHERE g.set_id = s.set_id AND g.gen > coalesce(v.gen, 0) AND g.gen <= s.accepted_gen
                     AND a.mode IS DISTINCT FROM 'push'  -- these are published by themselves, and never end
                   ORDER BY g.gen DESC LIMIT 1) g ON true
               ORDER BY 1"""
        ).fetchall()
        to_make = connection.execute(_TO_MAKE).fetchone()
        last = connection.execute(
            """SELECT max(a.ended_at), (SELECT max(ended_at) FROM night) FROM attempt a WHERE mode <> 'push'"""
        ).fetchone()
    (stale,) = to_make or (0,)
    if not moved and not stale:
        return "nothing waits"
    now = installation.clock()
    last_attempt, last_night = last or (None, None)
    since = max((row[2] for row in moved), default=last_attempt)
    quiet = installation.config.night.release_quiet_period
    if since and now - since < quiet:
        return (
            f"the last change was at {since.astimezone(installation.config.zone):%H:%M:%S}; quiet for {quiet} is wanted"
        )
    due_since = max(at for at in ((since or LONG_AGO) + quiet, last_night) if at)
    what = "-".join(f"{set_id}.{gen}" for set_id, gen, _ in moved) or f"{since or LONG_AGO:%Y%m%dT%H%M%S}"
    mark = f"{what}:{stale}:{times_due(due_since, now)}"
    return Waiting(mark, since, due_since, max(len(moved), stale))


_TO_MAKE = """
SELECT count(*) FROM harvest_set s
WHERE s.retired_at IS NULL AND s.accepted_gen > 0
  AND EXISTS (SELECT FROM dirty d WHERE d.set_id = s.set_id AND d.done_in IS NULL)
  AND NOT EXISTS (SELECT FROM attempt a WHERE a.set_id = s.set_id AND a.state IN ('open', 'fetched', 'staged')
                  AND a.mode NOT IN ('derive', 'push'))
"""
"""Sets with outputs to make anew, one or a million; a harvest that goes on takes its own along."""


def finish(
    installation: Installation, progress: Callable[[str], None] = lambda _: None, *, patience: float = LOCK_PATIENCE
) -> list[str]:
    """Make dirty documents into outputs, in every set that has any and that nobody harvests; the keys. `patience`:
    seconds for a set that somebody else works on; its day work is left to its run, or the next release."""
    with installation.pool.connection() as connection:
        waiting = [
            state.key
            for state in sets.all_sets(connection)
            if state.retired_at is None
            and state.accepted_gen
            and (outputs.stale(installation, connection, state) or _was_cut(connection, state))
        ]
    done = []
    for key in waiting:
        try:
            if steps.finish_day_work(installation, key, progress, patience=patience):
                done.append(key)
        except Busy as error:
            progress(str(error))
    return done


def take_pushes(installation: Installation, progress: Callable[[str], None] = lambda _: None) -> None:
    """Take what waits in the inboxes of sets that nobody harvests: a release must not show a candidate that somebody
    accepted without what was pushed after it."""
    with installation.pool.connection() as connection:
        waiting = inbox.sets_waiting(connection)
    for key in waiting:
        try:
            pushed.take_all(installation, key, progress)
        except (HarvesterError, PostgresError) as error:  # what waits in one inbox keeps no release back
            progress(f"{key}: {error}")
        except Exception:
            progress(f"{key}: a mistake in this program\n{traceback.format_exc()}")


def _was_cut(connection: Connection[Any], state: sets.SetState) -> bool:
    """Whether day work of the set was begun and not brought to its end."""
    begun = attempts.last(connection, state.set_id, states=attempts.OPEN)
    return begun is not None and begun.mode == "derive"
