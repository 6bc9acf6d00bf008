"""When things run: the nightly schedule, the barrier before the release, the release of work done by day.

The rules are in the domain (`nights.py`); here they meet Dagster's runs. Every request carries a run key, so that a
tick that is repeated, or a daemon that died in between, requests nothing twice.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from assets.harvest import NIGHT_TAG
from assets.jobs import AssetJob
from assets.partitions import source_of, synchronise
from harvester_dagster import alerts, nights
from harvester_dagster.config import Config
from harvester_dagster.installation import Installation
from harvester_dagster.nights import Night, RunState
from harvester_dagster.search import swap
from harvester_dagster.versions import days

SET_TAG = "harvest/set"
SOURCE_TAG = "harvest/source"
RELEASE_TAG = "harvest/release"
TICK_SECONDS = 5

WILL_RETRY_TAG = "dagster/will_retry"
_ENDED: dict[dg.DagsterRunStatus, RunState] = {
    dg.DagsterRunStatus.SUCCESS: "success",
    dg.DagsterRunStatus.FAILURE: "failure",
    dg.DagsterRunStatus.CANCELED: "failure",
}


def set_request(key: str, night_id: int) -> dg.RunRequest:
    """The run of one set in one night."""
    return dg.RunRequest(
        run_key=f"night-{night_id}:{key}",
        job_name="harvest_set",
        partition_key=key,
        tags={NIGHT_TAG: str(night_id), SET_TAG: key, SOURCE_TAG: source_of(key)},
    )


def nightly_schedule(config: Config, job: AssetJob) -> dg.ScheduleDefinition:
    @dg.schedule(
        job=job,
        name="nightly",
        cron_schedule=config.night.cron,
        execution_timezone=config.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Opens a night: one run for every set. The release follows when all have ended.",
    )
    def nightly(
        context: dg.ScheduleEvaluationContext, harvester: dg.ResourceParam[Installation]
    ) -> Sequence[dg.RunRequest]:
        synchronise(context.instance, harvester)
        with harvester.pool.connection() as connection:
            night, keys = nights.open_night(connection, harvester.config, harvester.clock(), "schedule")
        return [set_request(key, night.night_id) for key in keys]

    return nightly


def vocabulary_schedule(config: Config, job: AssetJob) -> dg.ScheduleDefinition:
    """Running when there is something to harvest beside what ships."""
    wanted = bool(config.vocabularies.skos)
    return dg.ScheduleDefinition(
        name="vocabularies_weekly",
        job=job,
        cron_schedule=config.vocabularies.cron,
        execution_timezone=config.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if wanted else dg.DefaultScheduleStatus.STOPPED,
        description="Harvests the vocabularies that are configured beside those that ship.",
    )


def night_watch(jobs: Sequence[AssetJob]) -> dg.SensorDefinition:
    @dg.sensor(
        jobs=jobs,
        name="night_watch",
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="The barrier of a night: requests runs that are missing, and its release once every set's run has "
        "ended or the deadline has passed. Tells people what they should know.",
    )
    def watch(context: dg.SensorEvaluationContext, harvester: dg.ResourceParam[Installation]) -> dg.SensorResult:
        synchronise(context.instance, harvester)
        with harvester.pool.connection() as connection:
            open_nights = nights.open_nights(connection)
        requests = [request for night in open_nights for request in _requests(context.instance, harvester, night)]
        if requests:
            return dg.SensorResult(run_requests=requests)
        return dg.SensorResult(skip_reason=f"{len(open_nights)} open nights; nothing is due")

    return watch


def _requests(instance: dg.DagsterInstance, harvester: Installation, night: Night) -> Iterator[dg.RunRequest]:
    tag = {NIGHT_TAG: str(night.night_id)}
    states: dict[str, RunState] = {}
    released: dg.DagsterRun | None = None
    for run in instance.get_runs(dg.RunsFilter(tags=tag)):  # newest first
        if run.job_name == "release":
            released = released or run
        elif key := run.tags.get(SET_TAG):
            states.setdefault(key, _state(instance, run))
    is_over = released is not None and _state(instance, released) != "running"
    with harvester.pool.connection() as connection:
        watched = nights.watch(connection, night, states, harvester.clock())
        if is_over:
            nights.end(connection, night.night_id, harvester.clock())
    if released is not None and is_over:
        alerts.tell(harvester, [*alerts.standing(harvester), *_missed(released)])
        return
    for key in watched.missing:
        yield set_request(key, night.night_id)
    if watched.release_due and released is None:
        yield dg.RunRequest(
            run_key=f"release-night-{night.night_id}", job_name="release", tags={**tag, RELEASE_TAG: "night"}
        )


def _state(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunState:
    """How a run ended. One that failed and is run again by Dagster, or of which that is not known yet, goes on."""
    undecided = instance.run_retries_enabled and WILL_RETRY_TAG not in run.tags
    if run.status is dg.DagsterRunStatus.FAILURE and (undecided or run.is_complete_and_waiting_to_retry):
        return "running"
    return _ENDED.get(run.status, "running")


def _missed(released: dg.DagsterRun) -> list[alerts.Alert]:
    if released.status is dg.DagsterRunStatus.SUCCESS:
        return []
    return [
        alerts.Alert(
            f"release-missed {released.run_id}",
            f"the release of the night failed (run {released.run_id}): the last version stays current",
            "look at the run, then `harvester release`",
        )
    ]


def day_work(job: AssetJob) -> dg.SensorDefinition:
    @dg.sensor(
        job=job,
        name="day_work",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Releases work done by day (a backfill, an accept, a retry) when sets have advanced, nothing runs, "
        "and nothing has moved for release_quiet_period. Mends an alias that a crash left behind the version.",
    )
    def watch(
        context: dg.SensorEvaluationContext, harvester: dg.ResourceParam[Installation]
    ) -> dg.RunRequest | dg.SkipReason:
        busy = context.instance.get_runs(
            dg.RunsFilter(
                statuses=[dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
            ),
            limit=1,
        )
        if busy:
            return dg.SkipReason("runs are going on")
        swap.reconcile(harvester)
        waiting = days.waiting(harvester)
        if isinstance(waiting, str):
            return dg.SkipReason(waiting)
        return dg.RunRequest(run_key=f"day-{waiting.mark}", tags={RELEASE_TAG: "day"})

    return watch
