"""When things run: the nightly schedule, the barrier before the release, the release of work done by day.

Evaluating changes nothing: schedules and sensors read, and answer with requests; what is to be remembered is written by
the runs. The rules are in the domain (`nights.py`); here they meet Dagster's runs. Every request carries a run key made
of the tick or the night, so that a tick that is repeated, or a daemon that died in between, requests nothing twice.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets import names, night_runs, partitions
from assets.jobs import AssetJob, ReconcileConfig, mend, reconcile_set
from assets.names import RELEASE_TAG, SET_TAG, SOURCE_TAG, TICK_TAG
from harvester_dagster.config import Config, source_of
from harvester_dagster.installation import Installation
from harvester_dagster.releases import asking_anew, nights
from harvester_dagster.releases import day_work as days
from harvester_dagster.releases.nights import Night
from harvester_dagster.search import aliases
from harvester_dagster.sets import reconcile
from sensors import automation

TICK_SECONDS = 4
"""Dagster's loop over the sensors takes 5 s: with 5, every second turn found this one not yet due."""
RECONCILING = "0 12 * * *"
NOT_BEGUN = timedelta(days=1)
"""For so long a tick counts of which no run has begun."""


def set_request(key: str, night: Night) -> dg.RunRequest:
    """The run of one set in one night."""
    return dg.RunRequest(
        run_key=f"night-{night.name}:{key}",
        job_name=names.HARVEST_SET_JOB,
        partition_key=key,
        tags={**night_runs.tags_of(night), SET_TAG: key, SOURCE_TAG: source_of(key)},
    )


def nightly_schedule(config: Config, job: AssetJob) -> dg.ScheduleDefinition:
    """The night's schedule: one run request a set, named by the tick."""

    @dg.schedule(
        job=job,
        name=names.NIGHTLY,
        cron_schedule=config.night.cron,
        execution_timezone=config.timezone,
        default_status=automation.schedule(config),
        description="Requests a night: one run for every set. The release follows when all have ended.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> Sequence[dg.RunRequest] | dg.SkipReason:
        tick = context.scheduled_execution_time
        unknown = partitions.unknown(context.instance, config)  # `night_watch` adds them, then their runs
        requests = [set_request(key, nights.to_come(config, tick, tick)) for key in config.sets if key not in unknown]
        return requests or dg.SkipReason("no set is configured, or none has a partition yet")

    return nightly


def vocabulary_schedule(config: Config, job: AssetJob) -> dg.ScheduleDefinition:
    """Running when there is something to harvest beside what ships."""
    return dg.ScheduleDefinition(
        name=names.VOCABULARIES_WEEKLY,
        job=job,
        cron_schedule=config.vocabularies.cron,
        execution_timezone=config.timezone,
        default_status=automation.schedule(config, wanted=bool(config.vocabularies.skos)),
        description="Harvests the vocabularies that are configured beside those that ship.",
    )


def reconcile_schedule(config: Config) -> dg.ScheduleDefinition:
    """The schedule of reconciliations: by day, when nobody harvests. Evaluating asks no source."""

    @dg.schedule(
        job=reconcile_set,
        name=names.RECONCILE_DAILY,
        cron_schedule=RECONCILING,
        execution_timezone=config.timezone,
        default_status=automation.schedule(config),
        description="Requests a reconciliation of each set that is due: after reconcile_after_days, and when its "
        "newest list was short or rejected.",
    )
    def daily(
        context: dg.ScheduleEvaluationContext, harvester: dg.ResourceParam[Installation]
    ) -> Sequence[dg.RunRequest] | dg.SkipReason:
        tick = context.scheduled_execution_time
        requests = [
            dg.RunRequest(
                run_key=f"reconcile-{tick:%Y-%m-%dT%H:%M}:{key}",
                run_config=dg.RunConfig(ops={names.RECONCILE_SET_OP: ReconcileConfig(source_set=key, why=why)}),
                tags={SET_TAG: key, SOURCE_TAG: source_of(key)},
            )
            for key, why in reconcile.all_due(harvester).items()
        ]
        return requests or dg.SkipReason("no set is due")

    return daily


def night_watch(config: Config, jobs: Sequence[AssetJob]) -> dg.SensorDefinition:
    """The barrier's sensor over these jobs."""

    @dg.sensor(
        jobs=[*jobs, mend],
        name=names.NIGHT_WATCH,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=automation.sensor(config),
        description="The barrier of a night: requests runs that are missing, and its release once every set's run has "
        "ended or the deadline has passed; and partitions for sets that are new in the configuration.",
    )
    def watch(context: dg.SensorEvaluationContext, harvester: dg.ResourceParam[Installation]) -> dg.SensorResult:
        unknown = partitions.unknown(context.instance, harvester.config)
        awaited = _awaited(context.instance, harvester)
        requests = [request for night in awaited for request in _requests(context.instance, harvester, night)]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else f"{len(awaited)} open nights; nothing is due",
            dynamic_partitions_requests=[partitions.SETS.build_add_request(unknown)] if unknown else [],
            asset_events=partitions.shipped(context.instance) if unknown else [],
        )

    return watch


def _awaited(instance: dg.DagsterInstance, harvester: Installation) -> list[Night]:
    """The open nights, and that of the newest tick when no run of it has begun."""
    now = harvester.clock()
    of_ticks = dg.RunsFilter(
        job_name=names.HARVEST_SET_JOB, tags={names.SCHEDULE_TAG: names.NIGHTLY}, created_after=now - NOT_BEGUN
    )
    newest = instance.get_run_records(of_ticks, limit=1)
    with harvester.pool.connection() as connection:
        found = nights.open_nights(connection)
        for record in newest:
            name = record.dagster_run.tags.get(TICK_TAG)
            tick = datetime.fromisoformat(name) if name else None
            if tick and nights.of_tick(connection, tick) is None:
                found.append(nights.to_come(harvester.config, tick, record.create_timestamp.astimezone(UTC)))
    return found


def _requests(instance: dg.DagsterInstance, harvester: Installation, night: Night) -> Iterator[dg.RunRequest]:
    seen = night_runs.look(instance, night)
    now = harvester.clock()
    if seen.release is not None:
        if seen.release_state != "running" and _is_open(harvester, night):
            yield _mending(f"night-{night.name}", now, night_runs.tags_of(night))
        return
    with harvester.pool.connection() as connection:
        expected = nights.expected(connection, night.night_id) if night.night_id else list(harvester.config.sets)
    due = nights.due(night, expected, seen.sets, now)
    for key in due.missing:
        yield set_request(key, night)
    if due.release:
        yield dg.RunRequest(
            run_key=f"release-night-{night.name}",
            job_name=names.RELEASE_JOB,
            tags={**night_runs.tags_of(night), RELEASE_TAG: "night"},
        )


def _is_open(harvester: Installation, night: Night) -> bool:
    """Asked again after its runs: a release closes its night before it ends."""
    with harvester.pool.connection() as connection:
        tick = night.scheduled_at
        found = nights.of_tick(connection, tick) if tick else nights.by_id(connection, night.night_id)
    return found is None or found.ended_at is None


def _mending(what: str, now: datetime, tags: dict[str, str]) -> dg.RunRequest:
    """At most one in ten minutes, until it is mended."""
    return dg.RunRequest(run_key=f"mend-{what}-{f'{now:%Y-%m-%dT%H:%M}'[:-1]}0", job_name=mend.name, tags=tags)


def day_work(config: Config, job: AssetJob) -> dg.SensorDefinition:
    """The sensor of work done by day; `job` is the release."""

    @dg.sensor(
        jobs=[job, mend],
        name=names.DAY_WORK,
        minimum_interval_seconds=30,
        default_status=automation.sensor(config),
        description="Releases work done by day (a backfill, an accept, a retry) when sets have advanced, nothing runs, "
        "and nothing has moved for release_quiet_period. Whatever else runs, has mended: an alias that is behind the "
        "version, an index that does not obey a takedown, a record whose purge was undone.",
    )
    def watch(
        context: dg.SensorEvaluationContext, harvester: dg.ResourceParam[Installation]
    ) -> Sequence[dg.RunRequest] | dg.SkipReason:
        cut = {"takedowns": aliases.may_show_taken_down(harvester), "asked-anew": bool(asking_anew.due(harvester))}
        requests = [_mending(what, harvester.clock(), {}) for what, is_due in cut.items() if is_due]
        if (behind := aliases.behind(harvester)) and not _goes_on(context.instance, names.RELEASE_JOB):
            requests.append(_mending(f"aliases-of-{behind}", harvester.clock(), {}))
        found = _by_day(context.instance, harvester)
        if isinstance(found, dg.SkipReason):
            return requests or found
        return [*requests, found]

    return watch


def _by_day(instance: dg.DagsterInstance, harvester: Installation) -> dg.RunRequest | dg.SkipReason:
    if _goes_on(instance):
        return dg.SkipReason("runs are going on")
    waiting = days.waiting(harvester)
    if isinstance(waiting, str):
        return dg.SkipReason(waiting)
    return dg.RunRequest(run_key=f"day-{waiting.mark}", job_name=names.RELEASE_JOB, tags={RELEASE_TAG: "day"})


def _goes_on(instance: dg.DagsterInstance, job: str | None = None) -> bool:
    """Whether any run does, or one of this job."""
    under_way = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    return bool(instance.get_runs(dg.RunsFilter(job_name=job, statuses=under_way), limit=1))
