"""Dagster from the command line: one set's job in this process, a release, the checks of an accepted candidate; and
from the pages, whose runs it launches.

Beside `definitions.py` the only module of the domain package that knows Dagster; it is imported when a command needs
it, never at start. Real runs, recorded in the instance that the UI shows.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
from gql.transport.httpx import HTTPXTransport

from assets import jobs, names, partitions
from assets.dead_runs import LOOK_SECONDS, LOOKED_BACK, DeadRuns, MissedRetries
from assets.tasks import op_of
from harvester_dagster.config import source_of
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.definitions import defs
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.processes.beside import beside
from harvester_dagster.releases import nights
from harvester_dagster.services import unix_socket
from harvester_dagster.sets.pushed import Taken
from harvester_dagster.store.away import is_away, overlooked
from harvester_dagster.web.door import GRAPHQL
from harvester_dagster.web.launching import NotStarted

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The terminal is the command's; the events are in the UI."""
PAGE = "page"
"""Where a run comes from that somebody began on our pages."""


class RunFailed(HarvesterError):
    """A run ended in failure; the message names it and its error."""


def run_set(harvester: Installation, key: str, ask: str = "auto") -> str:
    """Run a set's night now; the run's id. Raises RunFailed."""
    config = {"ops": {names.HARVEST: {"config": {"ask": ask}}}}
    tags = {names.SET_TAG: key, names.SOURCE_TAG: source_of(key), names.ORIGIN_TAG: "command"}
    return _run(harvester, names.HARVEST_SET_JOB, config, partition_key=key, tags=tags)


def run_task(harvester: Installation, key: str, task: str, again: str) -> str:
    """Run one task asset over a set, with results made again as asked; the run's id."""
    config = {"ops": {op_of(harvester.catalog, task): {"config": {"again": again or "nothing"}}}}
    return _run(harvester, names.HARVEST_SET_JOB, config, partition_key=key, selection=[dg.AssetKey(task)])


def run_release(harvester: Installation, *, by_hand: bool = True) -> str:
    """Promote what the sets have accepted; the run's id. By hand it ends the hold of a rollback. Raises RunFailed."""
    config = {"ops": {names.SET_CURRENT_DATASET_VERSION: {"config": {"by_hand": by_hand}}}}
    return _run(harvester, names.RELEASE_JOB, config, tags={names.RELEASE_TAG: "hand"})


def report_accepted(harvester: Installation, key: str) -> None:
    """Turn the set's red checks green: an operator has looked."""
    with dg.DagsterInstance.get() as instance:
        partitions.synchronise(instance, harvester)
        jobs.report_accepted(instance, harvester, key)


class PushReports:
    """Tells Dagster of what was pushed, as events without a run, for as long as a worker lives."""

    def __init__(self, harvester: Installation) -> None:
        self._harvester = harvester
        self._instance = dg.DagsterInstance.get()

    def __call__(self, found: Taken) -> None:
        """A materialization of each entity's set. An event that Dagster's store does not take is told on stderr only:
        what was pushed is published all the same."""
        try:
            jobs.report_pushed(self._instance, self._harvester, found)
        except Exception as error:
            if not is_away(error):
                raise
            print(f"{found.key}: Dagster was not told: {type(error).__name__}", file=sys.stderr)

    def __enter__(self) -> "PushReports":
        return self

    def __exit__(self, *_: object) -> None:
        self._instance.dispose()


def is_queued(tick: datetime) -> bool:
    """Whether there are runs of this tick of the night's schedule that have not ended."""
    going_on = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
    going_on += [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    with dg.DagsterInstance.get() as instance:
        filters = dg.RunsFilter(tags={names.TICK_TAG: nights.tick_name(tick)}, statuses=going_on)
        return bool(instance.get_runs(filters, limit=1))


def check_watched() -> None:
    """Raises ConfigError where the sensor that requests a night's runs and its release is switched off in the UI."""
    with dg.DagsterInstance.get() as instance:
        states = {state.name: state.status.value for state in instance.all_instigator_state()}
    if states.get(names.NIGHT_WATCH) == "STOPPED":
        raise ConfigError(
            f"the sensor {names.NIGHT_WATCH} is switched off in the Dagster UI: nobody would request a night's runs",
            "switch it on there, on the page Automation",
        )


def release_goes_on(night_id: int) -> bool:
    """Whether the release of a night has not ended: its run closes the night, and then ends itself."""
    with dg.DagsterInstance.get() as instance:
        filters = dg.RunsFilter(tags={names.NIGHT_TAG: str(night_id)}, job_name=names.RELEASE_JOB)
        return any(not run.is_finished for run in instance.get_runs(filters))


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
            instance.add_run_tags(result.run_id, {names.WILL_RETRY_TAG: "false"})  # Dagster cannot begin a command
            why = "; ".join(_reason(event) for event in result.filter_events(lambda event: event.is_step_failure))
            raise RunFailed(f"run {result.run_id} of {job} failed{why and f': {why}'}", "see it in the Dagster UI")
        return result.run_id


def _reason(event: dg.DagsterEvent) -> str:
    """What the step raised, in a line, without Dagster's wrapping."""
    error = event.step_failure_data.error
    return "" if error is None else (error.cause or error).message.strip().splitlines()[0]


@contextmanager
def watched(harvester: Installation, is_wanted: Callable[[], bool]) -> Iterator[None]:
    """While the block lasts, and it is wanted: runs whose process is gone are ended, and those that Dagster forgot are
    run again. A store that is away for a moment is looked into later."""
    dead, missed = DeadRuns(), MissedRetries()

    def look() -> None:
        if not is_wanted():
            return
        now, back = time.monotonic(), harvester.clock() - LOOKED_BACK
        with overlooked():
            for run in dead.end(instance, harvester.pool, now):
                print(f"run {run.run_id} of {run.job_name} was found dead; {_and_then(run)}", file=sys.stderr)
            for run in missed.tell_again(instance, now, back):
                print(f"run {run.run_id} of {run.job_name} failed and was forgotten; it is run again", file=sys.stderr)

    with dg.DagsterInstance.get() as instance, beside("runs", look, LOOK_SECONDS):
        yield


def _and_then(run: dg.DagsterRun) -> str:
    return "it is run again" if run.remote_job_origin else "its command may be given again"


class DagsterLauncher:
    """Begins runs for the web application (`web/launching.py`, `web/acts.py`), by the API of Dagster's web application.

    All raise NotStarted when Dagster cannot be reached or refuses.
    """

    def __init__(self, file: Path, job: str = names.DECIDE_ACCESS_JOB, timeout: int = 30) -> None:
        """`file` is the Unix socket on which `dagster_ui.py` serves it; `timeout` in seconds; `job` decides access."""
        self._file, self._job, self._timeout = file, job, timeout

    def launch(self, endpoint: str, mode: str, request: int) -> None:
        """Queue a run of the enricher for an asked-for request."""
        tags = {
            names.PARTITION_TAG: f"{endpoint}:{mode}",
            names.ENDPOINT_TAG: endpoint,
            names.REQUEST_TAG: str(request),
        }
        self._begin(self._job, tags=tags)

    def harvest(self, key: str) -> str:
        """Queue a set's run."""
        tags = {names.PARTITION_TAG: key, names.SET_TAG: key, names.SOURCE_TAG: source_of(key), names.ORIGIN_TAG: PAGE}
        return self._begin(names.HARVEST_SET_JOB, tags=tags)

    def accept(self, key: str, attempt: int) -> str:
        """Queue the acceptance of a candidate."""
        config = {
            "ops": {
                names.ACCEPT_CANDIDATE_OP: {"config": jobs.AcceptConfig(source_set=key, attempt=attempt).model_dump()}
            }
        }
        return self._begin(names.ACCEPT_JOB, config, {names.ORIGIN_TAG: PAGE})

    def retry(self, task: str, sets: Sequence[str]) -> str:
        """Queue one run for all of these sets."""
        given = jobs.RetryConfig(task=task, sets=list(sets)).model_dump()
        config = {"ops": {names.RETRY_RESULTS_OP: {"config": given}}}
        return self._begin(names.RETRY_JOB, config, {names.ORIGIN_TAG: PAGE, names.RETRY_TAG: task})

    def release(self) -> str:
        """Queue a release by hand."""
        config = {"ops": {names.SET_CURRENT_DATASET_VERSION: {"config": {"by_hand": True}}}}
        return self._begin(names.RELEASE_JOB, config, {names.RELEASE_TAG: "hand"})

    def roll_back(self, version: int) -> str:
        """Queue going back to a version."""
        config = {"ops": {names.ROLL_BACK_OP: {"config": jobs.RollbackConfig(version=version).model_dump()}}}
        return self._begin(names.ROLLBACK_JOB, config, {names.ORIGIN_TAG: PAGE})

    def _begin(self, job: str, config: dict[str, Any] | None = None, tags: dict[str, str] | None = None) -> str:
        try:
            with unix_socket.short(self._file) as name:
                return self._client(name).submit_job_execution(job, run_config=config or {}, tags=tags)
        except (DagsterGraphQLClientError, FileNotFoundError) as error:
            raise NotStarted(f"Dagster at {self._file} did not start it: {_said(error)}") from error

    def _client(self, name: str) -> DagsterGraphQLClient:
        """One for each launch: it refuses a second thread's call while one goes on."""
        way = HTTPXTransport(
            f"http://localhost{GRAPHQL}", transport=httpx.HTTPTransport(uds=name), timeout=self._timeout
        )
        return DagsterGraphQLClient("localhost", transport=way)


def _said(error: Exception) -> str:
    """What happened, in a line. Without an answer of Dagster's the client's own words are the whole query."""
    cause = error.__cause__
    said = f"{type(cause).__name__}: {cause}" if cause else ": ".join(str(each) for each in error.args)
    return said.splitlines()[0][:300]
