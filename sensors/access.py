"""When the enricher runs: a schedule per endpoint and mode that the configuration gives a time.

Belongs here: the job and its schedules. Does not belong here: what a run does (`assets/access.py`).
"""

from typing import Any

import dagster as dg

from harvester_dagster.config import Config

JOB = "decide_access"
ENDPOINT_TAG = "access/endpoint"
"""A run queue may limit runs by it; the endpoint's own lock keeps them apart anyway."""


def access_job() -> Any:
    return dg.define_asset_job(
        JOB,
        selection=["journals", "access_decisions", "access_updates"],
        executor_def=dg.in_process_executor,
        description="Decide who may read what in one endpoint and mode, and write it back.",
    )


def access_schedules(config: Config, job: Any) -> list[dg.ScheduleDefinition]:
    return [
        _schedule(config, job, name, mode, cron)
        for name, settings in config.metastore.items()
        for mode, cron in settings.schedules.items()
    ]


def _schedule(config: Config, job: Any, name: str, mode: str, cron: str) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"access_{name.replace('-', '_').replace('.', '_')}_{mode}",
        job=job,
        cron_schedule=cron,
        execution_timezone=config.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Access of {name}, mode {mode}.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        key = f"{name}:{mode}"
        moment = context.scheduled_execution_time.isoformat()
        return dg.RunRequest(run_key=f"{key}:{moment}", partition_key=key, tags={ENDPOINT_TAG: name})

    return tick
