"""Runs whose process is gone: found by their sign of life, and ended, so that Dagster runs them again.

Dagster's default launcher looks at no process: a run whose machine lost its power stayed STARTED for ever, and each
later run of its set waited behind it. And its daemon may read that a run has failed before the run's own row says so,
or cannot begin the next one because the code server is just started again: then it never runs it again, and never looks
back. Whoever supervises the daemon looks here every few seconds. Belongs here: which runs are dead, ending them,
telling of a failure once more. Does not belong here: the sign itself (`store/sign_of_life.py`), running again (run
retries, `dagster.yaml`), runs that have not begun (`start_timeout_seconds` there).
"""

from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta

import dagster as dg

from assets.names import FAILURE_REASON_TAG, MAX_RETRIES_TAG, RUN_AGAIN_TAG, WILL_RETRY_TAG
from harvester_dagster.store.database import Pool
from harvester_dagster.store.locks import keys_held, run_key

FREE_SECONDS = 60.0
"""For so long nobody must have held a run's lock: twelve times what a living one takes to have it anew."""
LOOK_SECONDS = 5.0
LOOK_PATIENCE = 15.0
"""Between two looks. A longer one counts as LOOK_SECONDS, for what a living run has shown between was not seen: on a
machine so slow that each look is late, it takes as many of them."""
MOST_TOLD = 3
LOOKED_BACK = timedelta(days=1)
"""At failures that Dagster may have missed."""


class DeadRuns:
    """What one supervisor has seen of the runs that go on."""

    def __init__(self, free_seconds: float = FREE_SECONDS) -> None:
        self._free_seconds = free_seconds
        self._free_for: dict[str, float] = {}
        self._looked_at = 0.0

    def end(self, instance: dg.DagsterInstance, pool: Pool, now: float) -> list[dg.DagsterRun]:
        """Look once, at `now` in seconds of a clock that never goes back; the runs that were ended as failed."""
        before, self._free_for = self._free_for, {}  # forgotten where the store is away: signs went with it
        since = now - self._looked_at
        self._looked_at = now
        begun = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))}
        with pool.connection() as connection:
            held = keys_held(connection)
        seen = since if since <= LOOK_PATIENCE else LOOK_SECONDS
        free = [run_id for run_id in begun if run_key(run_id) not in held]
        self._free_for = {run_id: before[run_id] + seen if run_id in before else 0.0 for run_id in free}
        dead = [begun[run_id] for run_id in free if self._free_for[run_id] > self._free_seconds]
        for run in dead:
            # Of an exported class, and not marked public: `tests/dagster/test_dead_runs.py` pins what it does.
            instance.report_run_failed(
                run, f"its process is gone: nothing was heard of it for {self._free_seconds:.0f} s"
            )
            if run.remote_job_origin is None:  # one of a command, which Dagster cannot run again, and says it will
                instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})
        return dead


class MissedRetries:
    """Failures that Dagster has said it would run again, and has not, or has given up although they may be: as one
    supervisor has seen them."""

    def __init__(self, wait_seconds: float = FREE_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._waiting_since: dict[str, float] = {}
        self._told: Counter[str] = Counter()

    def tell_again(self, instance: dg.DagsterInstance, now: float, after: datetime) -> list[dg.DagsterRun]:
        """Look once, at `now` in seconds of a clock that never goes back, at what failed after a moment (UTC); the runs
        whose failure was told once more. A run of a backfill that has ended is not run again: so each is told of a few
        times at most."""
        failed = dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE], tags={WILL_RETRY_TAG: ["true", "false"]}, updated_after=after
        )
        waiting = {
            run.run_id: run
            for run in instance.get_runs(failed)
            if run.is_complete_and_waiting_to_retry or _was_given_up(instance, run)
        }
        self._waiting_since = {run_id: self._waiting_since.get(run_id, now) for run_id in waiting}
        missed = [
            run
            for run_id, run in waiting.items()
            if now - self._waiting_since[run_id] > self._wait_seconds and self._told[run_id] < MOST_TOLD
        ]
        for run in missed:
            del self._waiting_since[run.run_id]
            self._told[run.run_id] += 1
            instance.report_run_failed(run, "it was to be run again, and was not: told once more")
        return missed


def _was_given_up(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether nobody runs it again although its own tags and the number of runs before it allow it: Dagster says so of
    a run that it could not begin anew, or not queue, whatever hindered that. Told of the failure, it decides again by
    the same rules, and goes on there."""
    by_itself = run.tags.get(FAILURE_REASON_TAG) == "STEP_FAILURE" and run.tags.get(RUN_AGAIN_TAG) != "true"
    if run.tags.get(WILL_RETRY_TAG) != "false" or by_itself or run.remote_job_origin is None:
        return False
    with suppress(dg.DagsterRunNotFoundError, ValueError):  # the first of them was deleted; no number stands there
        _, group = instance.get_run_group(run.run_id) or ("", ())
        begun = list(group)
        most = int(run.tags.get(MAX_RETRIES_TAG, instance.run_retries_max_retries))
        return 0 < len(begun) <= most and not any(_follows(other, run) for other in begun)
    return False


def _follows(other: dg.DagsterRun, run: dg.DagsterRun) -> bool:
    return other.parent_run_id == run.run_id and other.status is not dg.DagsterRunStatus.NOT_STARTED
