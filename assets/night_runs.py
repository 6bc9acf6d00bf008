"""The runs of a night: how they are named and found, and what each writes of itself.

Belongs here: tags, the state of a night's runs as Dagster knows it, and the ends that runs record (`nights.py` holds
the rules and the rows). A night by hand has an id before its runs; that of a tick is named by the tick, and whichever
of its runs begins first opens it. Does not belong here: requesting runs (`sensors/night.py`).
"""

from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import dagster as dg

from assets import again, doing, names
from assets.names import MAX_RETRIES_TAG, NIGHT_TAG, RELEASE_JOB, SET_TAG, TICK_TAG, WILL_RETRY_TAG
from harvester_dagster import shown_text
from harvester_dagster.installation import Installation
from harvester_dagster.releases import nights, release
from harvester_dagster.releases.nights import Ended, Night, RunState

LONGEST_REASON = 500
"""Characters of why a release failed."""
_NEVER_AGAIN = {WILL_RETRY_TAG: "false", MAX_RETRIES_TAG: "0"}
"""That it is not to be run again, and that whoever decides that anew decides the same."""
_ENDED: dict[dg.DagsterRunStatus, RunState] = {
    dg.DagsterRunStatus.SUCCESS: "success",
    dg.DagsterRunStatus.FAILURE: "failure",
    dg.DagsterRunStatus.CANCELED: "failure",
}


class NightRuns(NamedTuple):
    """`sets`: the state of each set's newest run, by its key. `release`: the newest run of the release."""

    sets: dict[str, RunState]
    release: dg.DagsterRun | None
    release_state: RunState | None


def tags_of(night: Night) -> dict[str, str]:
    """What the runs of a night carry."""
    tick = {} if night.scheduled_at is None else {TICK_TAG: night.name}
    return tick | ({NIGHT_TAG: str(night.night_id)} if night.night_id else {})


def look(instance: dg.DagsterInstance, night: Night) -> NightRuns:
    """How far the runs of a night are."""
    sets: dict[str, RunState] = {}
    released: dg.DagsterRun | None = None
    for run in instance.get_runs(_of_night(night)):  # newest first
        if run.job_name == RELEASE_JOB:
            released = released or run
        elif key := run.tags.get(SET_TAG):
            sets.setdefault(key, _state(instance, run))
    return NightRuns(sets, released, _state(instance, released) if released else None)


def _of_night(night: Night) -> dg.RunsFilter:
    return dg.RunsFilter(tags={TICK_TAG: night.name} if night.scheduled_at else {NIGHT_TAG: str(night.night_id)})


def _state(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunState:
    """How a run ended. One that failed and is run again by Dagster, or of which that is not known yet, goes on."""
    undecided = instance.run_retries_enabled and WILL_RETRY_TAG not in run.tags
    if run.status is dg.DagsterRunStatus.FAILURE and (undecided or run.is_complete_and_waiting_to_retry):
        return "running"
    return _ENDED.get(run.status, "running")


def night_of(instance: dg.DagsterInstance, run: dg.DagsterRun, harvester: Installation) -> int | None:
    """The id of the night that a run belongs to, which the first run of a tick opens; None: it is of no night."""
    if named := run.tags.get(NIGHT_TAG):
        return int(named)
    tick = run.tags.get(TICK_TAG)
    if tick is None:
        return None
    with harvester.pool.connection() as connection:
        night = nights.open_night(connection, harvester.config, harvester.clock(), datetime.fromisoformat(tick))
    instance.add_run_tags(run.run_id, {NIGHT_TAG: str(night.night_id)})
    return night.night_id


def set_ended(
    instance: dg.DagsterInstance, run: dg.DagsterRun, harvester: Installation, ended: Ended, reason: str = ""
) -> None:
    """The run of a set notes in its night how it ended, unless a later one has taken its place there: that knows
    better."""
    night_id, key = night_of(instance, run, harvester), run.tags.get(SET_TAG)
    if night_id is not None and key is not None and _is_newest(instance, run):
        with harvester.pool.connection() as connection:
            nights.set_ended(connection, night_id, key, ended, harvester.clock(), reason)


def _is_newest(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether no later run of its set is there in its night."""
    night = TICK_TAG if TICK_TAG in run.tags else NIGHT_TAG
    of_set = {name: run.tags[name] for name in (night, SET_TAG) if name in run.tags}
    newest = instance.get_runs(dg.RunsFilter(tags=of_set), limit=1)
    return all(other.run_id == run.run_id for other in newest)


def release_begins(instance: dg.DagsterInstance, run: dg.DagsterRun, harvester: Installation) -> int | None:
    """The release notes that it began, and how the runs ended that could not say so; the id of its night, if any."""
    night_id = night_of(instance, run, harvester)
    if night_id is None:
        return None
    with harvester.pool.connection() as connection:
        night = nights.by_id(connection, night_id)
    seen = look(instance, night)
    with harvester.pool.connection() as connection:
        nights.release_begun(connection, night_id, seen.sets, harvester.clock())
    return night_id


def failed_release(instance: dg.DagsterInstance, harvester: Installation, night_id: int) -> str:
    """The run of a night's release, when it failed or was killed; else nothing."""
    with harvester.pool.connection() as connection:
        night = nights.by_id(connection, night_id)
    seen = look(instance, night)
    return seen.release.run_id if seen.release and seen.release_state == "failure" else ""


def end_runs(instance: dg.DagsterInstance, night: Night) -> list[str]:
    """Have every run of a night end, and none of them be run again; the ids of those that have not ended yet."""
    runs = list(instance.get_runs(_of_night(night)))
    going_on = [run for run in runs if _state(instance, run) == "running"]
    for run in runs:
        is_over = run.status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED)
        if not is_over and run.tags.get(MAX_RETRIES_TAG) != "0":
            instance.add_run_tags(run.run_id, _NEVER_AGAIN)
    for run in going_on:
        if not run.is_finished and run.status is not dg.DagsterRunStatus.CANCELING:
            with suppress(dg.DagsterError):  # its code server is gone, and it with that: it is found dead
                instance.run_coordinator.cancel_run(run.run_id)  # from the queue, or in its process
    return [run.run_id for run in going_on]


@dg.failure_hook(name=names.SET_RUN_FAILED, required_resource_keys={names.HARVESTER})
def set_run_failed(context: dg.HookContext) -> None:
    """A step of a set's run raised: the night learns why, unless the run is run again."""
    if again.is_cut(context):
        return
    run = context.instance.get_run_by_id(context.run_id)
    assert run is not None
    why = str(context.op_exception or "")
    set_ended(context.instance, run, context.resources.harvester, "failure", why)
    if key := run.tags.get(names.PARTITION_TAG):
        told = shown_text.one_line(why)[:LONGEST_REASON]
        doing.harvest_failed(context.resources.harvester, run.run_id, key, told)


@dg.failure_hook(name=names.RELEASE_FAILED, required_resource_keys={names.HARVESTER})
def release_failed(context: dg.HookContext) -> None:
    """A step of a night's release raised: people are told, and the night is over, unless the run is run again."""
    if again.is_cut(context):
        return
    run = context.instance.get_run_by_id(context.run_id)
    assert run is not None
    night_id = night_of(context.instance, run, context.resources.harvester)
    if night_id is not None:
        why = shown_text.one_line(str(context.op_exception or ""))[:LONGEST_REASON]
        release.end_night(context.resources.harvester, night_id, failed_run=run.run_id, why=why)
