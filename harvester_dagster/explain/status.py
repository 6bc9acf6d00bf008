"""What a person reads in the morning: per set what came, what was decided, what its tasks did; the version.

Belongs here: gathering it from the rows that the night wrote, as plain data. How it looks on a terminal or a page is
the business of those.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from harvester_dagster.explain.news import news
from harvester_dagster.installation import Installation
from harvester_dagster.publication import inbox
from harvester_dagster.releases import day_work, needs_a_hand, standings
from harvester_dagster.releases.needs_a_hand import FailingTask
from harvester_dagster.releases.standings import SetStanding, Standing
from harvester_dagster.search.search_side import SearchSide, search_side
from harvester_dagster.sets import attempts, candidate_figures, problems, pushed, sets, versions
from harvester_dagster.sets.candidate_figures import Figures


class TaskLine(NamedTuple):
    """What a task did in a set's last run: outcomes by their kind, results that were used again, seconds, and
    examples."""

    task: str
    outcomes: Mapping[str, int]
    reused: int
    seconds: float
    examples: list[list[str]]


class WaitingCandidate(NamedTuple):
    """What was proposed, rejected, and can still be accepted. `mode`: a harvest's, or remap, record, reconcile.
    `figures`: what it would change, as it was counted last; None: it was rejected before they were kept."""

    attempt: int
    mode: str
    reason: str
    began: datetime
    figures: Figures | None


class SetLine(NamedTuple):
    """One set: its newest harvest, how it ended, and what is published of it: documents that consumers see, by entity.
    `accepted`: those of the accepted `generation`, which the next release publishes. `tally`: each of its `records`
    under one word (`sets/tally.py`); empty for a harvest that was not staged."""

    key: str
    standing: Standing
    harvest: str
    is_stopped: bool
    """Somebody stopped the night of its newest harvest."""
    attempt: int
    """Its number; 0: never harvested."""
    began: datetime | None
    run_id: str
    """The Dagster run that opened it."""
    mode: str
    records: int
    counts: Mapping[str, Mapping[str, int]]
    reason: str
    generation: int
    accepted: Mapping[str, int]
    published: Mapping[str, int]
    seconds: float
    tasks: list[TaskLine]
    tally: Mapping[str, int]
    notes: list[str]
    """What was odd about the list of its newest harvest."""
    is_ahead: bool
    """What it has accepted is not in the current version yet."""
    waits: WaitingCandidate | None
    """Not always its newest harvest's: one that failed took no candidate's place, and not only harvests propose."""

    @property
    def verdict(self) -> str:
        """In two words what came of the set."""
        if self.standing == "retired":
            return "retired"
        if self.harvest == "failed":
            return "stopped" if self.is_stopped else "source failed"
        if self.waits or self.harvest in ("rejected", "superseded"):
            return "rejected"
        if self.standing in ("on fallback", "missing"):
            return "not harvested"
        return self.standing if self.standing == "stale" else self.harvest

    @property
    def needs_a_hand(self) -> bool:
        """Whether somebody should look at it."""
        return self.standing != "retired" and (self.waits is not None or self.standing != "fresh")


class ReleaseDue(NamedTuple):
    """A release of work done by day that did not come about yet. `since`: when it was due first."""

    since: datetime
    sets: int
    times: int


class PushLine(NamedTuple):
    """What was pushed to a set and is not settled, or not shown. `since`: when the oldest that waits came. `waits`: why
    none is taken now, or why what was taken is not shown; `reason`: why the newest of those was rejected."""

    key: str
    waiting: int
    since: datetime | None
    rejected: int
    is_ahead: bool
    """Accepted pushes are not in the current version yet."""
    waits: str
    reason: str


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
    pushes: list[PushLine]
    """Sets of which something pushed is not settled or not shown."""
    failing: list[FailingTask]


def status(installation: Installation, *, brief: bool = False) -> Status:
    """The state of the installation as of now: the version, and every set that is not withdrawn. `brief`: without the
    news, which take as long as the last release changed much (all else does not grow with documents), and without what
    the tasks did, a row for each of every set."""
    # Each takes a connection: whoever holds one may wait for another as long as others who hold one do.
    side, due = search_side(installation), _due(installation)
    with installation.pool.connection() as connection:
        newest = attempts.newest_harvests(connection)
        current = versions.current(connection)
        shown = current.generations if current else {}
        lines = _lines(installation, connection, newest, sets.all_sets(connection), shown, with_tasks=not brief)
        return Status(
            current.version_id if current else None,
            current.promoted_at if current else None,
            versions.hold(connection),
            lines,
            side,
            due,
            news(connection, installation.catalog, current) if current and not brief else "",
            installation.config.timezone,
            _pushes(installation, connection, sets.all_sets(connection)),
            needs_a_hand.failing_tasks(installation, connection),
        )


def set_line(installation: Installation, state: sets.SetState) -> SetLine | None:
    """One set as `status` has it; None: it is withdrawn."""
    with installation.pool.connection() as connection:
        newest, current = attempts.newest_harvests(connection), versions.current(connection)
        shown = current.generations if current else {}
        return next(iter(_lines(installation, connection, newest, [state], shown, with_tasks=True)), None)


def push_line(installation: Installation, state: sets.SetState) -> PushLine | None:
    """One set's pushes as `status` has them; None: all are settled and shown."""
    with installation.pool.connection() as connection:
        return next(iter(_pushes(installation, connection, [state])), None)


def _pushes(installation: Installation, connection: Any, states: Sequence[sets.SetState]) -> list[PushLine]:
    found = {row.set_id: row for row in inbox.counts(connection)}
    ahead, held = set(versions.pushed_ahead(connection)), versions.hold(connection)
    lines = []
    for state in states:
        row, is_ahead = found.get(state.set_id), state.key in ahead
        if row is None and not is_ahead:
            continue
        waits = pushed.in_the_way(connection, installation, state) if row and row.waiting else ""
        if is_ahead and held:
            waits = waits or f"automatic releases are held: {held}"
        row = row or inbox.Unsettled(state.set_id, 0, None, 0, "")
        lines.append(PushLine(state.key, row.waiting, row.since, row.rejected, is_ahead, waits, row.reason))
    return lines


def _due(installation: Installation) -> ReleaseDue | None:
    waiting = day_work.waiting(installation)
    if isinstance(waiting, str):
        return None
    times = day_work.times_due(waiting.due_since, installation.clock())
    return ReleaseDue(waiting.due_since, waiting.sets, times)


def _lines(
    installation: Installation,
    connection: Any,
    newest: Mapping[int, attempts.Attempt],
    states: Sequence[sets.SetState],
    shown: Mapping[int, int],
    *,
    with_tasks: bool,
) -> list[SetLine]:
    """A line for each set that stands somehow: as many questions for three hundred as for one. `shown`: the generations
    of the current version."""
    by_key = {row.key: row for row in standings.standings_beside(installation, connection, newest)}
    set_ids = [state.set_id for state in states]
    waiting = attempts.waiting(connection, set_ids[0] if len(set_ids) == 1 else None)
    ids = [newest[set_id].attempt_id for set_id in set_ids if set_id in newest]
    tasks = _tasks(installation, connection, set_ids) if with_tasks else {}
    notes = problems.of_lists(connection, ids)
    figures = candidate_figures.kept(connection, [attempt.attempt_id for attempt in waiting.values()])
    tallies = dict(connection.execute("SELECT attempt_id, tally FROM attempt WHERE attempt_id = ANY (%s)", (ids,)))
    accepted, published = _documents(connection, versions.accepted(connection)), _documents(connection, shown)
    lines = []
    for state in states:
        if found := by_key.get(state.key):
            harvest = newest.get(state.set_id)
            line = _line(state, found, harvest, accepted.get(state.set_id, {}), tasks.get(state.set_id, []))
            number = harvest.attempt_id if harvest else 0
            line = line._replace(
                tally=tallies.get(number) or {},
                notes=notes.get(number, []),
                published=published.get(state.set_id, {}),
                is_ahead=state.accepted_gen > shown.get(state.set_id, 0),
            )
            lines.append(_with_candidate(line, waiting.get(state.set_id), figures))
    return lines


def _documents(connection: Any, generations: Mapping[int, int]) -> dict[int, Mapping[str, int]]:
    """By set: how many documents each entity has at its generation."""
    given = {"sets": list(generations), "gens": list(generations.values())}
    return dict(
        connection.execute(
            """SELECT set_id, published FROM generation
               JOIN unnest(%(sets)s::int[], %(gens)s::int[]) at (set_id, gen) USING (set_id, gen)""",
            given,
        )
    )


def _tasks(installation: Installation, connection: Any, set_ids: list[int]) -> dict[int, list[TaskLine]]:
    """What each task did, in the order of the catalogue, by the set's id."""
    order = {task.name: place for place, task in enumerate(installation.catalog.tasks)}
    found: dict[int, list[TaskLine]] = {}
    for set_id, *line in connection.execute(
        "SELECT set_id, task, outcomes, reused, seconds, examples FROM task_report WHERE set_id = ANY (%s)", (set_ids,)
    ):
        found.setdefault(set_id, []).append(TaskLine(*line))
    return {set_id: sorted(lines, key=lambda line: order.get(line.task, 99)) for set_id, lines in found.items()}


def _line(
    state: sets.SetState,
    found: SetStanding,
    newest: attempts.Attempt | None,
    accepted: Mapping[str, int],
    tasks: list[TaskLine],
) -> SetLine:
    ended = (newest.rejected_at or newest.ended_at) if newest else None
    return SetLine(
        key=state.key,
        standing=found.standing,
        harvest=newest.state if newest else "never",
        is_stopped=newest.is_stopped if newest else False,
        attempt=newest.attempt_id if newest else 0,
        began=newest.started_at if newest else None,
        run_id=(newest.run_id or "") if newest else "",
        mode=newest.mode if newest else "",
        records=newest.records if newest else 0,
        counts=(newest.counts or {}) if newest else {},
        reason=found.reason or (newest.reason if newest else ""),
        generation=state.accepted_gen,
        accepted=accepted,
        published={},
        seconds=(ended - newest.started_at).total_seconds() if newest and ended else 0.0,
        tasks=tasks,
        tally={},
        notes=[],
        is_ahead=False,
        waits=None,
    )


def _with_candidate(line: SetLine, waits: attempts.Attempt | None, figures: Mapping[int, Figures]) -> SetLine:
    if waits is None:
        return line
    of = figures.get(waits.attempt_id)
    candidate = WaitingCandidate(waits.attempt_id, waits.mode, waits.reason, waits.started_at, of)
    return line._replace(waits=candidate, reason=line.reason or waits.reason)
