"""Work done by day: whether something waits to be released, and has been quiet for long enough."""

from datetime import datetime
from typing import NamedTuple

from harvester_dagster import nights
from harvester_dagster.installation import Installation
from harvester_dagster.versions import versions


class Waiting(NamedTuple):
    """`mark` names this very state of the sets: one release is requested for it."""

    mark: str
    since: datetime | None


def waiting(installation: Installation) -> Waiting | str:
    """What waits for a release; else why nothing is to be done."""
    with installation.pool.connection() as connection:
        if nights.open_nights(connection):
            return "a night is open: its release takes the work of the day along"
        if held := versions.hold(connection):
            return f"automatic releases are held: {held}"
        moved = connection.execute(
            """SELECT s.set_id, s.accepted_gen, g.accepted_at FROM harvest_set s
               JOIN generation g ON g.set_id = s.set_id AND g.gen = s.accepted_gen
               LEFT JOIN current_version c ON true
               LEFT JOIN dataset_version_set v ON v.version_id = c.version_id AND v.set_id = s.set_id
               WHERE v.gen IS DISTINCT FROM s.accepted_gen ORDER BY 1"""
        ).fetchall()
        dirty = connection.execute(
            """SELECT count(*), max(d.doc_id) FROM dirty d JOIN harvest_set s USING (set_id)
               WHERE d.done_in IS NULL AND s.retired_at IS NULL AND s.accepted_gen > 0"""
        ).fetchone()
        last = connection.execute("SELECT max(ended_at) FROM attempt").fetchone()
    count = dirty[0] if dirty else 0
    if not moved and not count:
        return "nothing waits"
    now = installation.clock()
    since = max((row[2] for row in moved), default=last[0] if last else None)
    quiet = installation.config.night.release_quiet_period
    if since and now - since < quiet:
        return f"the last change was at {since:%H:%M:%S}; quiet for {quiet} is wanted"
    hours = int(now.timestamp() // max(quiet.total_seconds(), 60))
    generations = "-".join(f"{set_id}.{gen}" for set_id, gen, _ in moved)
    return Waiting(f"{generations}:{count}:{hours if count else ''}", since)
