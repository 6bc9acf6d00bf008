"""What a person reads in the morning: per set what came, what was decided, what its tasks did; the version.

Belongs here: gathering it from the rows that the night wrote, as plain data. How it looks on a terminal or a page is
the business of those.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from harvester_dagster.explain.news import news
from harvester_dagster.installation import Installation
from harvester_dagster.releases import day_work, standings
from harvester_dagster.releases.standings import SetStanding, Standing
from harvester_dagster.search.search_side import SearchSide, search_side
from harvester_dagster.sets import attempts, problems, sets, versions


class TaskLine(NamedTuple):
    """What a task did in a set's last run: outcomes by their kind, results that were used again, seconds, and
    examples."""

    task: str
    outcomes: Mapping[str, int]
    reused: int
    seconds: float
    examples: list[list[str]]


class SetLine(NamedTuple):
    """One set: its newest harvest, how it ended, and what is published of it. `tally`: each of its `records` under one
    word (`sets/stage.py`); empty for a harvest that was not staged."""

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
    tally: Mapping[str, int]
    notes: list[str]
    """What was odd about the list of its newest harvest."""


class ReleaseDue(NamedTuple):
    """A release of work done by day that did not come about yet. `since`: when it was due first."""

    since: datetime
    sets: int
    times: int


class Status(NamedTuple):
    """The whole installation. `hold`: why automatic releases are held, if they are. `search`: how the search side
    stands beside the version; None: there is none. `release_due`: None where nothing waits for a release."""

    version_id: int | None
    promoted_at: datetime | None
    hold: str | None
    sets: list[SetLine]
    search: SearchSide | None
    release_due: ReleaseDue | None
    news: str
    """Why there is this version."""
    timezone: str
    """The installation's, in which people are told times."""


def status(installation: Installation) -> Status:
    """The state of the installation as of now: the version, and every set that is not withdrawn."""
    by_key = {row.key: row for row in standings.standings(installation)}
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
                by_key[state.key],
                sorted(tasks.get(state.set_id, ()), key=lambda line: order.get(line.task, 99)),
            )
            for state in sets.all_sets(connection)
            if state.key in by_key
        ]
        return Status(
            current.version_id if current else None,
            current.promoted_at if current else None,
            versions.hold(connection),
            lines,
            search_side(installation),
            _due(installation),
            news(connection, installation.catalog, current) if current else "",
            installation.config.timezone,
        )


def _due(installation: Installation) -> ReleaseDue | None:
    waiting = day_work.waiting(installation)
    if isinstance(waiting, str):
        return None
    times = day_work.times_due(waiting.due_since, installation.clock())
    return ReleaseDue(waiting.due_since, waiting.sets, times)


def _line(connection: Any, state: sets.SetState, found: SetStanding, tasks: list[TaskLine]) -> SetLine:
    newest = attempts.last(connection, state.set_id, modes=attempts.HARVESTS)
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
        tally=_tally(connection, newest) if newest else {},
        notes=problems.of_list(connection, newest.attempt_id) if newest else [],
    )


def _tally(connection: Any, attempt: attempts.Attempt) -> Mapping[str, int]:
    row = connection.execute("SELECT tally FROM attempt WHERE attempt_id = %s", (attempt.attempt_id,)).fetchone()
    return (row[0] if row else None) or {}
