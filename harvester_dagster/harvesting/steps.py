"""The night of one set, step by step: harvest, documents, tasks, outputs, verdict. What assets and commands call.

Each step takes the set's lock for itself, finds the attempt that it belongs to, and may be run again at any time:
what is done is found done. Without an open attempt a step works on the accepted state.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from harvester_dagster.harvesting import attempts, fetching, generations, production, staging, verdict
from harvester_dagster.harvesting.attempts import Attempt, Mode, Window
from harvester_dagster.harvesting.production import Made
from harvester_dagster.harvesting.sets import find
from harvester_dagster.installation import Installation
from harvester_dagster.store.database import set_lock
from harvester_dagster.tasks import frame
from harvester_dagster.tasks.frame import Again
from harvester_dagster.tasks.reports import Report
from harvester_dagster.tasks.task import Task

Progress = Callable[[str], None]


def _quiet(_: str) -> None:
    """No progress wanted."""


class NothingToAccept(Exception):
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
    with _locked(installation, key):
        return fetching.harvest(installation, key, asked=asked, run_id=run_id, night_id=night_id, progress=progress)


def documents(
    installation: Installation, key: str, *, run_id: str | None = None, progress: Progress = _quiet
) -> Attempt | None:
    """Extract and compare what was harvested; None: there is nothing new to extract."""
    with _locked(installation, key):
        attempt = _attempt(installation, key, run_id)
        if attempt is None or attempt.state != "fetched":
            return attempt
        return staging.stage(installation, key, attempt, progress)


def tasks(
    installation: Installation,
    key: str,
    rows: Sequence[Task],
    *,
    run_id: str | None = None,
    again: Again = "",
    progress: Progress = _quiet,
) -> list[Report]:
    """Run document tasks over the set, in one pass (`Catalog.passes` says which belong together)."""
    if key not in installation.config.sets:
        return [Report(row.name) for row in rows]
    with _locked(installation, key):
        return frame.run_tasks(installation, key, rows, run_id=run_id, again=again, progress=progress)


def outputs(
    installation: Installation, key: str, *, run_id: str | None = None, progress: Progress = _quiet
) -> Made | None:
    """Make the outputs that are stale, opening day work when there is no attempt; None: none is stale."""
    with _locked(installation, key):
        attempt = _with_outputs_to_make(installation, key, run_id)
        return production.produce(installation, key, attempt, progress) if attempt else None


def conclude(
    installation: Installation, key: str, *, run_id: str | None = None, progress: Progress = _quiet
) -> SetOutcome:
    """The verdict: accept the candidate, or fall back to the accepted state."""
    with _locked(installation, key):
        return _conclude(installation, key, run_id, progress)


def finish_day_work(installation: Installation, key: str, progress: Progress = _quiet) -> SetOutcome | None:
    """Make what is stale into outputs, and accept them; None: a harvest of the set is going on, and takes it along."""
    with _locked(installation, key):
        with installation.pool.connection() as connection:
            going_on = attempts.last(connection, find(connection, key).set_id, states=attempts.OPEN)
        if going_on is not None and going_on.mode != "derive":
            return None
        return _conclude(installation, key, None, progress)


def _conclude(installation: Installation, key: str, run_id: str | None, progress: Progress) -> SetOutcome:
    attempt = _with_outputs_to_make(installation, key, run_id)
    if attempt is not None:
        production.produce(installation, key, attempt, progress)
        verdict.conclude(installation, key, attempt)
    return outcome(installation, key, run_id)


def outcome(installation: Installation, key: str, run_id: str | None = None) -> SetOutcome:
    """Where the set stands: what its newest harvest (of this run) came to. Work of the day that was accepted does not
    end a fallback; work of the day that was rejected shows."""
    with installation.pool.connection() as connection:
        state = find(connection, key)
        newest = attempts.last(connection, state.set_id, run_id=run_id) if run_id else None
        newest = newest or attempts.last(connection, state.set_id)
        if newest and newest.mode == "derive" and newest.state != "rejected":
            own = attempts.last(connection, state.set_id, run_id=run_id, harvests_only=True) if run_id else None
            newest = own or attempts.last(connection, state.set_id, harvests_only=True) or newest
        return SetOutcome(
            attempt=newest,
            is_replaced=newest is not None and newest.state in ("rejected", "failed"),
            reason=newest.reason if newest else "",
            retired=state.retired_at is not None,
            generation=state.accepted_gen,
            published=verdict.published(connection, state),
        )


def candidate(installation: Installation, key: str, progress: Progress = _quiet) -> Attempt:
    """The newest rejected candidate, staged and with its outputs made, for a look or to be accepted.

    Raises NothingToAccept.
    """
    with _locked(installation, key):
        return _candidate(installation, key, progress)


def accept(installation: Installation, key: str, progress: Progress = _quiet) -> SetOutcome:
    """Take the newest rejected candidate after all. Raises NothingToAccept."""
    with _locked(installation, key):
        attempt = _candidate(installation, key, progress)
        verdict.conclude(installation, key, attempt, by_hand=True)
        return outcome(installation, key)


def dismiss(installation: Installation, key: str) -> Attempt:
    """Lay the newest rejected candidate aside for good. Raises NothingToAccept."""
    with _locked(installation, key), installation.pool.connection() as connection:
        attempt = _newest_rejected(installation, key)
        connection.execute("UPDATE attempt SET state = 'dismissed' WHERE attempt_id = %s", (attempt.attempt_id,))
        return attempts.by_id(connection, attempt.attempt_id)


def withdraw(installation: Installation, key: str) -> SetOutcome:
    """End every document of a retired set: a generation in which all of them are deleted."""
    with _locked(installation, key):
        with installation.pool.connection() as connection:
            state = find(connection, key)
            if state.retired_at is None:
                raise NothingToAccept(f"{key} is still configured; take it out of the configuration first")
            now = installation.clock()
            attempt = attempts.open_attempt(
                connection,
                state,
                Window("withdraw", None, "withdrawn by hand"),
                now=now,
                mapping_version=state.mapping_version,
            )
            generations.clean(connection, state.set_id, attempt.attempt_id)
            generations.end_all(connection, state.set_id, state.accepted_gen + 1)
            connection.execute("UPDATE harvest_set SET withdrawn_at = %s WHERE set_id = %s", (now, state.set_id))
            connection.execute(
                "UPDATE attempt SET state = 'staged', outputs_made = true WHERE attempt_id = %s", (attempt.attempt_id,)
            )
        verdict.conclude(installation, key, attempt, by_hand=True)
        return outcome(installation, key)


def _locked(installation: Installation, key: str) -> AbstractContextManager[None]:
    with installation.pool.connection() as connection:
        state = find(connection, key)
    return set_lock(installation.pool, state.set_id, key)


def _attempt(installation: Installation, key: str, run_id: str | None) -> Attempt | None:
    with installation.pool.connection() as connection:
        return attempts.of_run(connection, find(connection, key), run_id)


def _with_outputs_to_make(installation: Installation, key: str, run_id: str | None) -> Attempt | None:
    """The staged attempt; else day work, opened when accepted outputs are stale; else None."""
    with installation.pool.connection() as connection:
        state = find(connection, key)
        attempt = attempts.of_run(connection, state, run_id)
        if attempt is not None:
            return attempt if attempt.state == "staged" else None
        if attempts.last(connection, state.set_id, states=attempts.OPEN):
            return None  # another run's; this one's failed
        if state.retired_at is not None or not production.stale(connection, installation.config, state):
            return None
        attempt = attempts.open_attempt(
            connection,
            state,
            Window("derive", None, "results, overwrites or settings changed"),
            now=installation.clock(),
            mapping_version=state.mapping_version,
            run_id=run_id,
        )
        generations.clean(connection, state.set_id, attempt.attempt_id)
        connection.execute("UPDATE attempt SET state = 'staged' WHERE attempt_id = %s", (attempt.attempt_id,))
        return attempts.by_id(connection, attempt.attempt_id)


def _newest_rejected(installation: Installation, key: str) -> Attempt:
    with installation.pool.connection() as connection:
        state = find(connection, key)
        attempt = attempts.last(connection, state.set_id, states=attempts.NOT_FAILED, harvests_only=True)
        if attempt is None or attempt.state != "rejected":
            was = f"; its newest harvest was {attempt.state}" if attempt else ""
            raise NothingToAccept(f"{key}: no rejected candidate is waiting{was}")
        later = connection.execute(
            """SELECT count(*) FROM generation g JOIN attempt a USING (attempt_id)
               WHERE g.set_id = %s AND g.gen > %s AND a.mode <> 'derive'""",
            (state.set_id, attempt.base_gen),
        ).fetchone()
        if later != (0,):
            raise NothingToAccept(f"{key}: something else was accepted meanwhile; harvest the set again")
        return attempt


def _candidate(installation: Installation, key: str, progress: Progress) -> Attempt:
    """Staged again from its pages when day work has taken the room; its outputs made anew where stale."""
    attempt = _newest_rejected(installation, key)
    with installation.pool.connection() as connection:
        state = find(connection, key)
        if cut := attempts.last(connection, state.set_id, states=attempts.OPEN):
            attempts.fail(connection, cut, "interrupted: a rejected candidate took its place", installation.clock())
        connection.execute(
            "UPDATE attempt SET base_gen = %s WHERE attempt_id = %s", (state.accepted_gen, attempt.attempt_id)
        )
    if state.staged_attempt != attempt.attempt_id:
        attempt = staging.stage(installation, key, attempt, progress)
        for rows in installation.catalog.passes:
            frame.run_tasks(installation, key, rows, on_candidate=True, progress=progress)
        with installation.pool.connection() as connection:
            generations.staged(connection, state.set_id, attempt.attempt_id)
    with installation.pool.connection() as connection:
        connection.execute("UPDATE attempt SET outputs_made = false WHERE attempt_id = %s", (attempt.attempt_id,))
        attempt = attempts.by_id(connection, attempt.attempt_id)
    production.produce(installation, key, attempt, progress)
    with installation.pool.connection() as connection:
        return attempts.by_id(connection, attempt.attempt_id)
