"""Dagster from the command line: one set's job in this process, a release, the checks of an accepted candidate; and
from the pages, whose runs it launches.

Beside `definitions.py` and `dagster_ui.py` the only module of the domain package that knows Dagster; it is imported
when a command needs it, never at start. Real runs, recorded in the instance that the UI shows.
"""

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
from gql.transport.httpx import HTTPXTransport

from assets import jobs, names, night_runs, partitions
from assets.dead_runs import LOOK_SECONDS, LOOKED_BACK, DeadRuns, MissedRetries
from assets.tasks import op_of
from harvester_dagster import shown_text
from harvester_dagster.config import source_of
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.definitions import defs
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.processes.beside import beside
from harvester_dagster.releases import nights
from harvester_dagster.releases.nights import Night
from harvester_dagster.services import unix_socket
from harvester_dagster.sets.pushed import Taken
from harvester_dagster.store import database
from harvester_dagster.store.away import overlooked
from harvester_dagster.web.acts import RunSeen, RunState, Said
from harvester_dagster.web.door import GRAPHQL
from harvester_dagster.web.launching import NotStarted

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The terminal is the command's; the events are in the UI."""


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
    """Turn the set's red checks green: an operator has looked. That Dagster's store does not take it is told on stderr
    only: the candidate is accepted all the same."""
    with _told_or_said(key), dg.DagsterInstance.get() as instance:
        tell_accepted(instance, harvester, key)


def tell_accepted(instance: dg.DagsterInstance, harvester: Installation, key: str) -> None:
    """The same, as a run that has ended: accepting took none, for the candidate still stood."""
    partitions.synchronise(instance, harvester)
    config = {"ops": {names.ACCEPT_CANDIDATE_OP: {"config": jobs.AcceptConfig(source_set=key).model_dump()}}}
    job = defs.resolve_job_def(names.ACCEPT_JOB)
    run = instance.create_run_for_job(
        job, run_config=config, tags={names.SET_TAG: key, names.SOURCE_TAG: source_of(key)}
    )
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job.name), run_id=run.run_id)
    jobs.report_accepted(instance, harvester, key, run.run_id)
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job.name), run_id=run.run_id)


class PushReports:
    """Tells Dagster of what was pushed, as events without a run, for as long as a worker lives."""

    def __init__(self, harvester: Installation) -> None:
        self._harvester = harvester
        self._instance = dg.DagsterInstance.get()

    def __call__(self, found: Taken) -> None:
        """A materialization of each entity's set. An event that Dagster's store does not take is told on stderr only:
        what was pushed is published all the same."""
        with _told_or_said(found.key):
            jobs.report_pushed(self._instance, self._harvester, found)

    def __enter__(self) -> "PushReports":
        return self

    def __exit__(self, *_: object) -> None:
        self._instance.dispose()


@contextmanager
def _told_or_said(key: str) -> Iterator[None]:
    """Around telling Dagster of a set what stands all the same: on stderr where its store does not take it."""
    try:
        yield
    except Exception as error:
        print(f"{key}: Dagster was not told: {type(error).__name__}", file=sys.stderr)


def end_runs(night: Night) -> list[str]:
    """Have every run of a night end; the ids of those that have not ended yet."""
    with dg.DagsterInstance.get() as instance:
        return night_runs.end_runs(instance, night)


def is_queued(tick: datetime) -> bool:
    """Whether there are runs of this tick of the night's schedule that have not ended."""
    going_on = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
    going_on += [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    with dg.DagsterInstance.get() as instance:
        filters = dg.RunsFilter(tags={names.TICK_TAG: nights.tick_name(tick)}, statuses=going_on)
        return bool(instance.get_runs(filters, limit=1))


def check_watched(harvester: Installation) -> None:
    """Raises ConfigError where the sensor that requests a night's runs and its release is switched off in the UI."""
    states = database.again(_switches, harvester.address)
    if states.get(names.NIGHT_WATCH) == "STOPPED":
        raise ConfigError(
            f"the sensor {names.NIGHT_WATCH} is switched off in the Dagster UI: nobody would request a night's runs",
            "switch it on there, on the page Automation",
        )


def _switches() -> dict[str, str]:
    """Schedules and sensors that somebody has switched on or off, by their name."""
    with dg.DagsterInstance.get() as instance:
        return {state.name: state.status.value for state in instance.all_instigator_state()}


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
    return "" if error is None else _CLASS.sub("", (error.cause or error).message.strip().splitlines()[0])


@contextmanager
def watched(harvester: Installation, is_wanted: Callable[[], bool]) -> Iterator[None]:
    """While the block lasts, and it is wanted: runs whose process is gone are ended, and those that Dagster forgot are
    run again. A store that is away for a moment is looked into later, and waited for at the beginning."""
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

    with database.again(dg.DagsterInstance.get, harvester.address) as instance, beside("runs", look, LOOK_SECONDS):
        yield


def _and_then(run: dg.DagsterRun) -> str:
    return "it is run again" if run.remote_job_origin else "its command may be given again"


class DagsterLauncher:
    """Begins runs for the web application (`web/launching.py`, `web/acts.py`), by the API of Dagster's web application;
    those raise NotStarted when Dagster cannot be reached or refuses. How runs go it reads in Dagster's store.
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
        tags = {
            names.PARTITION_TAG: key,
            names.SET_TAG: key,
            names.SOURCE_TAG: source_of(key),
            names.ORIGIN_TAG: names.PAGE,
        }
        return self._begin(names.HARVEST_SET_JOB, tags=tags)

    def look(self, key: str) -> str:
        """Queue the staging of a candidate that is to be looked at."""
        return self._accept(jobs.AcceptConfig(source_set=key, look=True))

    def accept(self, key: str, attempt: int, seen: str) -> str:
        """Queue the acceptance of a candidate."""
        return self._accept(jobs.AcceptConfig(source_set=key, attempt=attempt, seen=seen))

    def _accept(self, given: jobs.AcceptConfig) -> str:
        config = {"ops": {names.ACCEPT_CANDIDATE_OP: {"config": given.model_dump()}}}
        return self._begin(names.ACCEPT_JOB, config, {names.ORIGIN_TAG: names.PAGE, names.SET_TAG: given.source_set})

    def retry(self, task: str, sets: Sequence[str]) -> str:
        """Queue one run for all of these sets."""
        given = jobs.RetryConfig(task=task, sets=list(sets)).model_dump()
        config = {"ops": {names.RETRY_RESULTS_OP: {"config": given}}}
        return self._begin(names.RETRY_JOB, config, {names.ORIGIN_TAG: names.PAGE, names.RETRY_TAG: task})

    def release(self, hold_seen: str) -> str:
        """Queue a release by hand."""
        given = {"by_hand": True, "hold_seen": hold_seen}
        config = {"ops": {names.SET_CURRENT_DATASET_VERSION: {"config": given}}}
        return self._begin(names.RELEASE_JOB, config, {names.RELEASE_TAG: "hand", names.ORIGIN_TAG: names.PAGE})

    def roll_back(self, version: int, instead_of: int) -> str:
        """Queue going back to a version."""
        given = jobs.RollbackConfig(version=version, instead_of=instead_of).model_dump()
        config = {"ops": {names.ROLL_BACK_OP: {"config": given}}}
        return self._begin(names.ROLLBACK_JOB, config, {names.ORIGIN_TAG: names.PAGE})

    def seen(self, run_id: str) -> RunSeen | None:
        """What Dagster's store has of a run."""
        run = self._instance.get_run_by_id(run_id)
        if run is None:
            return None
        state = _STATES.get(run.status, "goes on")
        reason = _why_failed(self._instance, run_id) if state == "failed" else ""
        return RunSeen(run_id, _act(run), _subject(run), state, _said_by(self._instance, run_id), reason)

    def accepted(self, installation: Installation, key: str) -> None:
        """The set's red checks turn green, as `report_accepted` turns them."""
        with _told_or_said(key):
            tell_accepted(self._instance, installation, key)

    def end_runs(self, night: Night) -> list[str]:
        """Those in the queue are taken out of it, those that go on are told to end."""
        return night_runs.end_runs(self._instance, night)

    @cached_property
    def _instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.get()

    def __enter__(self) -> "DagsterLauncher":
        return self

    def __exit__(self, *_: object) -> None:
        if "_instance" in vars(self):
            self._instance.dispose()

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


_STATES: dict[dg.DagsterRunStatus, RunState] = {
    dg.DagsterRunStatus.QUEUED: "waits",
    dg.DagsterRunStatus.NOT_STARTED: "waits",
    dg.DagsterRunStatus.STARTING: "waits",
    dg.DagsterRunStatus.SUCCESS: "done",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "stopped",
}
_JOBS = {names.HARVEST_SET_JOB: "harvest", names.RETRY_JOB: "retry", names.ROLLBACK_JOB: "rollback"}
_LOOKED, _SHOWN = 200, 8
"""Events of a run that are looked through, and lines of it that are shown."""
_CLASS = re.compile(r"^(\w+\.)+\w+: ")
"""What stands before an error's own words."""


def _act(run: dg.DagsterRun) -> str:
    is_look = run.job_name == names.ACCEPT_JOB and _given(run, names.ACCEPT_CANDIDATE_OP).get("look")
    return "look" if is_look else _JOBS.get(run.job_name, run.job_name)


def _subject(run: dg.DagsterRun) -> str:
    version = _given(run, names.ROLL_BACK_OP).get("version")
    return str(version) if version else run.tags.get(names.SET_TAG) or run.tags.get(names.RETRY_TAG) or ""


def _given(run: dg.DagsterRun, op: str) -> Mapping[str, Any]:
    """The configuration of one op, as whoever launched it has written it."""
    ops = run.run_config.get("ops")
    found = ops.get(op) if isinstance(ops, Mapping) else None
    config = found.get("config") if isinstance(found, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def _said_by(instance: dg.DagsterInstance, run_id: str) -> list[Said]:
    """What its steps have said last; Dagster's own events are left to its UI."""
    records = instance.get_records_for_run(run_id, limit=_LOOKED, ascending=False).records
    entries = [each.event_log_entry for each in records if each.event_log_entry.dagster_event is None]
    return [
        Said(datetime.fromtimestamp(entry.timestamp, UTC), shown_text.one_line(entry.user_message)[:500])
        for entry in reversed(entries[:_SHOWN])
    ]


def _why_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        for record in instance.get_records_for_run(run_id, of_type=kind, limit=1).records:
            event = record.event_log_entry.dagster_event
            if event is not None:
                said = _reason(event) if event.is_step_failure else event.message or ""
                return shown_text.one_line(said)[:500]
    return ""


def _said(error: Exception) -> str:
    """What happened, in a line. Without an answer of Dagster's the client's own words are the whole query."""
    cause = error.__cause__
    said = f"{type(cause).__name__}: {cause}" if cause else ": ".join(str(each) for each in error.args)
    return said.splitlines()[0][:300]
