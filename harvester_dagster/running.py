"""Dagster from the command line: one set's job in this process, a release, the checks of an accepted candidate.

Beside `definitions.py` the only module of the domain package that knows Dagster; it is imported when a command needs
it, never at start. Real runs, recorded in the instance that the UI shows.
"""

from typing import Any

import dagster as dg

from assets import jobs, partitions
from assets.tasks import op_of
from harvester_dagster.definitions import defs
from harvester_dagster.installation import Installation

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The terminal is the command's; the events are in the UI."""


class RunFailed(Exception):
    """A run ended in failure; the message names it and its error."""


def run_set(harvester: Installation, key: str, ask: str = "auto") -> str:
    """Run a set's night now; the run's id. Raises RunFailed."""
    config = {"ops": {"harvest": {"config": {"ask": ask}}}}
    tags = {"harvest/set": key, "harvest/source": partitions.source_of(key), "harvest/origin": "command"}
    return _run(harvester, "harvest_set", config, partition_key=key, tags=tags)


def run_task(harvester: Installation, key: str, task: str, again: str) -> str:
    """Run one task asset over a set, with results made again as asked; the run's id."""
    names = {"": "nothing"}
    config = {"ops": {op_of(harvester.catalog, task): {"config": {"again": names.get(again, again)}}}}
    return _run(harvester, "harvest_set", config, partition_key=key, selection=[dg.AssetKey(task)])


def run_release(harvester: Installation, *, by_hand: bool = True) -> str:
    config = {"ops": {"set_current_dataset_version": {"config": {"by_hand": by_hand}}}}
    return _run(harvester, "release", config, tags={"harvest/release": "hand"})


def report_accepted(harvester: Installation, key: str) -> None:
    """Turn the set's red checks green: an operator has looked."""
    with dg.DagsterInstance.get() as instance:
        partitions.synchronise(instance, harvester)
        jobs.report_accepted(instance, harvester, key)


def _run(
    harvester: Installation,
    job: str,
    config: dict[str, Any],
    *,
    partition_key: str | None = None,
    tags: dict[str, str] | None = None,
    selection: list[dg.AssetKey] | None = None,
) -> str:
    with dg.DagsterInstance.get() as instance:
        partitions.synchronise(instance, harvester)
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            run_config=config | QUIET,
            partition_key=partition_key,
            tags=tags,
            asset_selection=selection,
            raise_on_error=False,
        )
        if not result.success:
            why = "; ".join(_reason(event) for event in result.filter_events(lambda event: event.is_step_failure))
            raise RunFailed(f"run {result.run_id} of {job} failed: {why or 'see it in the UI'}")
        return result.run_id


def _reason(event: dg.DagsterEvent) -> str:
    """What the step raised, in a line, without Dagster's wrapping."""
    error = event.step_failure_data.error
    return "" if error is None else (error.cause or error).message.strip().splitlines()[0]
