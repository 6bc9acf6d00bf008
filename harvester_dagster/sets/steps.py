"""The night of one set, step by step: harvest, documents, tasks, outputs, verdict. What assets and commands call.

Each step takes the set's lock for itself, finds the attempt that it belongs to, and may be run again at any time:
what is done is found done. Without an open attempt a step works on the accepted state.
"""

import shlex
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit, wishes
from harvester_dagster.sets import attempts, enrich, fetch, generations, looked_at, problems, sets, verdict
from harvester_dagster.sets.attempts import Attempt, Mode, Window
from harvester_dagster.sets.candidate_figures import Figures
from harvester_dagster.sets.enrich import Again, Portion
from harvester_dagster.sets.locked_set import PATIENCE, LockedSet, lock_set
from harvester_dagster.sets.looked_at import CandidateMoved
from harvester_dagster.sets.outputs import Made, produce, stale, still_to_do, version
from harvester_dagster.sets.sets import SetState
from harvester_dagster.sets.stage import stage
from harvester_dagster.sets.task_reports import TaskReport
from harvester_dagster.tasks.task import Task

Progress = Callable[[str], None]
AT_ONCE = 2.0
"""Seconds to wait for a set while somebody waits for the answer of a page."""


def _quiet(_: str) -> None:
    """No progress wanted."""


class NothingToAccept(HarvesterError):
    """There is no rejected candidate that could still be accepted; the message says why."""


class SetOutcome(NamedTuple):
    """What a set holds after its verdict."""

    attempt: Attempt | None
    """None: nothing was proposed; the set holds what it held."""
    is_replaced: bool
    """The historic set took the place of what was harvested, or of what could not be."""
    reason: str
    retired: bool
    generation: int
    published: dict[str, int]


def harvest(
    installation: Installation,
    key: str,
    *,
    asked: Mode | None = None,
    run_id: str | None = None,
    night_id: int | None = None,
    progress: Progress = _quiet,
) -> Attempt | None:
    """Ask the source and store its pages; None: the set is retired."""
    if key not in installation.config.sets:
        return None
    with lock_set(installation, key) as locked, fetch.asking(installation, key, progress):
        return fetch.harvest(locked, asked=asked, run_id=run_id, night_id=night_id, progress=progress)


def list_notes(installation: Installation, attempt: Attempt) -> list[str]:
    """What was odd about the list of a harvest as a whole."""
    with installation.pool.connection() as connection:
        return problems.of_list(connection, attempt.attempt_id)


def documents(
    installation: Installation,
    key: str,
    *,
    run_id: str | None = None,
    progress: Progress = _quiet,
) -> Attempt | None:
    """Extract and compare what was harvested; None: there is nothing new to extract."""
    with lock_set(installation, key) as locked:
        with locked.connection() as connection:
            attempt = attempts.of_run(connection, locked.state, run_id)
        if attempt is None or attempt.state != "fetched":
            return attempt
        return stage(locked, attempt, progress)


def tasks(
    installation: Installation,
    key: str,
    rows: Sequence[Task],
    *,
    run_id: str | None = None,
    again: Again = "",
    portion: Portion | None = None,
    patience: float = PATIENCE,
    progress: Progress = _quiet,
) -> list[TaskReport]:
    """Run document tasks over the set, in one pass (`Catalog.passes` says which belong together). `portion`: no more
    than that now; `patience`: seconds to wait for the set. Raises Busy."""
    if key not in installation.config.sets:
        return [TaskReport(row.name, row.picture) for row in rows]
    with lock_set(installation, key, patience) as locked:
        return enrich.run_tasks(locked, rows, run_id=run_id, again=again, portion=portion, progress=progress)


def outputs(
    installation: Installation, key: str, *, run_id: str | None = None, progress: Progress = _quiet
) -> Made | None:
    """Make the outputs that are stale, opening day work when there is no attempt; None: none is stale."""
    with lock_set(installation, key) as locked:
        attempt = _with_outputs_to_make(locked, run_id)
        return produce(locked, attempt, progress) if attempt else None


def conclude(
    installation: Installation, key: str, *, run_id: str | None = None, progress: Progress = _quiet
) -> SetOutcome:
    """The verdict: accept the candidate, or fall back to the accepted state."""
    with lock_set(installation, key) as locked:
        return _conclude(locked, run_id, progress)


def finish_day_work(
    installation: Installation, key: str, progress: Progress = _quiet, *, patience: float
) -> SetOutcome | None:
    """Make what is stale into outputs, and accept them; None: a harvest of the set is going on and takes it along,
    without being waited for. `patience`: seconds to wait for whoever else works on the set. Raises Busy."""
    with installation.pool.connection() as connection:
        going_on = attempts.last(connection, sets.id_of(connection, key), states=attempts.OPEN)
    if _takes_day_work_along(going_on):
        return None
    with lock_set(installation, key, patience) as locked:
        with locked.connection() as connection:
            going_on = attempts.last(connection, locked.set_id, states=attempts.OPEN)
            if going_on is not None and going_on.mode == "push":  # nobody else holds the lock; what it took still waits
                attempts.fail(connection, locked, going_on, "interrupted: its run was cut")
        return None if _takes_day_work_along(going_on) else _conclude(locked, None, progress)


def _takes_day_work_along(going_on: Attempt | None) -> bool:
    return going_on is not None and going_on.mode not in ("derive", "push")


def _conclude(locked: LockedSet, run_id: str | None, progress: Progress) -> SetOutcome:
    attempt = _with_outputs_to_make(locked, run_id)
    if attempt is not None:
        produce(locked, attempt, progress)
        verdict.conclude(locked, attempt)
    return _locked_outcome(locked, run_id)


def outcome(installation: Installation, key: str, run_id: str | None = None) -> SetOutcome:
    """Where the set stands: what its newest harvest (of this run) came to. Work of the day that was accepted does not
    end a fallback; work of the day that was rejected shows."""
    with installation.pool.connection() as connection:
        return _outcome(connection, sets.find(connection, key), run_id)


def _locked_outcome(locked: LockedSet, run_id: str | None = None) -> SetOutcome:
    with locked.connection() as connection:
        return _outcome(connection, locked.state, run_id)


def _outcome(connection: Connection[Any], state: SetState, run_id: str | None) -> SetOutcome:
    of_run = attempts.last(connection, state.set_id, run_id=run_id) if run_id else None
    newest = of_run or attempts.last(connection, state.set_id)
    is_asked_for = of_run is not None and of_run.mode in attempts.MENDING
    if (
        newest
        and newest.mode in attempts.BY_DAY
        and not is_asked_for
        and (newest.state != "rejected" or newest.mode == "push")
    ):
        own = attempts.last(connection, state.set_id, run_id=run_id, modes=attempts.HARVESTS) if run_id else None
        newest = own or attempts.last(connection, state.set_id, modes=attempts.HARVESTS) or newest
    return SetOutcome(
        attempt=newest,
        is_replaced=newest is not None and newest.state in ("rejected", "failed"),
        reason=newest.reason if newest else "",
        retired=state.retired_at is not None,
        generation=state.accepted_gen,
        published=verdict.published(connection, state),
    )


def candidate(installation: Installation, key: str, progress: Progress = _quiet) -> Attempt:
    """The newest rejected candidate, staged and with its outputs made. Raises NothingToAccept."""
    with lock_set(installation, key) as locked:
        return _candidate(locked, progress)


def look(installation: Installation, key: str, progress: Progress = _quiet) -> tuple[Attempt, Figures]:
    """The same for a person, with its figures, which are remembered: accepting takes what was looked at. Raises
    NothingToAccept."""
    with lock_set(installation, key) as locked:
        attempt = _candidate(locked, progress)
        with locked.connection() as connection:
            found = looked_at.figures(connection, locked.state, attempt)
            looked_at.note(connection, locked, found)
            still_to_do(connection, locked)
        return attempt, found


def accept(
    installation: Installation,
    key: str,
    progress: Progress = _quiet,
    *,
    attempt_id: int | None = None,
    seen: str = "",
) -> SetOutcome:
    """Take the newest rejected candidate after all, as it was looked at. `attempt_id`: which one that was; `seen`: the
    digest of the figures that were shown of it.

    Raises NothingToAccept, CandidateMoved.
    """
    with lock_set(installation, key) as locked:
        return _taken(locked, _candidate(locked, progress), attempt_id, seen)


def accept_standing(
    installation: Installation, key: str, attempt_id: int, *, seen: str = "", patience: float = AT_ONCE
) -> SetOutcome | None:
    """The same while somebody waits for the answer. None: it must be staged again first, or more than one batch of its
    outputs was made stale meanwhile. Raises NothingToAccept, CandidateMoved, Busy."""
    with lock_set(installation, key, patience) as locked:
        with locked.connection() as connection:
            attempt = _newest_rejected(connection, locked)
            looked_at.check_attempt(key, attempt_id, attempt.attempt_id)
            if not _stands(connection, locked, attempt):
                return None
        produce(locked, attempt)
        return _taken(locked, attempt, attempt_id, seen)


def _stands(connection: Connection[Any], locked: LockedSet, attempt: Attempt) -> bool:
    """Whether a rejected candidate is as its verdict left it, but for some outputs."""
    state, installation = locked.state, locked.installation
    if state.staged_attempt != attempt.attempt_id or state.accepted_gen != attempt.base_gen:
        return False
    if not attempt.outputs_made or state.output_version != version(installation.catalog, installation.config):
        return False
    dirty = connection.execute(
        "SELECT FROM dirty WHERE set_id = %s AND done_in IS NULL LIMIT %s",
        (state.set_id, installation.limits.produced + 1),
    )
    return dirty.rowcount <= installation.limits.produced


def _taken(locked: LockedSet, attempt: Attempt, attempt_id: int | None, seen: str) -> SetOutcome:
    """Accept a staged candidate whose outputs are made, where it is what was looked at."""
    try:
        with locked.connection() as connection:
            found = looked_at.figures(connection, locked.state, attempt)
            looked_at.check(connection, locked, found, attempt_id, seen)
    except CandidateMoved:
        with locked.connection() as connection:
            still_to_do(connection, locked)
        raise
    verdict.conclude(locked, attempt, by_hand=True)
    return _locked_outcome(locked)


def dismiss(
    installation: Installation, key: str, *, attempt_id: int | None = None, patience: float = PATIENCE
) -> Attempt:
    """Lay the newest rejected candidate aside for good; a record that was asked for after its purge was undone is asked
    for no more with it. `attempt_id`: which one that is. Raises NothingToAccept, CandidateMoved, Busy."""
    with lock_set(installation, key, patience) as locked, locked.connection() as connection:
        attempt = _newest_rejected(connection, locked)
        if attempt_id is not None:
            looked_at.check_attempt(key, attempt_id, attempt.attempt_id)
        connection.execute("UPDATE attempt SET state = 'dismissed' WHERE attempt_id = %s", (attempt.attempt_id,))
        if external_id := attempts.record_of(attempt):
            wishes.end_dismissed(connection, locked.set_id, external_id)
        audit.write(connection, "dismiss", key, installation.clock(), attempt=attempt.attempt_id)
        return attempts.by_id(connection, attempt.attempt_id)


def withdraw(installation: Installation, key: str) -> SetOutcome:
    """End every document of a retired set: a generation in which all of them are deleted."""
    with lock_set(installation, key) as locked:
        if locked.state.retired_at is None:
            raise NothingToAccept(f"{key} is still configured", "take it out of the configuration first")
        with locked.connection() as connection:
            attempt = attempts.open_attempt(
                connection,
                locked,
                Window("withdraw", None, "withdrawn by hand"),
                mapping_version=locked.state.mapping_version,
            )
            generations.clean(connection, locked, attempt.attempt_id)
            generations.end_all(connection, locked)
            locked.move(connection, withdrawn_at=attempt.started_at)
            connection.execute(
                "UPDATE attempt SET state = 'staged', outputs_made = true WHERE attempt_id = %s", (attempt.attempt_id,)
            )
        verdict.conclude(locked, attempt, by_hand=True)
        return _locked_outcome(locked)


def _with_outputs_to_make(locked: LockedSet, run_id: str | None) -> Attempt | None:
    """The staged attempt; else day work, opened when accepted outputs are stale; else None."""
    with locked.connection() as connection:
        attempt = attempts.of_run(connection, locked.state, run_id)
        if attempt is not None:
            return attempt if attempt.state == "staged" else None
        if attempts.last(connection, locked.set_id, states=attempts.OPEN):
            return None  # another run's; this one's failed
        if locked.state.retired_at is not None or not stale(locked.installation, connection, locked.state):
            return None
        why = Window("derive", None, "results, overwrites or settings changed")
        return generations.begin(connection, locked, why, run_id)


def _newest_rejected(connection: Connection[Any], locked: LockedSet) -> Attempt:
    key, set_id = locked.key, locked.set_id
    if found := attempts.waiting(connection, set_id).get(set_id):
        return found
    newest = attempts.last(connection, set_id, states=attempts.NOT_FAILED, modes=attempts.PROPOSALS)
    if newest is None or newest.state != "rejected":
        was = (
            f"its newest harvest was {newest.state}"
            if newest
            else f"`harvester harvest {shlex.quote(key)}` asks its source"
        )
        raise NothingToAccept(f"{key}: no rejected candidate is waiting", was)
    raise NothingToAccept(f"{key}: something else was accepted meanwhile", "harvest the set again")


def _candidate(locked: LockedSet, progress: Progress) -> Attempt:
    """Staged again from its pages when day work has taken the room; its outputs made anew where stale."""
    with locked.connection() as connection:
        attempt = _newest_rejected(connection, locked)
        if cut := attempts.last(connection, locked.set_id, states=attempts.OPEN):
            attempts.fail(connection, locked, cut, "interrupted: a rejected candidate took its place")
        connection.execute(
            "UPDATE attempt SET base_gen = %s WHERE attempt_id = %s", (locked.state.accepted_gen, attempt.attempt_id)
        )
    if locked.state.staged_attempt != attempt.attempt_id:
        attempt = stage(locked, attempt, progress)
        for rows in locked.installation.catalog.passes:
            enrich.run_tasks(locked, rows, on_candidate=True, progress=progress)
        with locked.connection() as connection:
            locked.move(connection, staged_attempt=attempt.attempt_id)
    with locked.connection() as connection:
        connection.execute("UPDATE attempt SET outputs_made = false WHERE attempt_id = %s", (attempt.attempt_id,))
        attempt = attempts.by_id(connection, attempt.attempt_id)
    produce(locked, attempt, progress)
    with locked.connection() as connection:
        return attempts.by_id(connection, attempt.attempt_id)
