"""What a person finds in the morning beside what was told at night: sets that are not fresh, candidates that wait,
releases that are held, tasks that fail.

Belongs here: the same as the page of the night lists, as sentences with their mend, for the mail. Does not belong here:
what is told as soon as it is so (`alerts.py`).
"""

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.installation import Installation
from harvester_dagster.releases import alerts, standings
from harvester_dagster.releases.alerts import Alert
from harvester_dagster.sets import attempts, sets, versions

LEAST_FAILED = 20
"""Results of one set: fewer may be a host that is away."""


class FailingTask(NamedTuple):
    """A task that lately could not have at least half of what it wanted of some sets, for now: `failed` of the `made`
    results are to be tried again. `reason`: of one of them."""

    task: str
    failed: int
    made: int
    sets: tuple[str, ...]
    reason: str


def beside(installation: Installation, told: Sequence[Alert]) -> list[Alert]:
    """What needs a hand and is not among what is told already."""
    with installation.pool.connection() as connection:
        covered = {alert.key for alert in told if not alert.cause.startswith("pushes-")}
        found = [alert for alert in _of_sets(installation, connection) if alert.key not in covered]
        if held := versions.hold(connection):
            mend = "`harvester release` publishes what waits and ends the hold, `harvester versions end-hold` ends it"
            found.append(Alert("held", f"automatic releases: {held}", mend))
        for task in failing_tasks(installation, connection):
            message = f"{task.task}: {task.failed:,} of {task.made:,} results failed for now: {task.reason}"
            found.append(Alert(f"failing {task.task}", message, f"`harvester tasks retry {task.task}`"))
    return found


def _of_sets(installation: Installation, connection: Connection[Any]) -> list[Alert]:
    waiting, found = attempts.waiting(connection), list[Alert]()
    ids = {state.key: state.set_id for state in sets.all_sets(connection)}
    for line in standings.standings_beside(installation, connection, attempts.newest_harvests(connection)):
        if line.standing == "retired":
            continue
        if candidate := waiting.get(ids[line.key]):
            message = f"{line.key}: attempt {candidate.attempt_id} was rejected and waits: {candidate.reason}"
            mend = alerts.look_and_decide(line.key)
            found.append(Alert(f"candidate {line.key}", message, mend, candidate.ended_at, line.key))
        elif line.standing != "fresh":
            message = f"{line.key} is {line.standing}: {line.reason}"
            mend = f"`harvester harvest {shlex.quote(line.key)}` asks its source now"
            found.append(Alert(f"standing {line.key}", message, mend, key=line.key))
    return found


_FAILING = """
SELECT t.task, s.key, m.failed, m.made, t.examples #>> '{0,2}'
FROM task_report t JOIN harvest_set s USING (set_id) CROSS JOIN LATERAL (
    SELECT coalesce((t.outcomes ->> 'retry')::int, 0) AS failed, sum(value::int)::int AS made
    FROM json_each_text(t.outcomes) WHERE key <> 'not applicable') m
WHERE t.finished_at >= %(since)s AND s.retired_at IS NULL
  AND m.failed >= %(least)s AND 2 * m.failed >= m.made
ORDER BY t.task, s.set_id
"""


def failing_tasks(installation: Installation, connection: Connection[Any]) -> list[FailingTask]:
    """By the newest reports of the last day and a half; a row for each task of each set. A link that is dead is none of
    these: it has its result."""
    known = {task.name for task in installation.catalog.tasks}
    since = installation.clock() - standings.STALE_AFTER
    found: dict[str, FailingTask] = {}
    for task, key, failed, made, reason in connection.execute(_FAILING, {"since": since, "least": LEAST_FAILED}):
        if task in known:
            row = found.get(task, FailingTask(task, 0, 0, (), reason or ""))
            found[task] = FailingTask(task, row.failed + failed, row.made + made, (*row.sets, key), row.reason)
    return list(found.values())
