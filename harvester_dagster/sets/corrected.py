"""What people have overwritten, made into outputs by itself: a generation of its own, judged, before any release.

An attempt of mode `push`: its generation is published as that of a push is, and waits for what a push waits for.
Rejected, it is work of the day: the next release tries it with all else.

Belongs here: which sets have any, and the order of the steps. Does not belong here: overwriting
(`publication/overwrites.py`), publishing (`releases/push_rounds.py`).
"""

from collections.abc import Callable
from typing import Any

from psycopg import Connection

from harvester_dagster.installation import Installation
from harvester_dagster.sets import generations, outputs, verdict
from harvester_dagster.sets.attempts import Window
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.sets.pushed import Taken, in_the_way


def sets_waiting(connection: Connection[Any]) -> list[str]:
    """The keys of the sets in which something was overwritten, or given back, that is not accepted: also where an
    attempt that was cut has made it."""
    rows = connection.execute(
        """SELECT DISTINCT s.key FROM dirty d JOIN harvest_set s USING (set_id)
           WHERE d.overwritten AND s.retired_at IS NULL ORDER BY 1"""
    )
    return [key for (key,) in rows]


def take(installation: Installation, key: str, progress: Callable[[str], None] = lambda _: None) -> Taken:
    """Make a generation of what was overwritten in a set. Raises Busy, UnknownSet."""
    with lock_set(installation, key, patience=0.05) as locked:
        with locked.connection() as connection:
            if waits := in_the_way(connection, installation, locked.state):
                return Taken(key, waits, 0, None)
            attempt = generations.begin(connection, locked, Window("push", None, "documents were overwritten"))
        outputs.produce(locked, attempt, progress, only="overwritten")
        with locked.connection() as connection:
            rows = connection.execute(
                "SELECT doc_id FROM dirty WHERE set_id = %s AND overwritten AND done_in = %s",
                (locked.set_id, locked.state.candidate_gen),
            ).fetchall()
        attempt = verdict.conclude(locked, attempt)
        if attempt.state == "rejected":
            with locked.connection() as connection:
                connection.execute(
                    "UPDATE dirty SET overwritten = false WHERE doc_id = ANY (%s)", ([doc_id for (doc_id,) in rows],)
                )
        progress(f"{key}: {len(rows)} overwritten documents: {attempt.state}")
        return Taken(key, "", 0, attempt)
