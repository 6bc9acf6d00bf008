"""When the enricher runs: a schedule per endpoint and mode that the configuration gives a time.

Belongs here: the schedules. Does not belong here: their job (`assets/jobs.py`), what a run does (`assets/access.py`).
Dagster's page: https://docs.dagster.io/guides/automate/schedules
"""

from typing import Any

import dagster as dg

from assets import names
from harvester_dagster.config import Config
from sensors import automation


def access_schedules(config: Config, job: Any) -> list[dg.ScheduleDefinition]:
    """A schedule for each mode that an endpoint's configuration gives a time."""
    return [
        _schedule(config, job, name, mode, cron)
        for name, settings in config.metastore.items()
        for mode, cron in settings.schedules.items()
    ]


def _schedule(config: Config, job: Any, name: str, mode: str, cron: str) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=names.access_schedule(name, mode),
        job=job,
        cron_schedule=cron,
        execution_timezone=config.timezone,
        default_status=automation.schedule(config),
        description=f"Access of {name}, mode {mode}.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        key = f"{name}:{mode}"
        moment = context.scheduled_execution_time.isoformat()
        return dg.RunRequest(run_key=f"{key}:{moment}", partition_key=key, tags={names.ENDPOINT_TAG: name})

    return tick
