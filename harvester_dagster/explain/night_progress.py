"""Where a night is that goes on: a line a set, and one for the release after them.

Belongs here: reading it from the rows that the night's runs write. Does not belong here: how it looks.
"""

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.config import NightSettings, source_of

_ATTEMPTS = """
SELECT s.key, n.outcome, a.state, a.started_at, coalesce(a.ended_at, n.ended_at), a.pages, a.records,
       (SELECT count(*) FROM task_report t WHERE t.set_id = n.set_id AND t.finished_at >= a.started_at), g.opened_at
FROM night_set n JOIN harvest_set s USING (set_id) JOIN night g USING (night_id)
LEFT JOIN LATERAL (SELECT * FROM attempt a WHERE a.set_id = n.set_id AND a.night_id = n.night_id
                   ORDER BY attempt_id DESC LIMIT 1) a ON true
WHERE n.night_id = %s ORDER BY n.set_id
"""
_RELEASE = """
SELECT n.released_at, n.deadline_at, (SELECT max(ended_at) FROM night_set WHERE night_id = n.night_id), v.version_id,
       v.promoted_at IS NOT NULL, r.outcome
FROM night n LEFT JOIN LATERAL (SELECT * FROM dataset_version v WHERE v.night_id = n.night_id
                                ORDER BY version_id DESC LIMIT 1) v ON true
LEFT JOIN search_report r ON r.version_id = v.version_id
WHERE n.night_id = %s
"""
_VERDICTS = {"rejected": "REJECTED", "failed": "SOURCE FAILED"}
_GOING_ON = ("open", "fetched", "staged")
RELEASE = "release"


class ProgressLine(NamedTuple):
    """`is_over`: nothing more happens to this set tonight. `step` is `said` without its counts."""

    key: str
    step: str
    said: str
    is_over: bool
    seconds: float


def lines(
    connection: Connection[Any], night_id: int, tasks: int, now: datetime, settings: NightSettings | None = None
) -> list[ProgressLine]:
    """Where every set of the night is, and the release after them. `settings`: how many may run at once."""
    rows = connection.execute(_ATTEMPTS, (night_id,)).fetchall()
    running = [key for key, outcome, state, *_ in rows if outcome is None and state in _GOING_ON]
    found = [_line(row, tasks, now, _why_it_waits(row[0], running, settings)) for row in rows]
    if found and all(line.is_over for line in found):
        found.append(_release(connection.execute(_RELEASE, (night_id,)).fetchone(), now))
    return found


def _why_it_waits(key: str, running: list[str], settings: NightSettings | None) -> str:
    """Why a set's run has not begun, as far as the night's rows tell."""
    source = source_of(key)
    beside = sum(source_of(other) == source for other in running)
    if settings and len(running) >= settings.max_concurrent_sets:
        return f"waits: {len(running)} sets run, as many as may (night.max_concurrent_sets)"
    if settings and beside >= settings.sets_of_one_source:
        return f"waits: {beside} sets of {source} run, as many as may (half of night.max_concurrent_sets)"
    return "waits for Dagster to start its run"


def _line(row: tuple[Any, ...], tasks: int, now: datetime, waits: str) -> ProgressLine:
    key, outcome, state, started, ended, pages, records, done, opened = row
    pages = pages or 0
    step, count = {
        None: (waits, ""),
        "open": ("asks its source", f": {pages:,} pages" if pages else ""),
        "fetched": ("is extracted and compared", f": {pages:,} pages"),
        "staged": ("is enriched", f": {records:,} records, {done} of {tasks} tasks" if records is not None else ""),
    }.get(state, (_VERDICTS.get(state, state), ""))
    if outcome == "failure":
        step, count = "ITS RUN FAILED", ""
    return ProgressLine(
        key, step, step + count, outcome is not None, ((ended or now) - (started or opened)).total_seconds()
    )


def _release(row: tuple[Any, ...] | None, now: datetime) -> ProgressLine:
    released, _deadline, sets_ended, version, is_promoted, indexed = row or (None,) * 6
    if released is None:
        said = "waits for Dagster to start its run: all sets have ended"
    elif version is None:
        said = "work of the day is finished, the next version is prepared"
    elif is_promoted:
        said = f"version {version} is current; its values are counted, what is old is removed"
    elif indexed is None:
        said = f"version {version} is indexed and verified"
    else:
        said = f"version {version} is promoted"
    since = released or sets_ended
    return ProgressLine(RELEASE, said, said, False, (now - since).total_seconds() if since else 0.0)
