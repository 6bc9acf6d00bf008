"""Stopping a night that goes on: nothing more of it is requested, its runs end, and nothing of them stays open.

What its sets have accepted by then stays accepted, and is released as work of the day is. Belongs here: the order of
these steps. Does not belong here: ending runs, which whoever knows them does.
"""

import time
from collections.abc import Callable, Sequence

from psycopg import Connection

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.releases import alerts, nights
from harvester_dagster.releases.nights import Night
from harvester_dagster.sets import attempts
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.store.locks import Busy

EndRuns = Callable[[Night], Sequence[str]]
"""Has every run of a night end; the ids of those that have not ended yet."""
SECONDS = 10.0
"""For its runs to end."""
_LOOK_SECONDS = 1.0


class NoNight(HarvesterError):
    """There is no such night that goes on."""


def stop(installation: Installation, night_id: int, end_runs: EndRuns, seconds: float = SECONDS) -> list[str]:
    """Stop a night; the keys of the sets whose harvest was under way and is closed now. One whose run has not ended
    within so many seconds is closed by the next harvest of its set. Raises NoNight."""
    with installation.pool.connection() as connection:
        if not nights.stop(connection, night_id, installation.clock()):
            raise NoNight(f"night {night_id} does not go on", "`harvester status` shows how the last one ended")
        audit.write(connection, "stop night", str(night_id), installation.clock())
        night = nights.by_id(connection, night_id)
    until = time.monotonic() + seconds
    while end_runs(night) and time.monotonic() < until:  # a sensor may have requested some while it was stopped
        time.sleep(_LOOK_SECONDS)
    with installation.pool.connection() as connection:
        cut = _under_way(connection, night_id)
    closed = [key for key in cut if _closed(installation, key, night_id, until - time.monotonic())]
    alerts.heartbeat(installation)  # a night that somebody stops has ended: no alarm is to be raised
    return closed


def _under_way(connection: Connection[tuple[object, ...]], night_id: int) -> list[str]:
    rows = connection.execute(
        """SELECT s.key FROM attempt a JOIN harvest_set s USING (set_id)
           WHERE a.night_id = %s AND a.state = ANY (%s) ORDER BY s.set_id""",
        (night_id, list(attempts.OPEN)),
    )
    return [str(key) for (key,) in rows]


def _closed(installation: Installation, key: str, night_id: int, seconds: float) -> bool:
    """Close what a set's run has left open, where it has ended; its list is gone on with where it was cut."""
    try:
        with lock_set(installation, key, max(seconds, 0.0)) as locked, locked.connection() as connection:
            found = attempts.last(connection, locked.set_id, states=attempts.OPEN)
            if found is None or found.night_id != night_id:
                return False
            is_cut = found.state == "open"
            attempts.fail(connection, locked, found, f"night {night_id} was stopped", is_cut=is_cut, is_stopped=True)
            return True
    except Busy:
        return False
