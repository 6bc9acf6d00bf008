"""What a person reads in the morning: per set what came, what was decided, what its tasks did; the version.

Belongs here: gathering it from the rows that the night wrote, as plain data. How it looks on a terminal or a page is
the business of those.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from harvester_dagster.harvesting import attempts, sets
from harvester_dagster.installation import Installation
from harvester_dagster.versions import release, versions
from harvester_dagster.versions.release import SetStanding, Standing


class TaskLine(NamedTuple):
    task: str
    outcomes: Mapping[str, int]
    reused: int
    seconds: float
    examples: list[list[str]]


class SetLine(NamedTuple):
    """One set: its newest harvest, how it ended, and what is published of it."""

    key: str
    standing: Standing
    harvest: str
    mode: str
    records: int
    counts: Mapping[str, Mapping[str, int]]
    reason: str
    generation: int
    published: Mapping[str, int]
    seconds: float
    tasks: list[TaskLine]


class Status(NamedTuple):
    """The whole installation. `hold`: why automatic releases are held, if they are."""

    version_id: int | None
    promoted_at: datetime | None
    hold: str | None
    sets: list[SetLine]


def status(installation: Installation) -> Status:
    standings = {row.key: row for row in release.standings(installation)}
    with installation.pool.connection() as connection:
        current = versions.current(connection)
        tasks: dict[int, list[TaskLine]] = {}
        order = {task.name: place for place, task in enumerate(installation.catalog.tasks)}
        for set_id, *line in connection.execute(
            "SELECT set_id, task, outcomes, reused, seconds, examples FROM task_report"
        ):
            tasks.setdefault(set_id, []).append(TaskLine(*line))
        lines = [
            _line(
                connection,
                state,
                standings[state.key],
                sorted(tasks.get(state.set_id, ()), key=lambda line: order.get(line.task, 99)),
            )
            for state in sets.all_sets(connection)
            if state.key in standings
        ]
        return Status(
            current.version_id if current else None,
            current.promoted_at if current else None,
            versions.hold(connection),
            lines,
        )


def _line(connection: Any, state: sets.SetState, found: SetStanding, tasks: list[TaskLine]) -> SetLine:
    newest = attempts.last(connection, state.set_id, harvests_only=True)
    row = connection.execute(
        "SELECT published FROM generation WHERE set_id = %s AND gen = %s", (state.set_id, state.accepted_gen)
    ).fetchone()
    ended = newest.ended_at if newest else None
    return SetLine(
        key=state.key,
        standing=found.standing,
        harvest=newest.state if newest else "never",
        mode=newest.mode if newest else "",
        records=newest.records if newest else 0,
        counts=(newest.counts or {}) if newest else {},
        reason=found.reason or (newest.reason if newest else ""),
        generation=state.accepted_gen,
        published=row[0] if row else {},
        seconds=(ended - newest.started_at).total_seconds() if newest and ended else 0.0,
        tasks=tasks,
    )
