"""Runs whose process is gone are ended within a minute, and no others: on Dagster's own instance, with a clock of ours.

`DagsterInstance.report_run_failed` is of an exported class and not marked public: what it does is pinned here.
"""

import logging
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import consume_new_runs_for_automatic_reexecution

from assets import names
from assets.dead_runs import FREE_SECONDS, LOOK_SECONDS, MOST_TOLD, DeadRuns, MissedRetries
from harvester_dagster.config import Config
from harvester_dagster.definitions import build
from harvester_dagster.store import sign_of_life
from harvester_dagster.store.database import Pool, open_pool
from harvester_dagster.store.locks import keys_held, run_key


@dg.job
def anything() -> None:
    pass


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def pool(empty_database: str) -> Iterator[Pool]:
    with open_pool(empty_database) as found:
        yield found


def begun(instance: dg.DagsterInstance) -> dg.DagsterRun:
    run = instance.create_run_for_job(anything)
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, anything.name), run_id=run.run_id
    )
    return run


def state(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    found = instance.get_run_by_id(run.run_id)
    assert found
    return found.status.value


def looked(
    seen: DeadRuns, instance: dg.DagsterInstance, pool: Pool, first: float, last: float | None = None
) -> list[str]:
    """The runs that were ended by who looks every five seconds, from the first second to the last."""
    moments = range(int(first), int(last or first) + 1, int(LOOK_SECONDS))
    return [run.run_id for moment in moments for run in seen.end(instance, pool, moment)]


def test_a_run_of_which_nothing_is_heard_for_a_minute_has_failed(instance: dg.DagsterInstance, pool: Pool) -> None:
    seen = DeadRuns()
    dead, living = begun(instance), begun(instance)
    with sign_of_life.shown(pool.conninfo, living.run_id):
        assert looked(seen, instance, pool, 0, FREE_SECONDS) == []
        assert looked(seen, instance, pool, FREE_SECONDS + LOOK_SECONDS) == [dead.run_id]
        assert (state(instance, dead), state(instance, living)) == ("FAILURE", "STARTED")
        assert looked(seen, instance, pool, FREE_SECONDS, 3 * FREE_SECONDS) == []
    failed = [entry.dagster_event for entry in instance.all_logs(dead.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)]
    assert [event.message for event in failed if event] == ["its process is gone: nothing was heard of it for 60 s"]


def test_who_is_heard_again_has_a_minute_again(instance: dg.DagsterInstance, pool: Pool) -> None:
    seen, run = DeadRuns(), begun(instance)
    assert looked(seen, instance, pool, 0, 50) == []
    with sign_of_life.shown(pool.conninfo, run.run_id):
        assert looked(seen, instance, pool, 55) == []
    with pool.connection() as connection:
        while run_key(run.run_id) in keys_held(connection):  # the server hears of its end a moment later
            time.sleep(0.01)
    assert looked(seen, instance, pool, 60, 60 + FREE_SECONDS) == []
    assert looked(seen, instance, pool, 65 + FREE_SECONDS) == [run.run_id]


def test_a_long_look_says_no_more_than_a_short_one(instance: dg.DagsterInstance, pool: Pool) -> None:
    """What a living run has shown between was not seen."""
    seen, run = DeadRuns(), begun(instance)
    assert looked(seen, instance, pool, 0, 40) == []
    assert looked(seen, instance, pool, 500, 515) == []
    assert looked(seen, instance, pool, 520) == [run.run_id]


def test_on_a_machine_on_which_every_look_is_late_it_is_found_nevertheless(
    instance: dg.DagsterInstance, pool: Pool
) -> None:
    seen, run = DeadRuns(), begun(instance)
    ended = [look for look in range(20) if seen.end(instance, pool, 1_000 + 40 * look)]
    assert ended == [FREE_SECONDS / LOOK_SECONDS + 1] and state(instance, run) == "FAILURE"


def test_runs_that_wait_or_have_ended_are_let_be(instance: dg.DagsterInstance, pool: Pool) -> None:
    seen = DeadRuns()
    waiting, ended = instance.create_run_for_job(anything), begun(instance)
    seen.end(instance, pool, 0)
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, anything.name), run_id=ended.run_id
    )
    assert looked(seen, instance, pool, 0, FREE_SECONDS * 2) == []
    assert (state(instance, waiting), state(instance, ended)) == ("NOT_STARTED", "SUCCESS")


AGES_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def failures(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    return len(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE))


def to_be_retried(instance: dg.DagsterInstance) -> dg.DagsterRun:
    run = begun(instance)
    instance.report_run_failed(run, "as a test wants it")
    instance.add_run_tags(run.run_id, {names.WILL_RETRY_TAG: "true"})
    return run


def test_a_failure_that_was_not_followed_by_a_run_is_told_again(instance: dg.DagsterInstance) -> None:
    seen = MissedRetries()
    forgotten, retried = to_be_retried(instance), to_be_retried(instance)
    instance.add_run_tags(retried.run_id, {"dagster/auto_retry_run_id": "another"})
    begun(instance)
    assert seen.tell_again(instance, 0, AGES_AGO) == seen.tell_again(instance, FREE_SECONDS, AGES_AGO) == []
    assert [run.run_id for run in seen.tell_again(instance, FREE_SECONDS + 1, AGES_AGO)] == [forgotten.run_id]
    assert (failures(instance, forgotten), failures(instance, retried)) == (2, 1)
    for turn in range(2, 20):
        seen.tell_again(instance, turn * 2 * FREE_SECONDS, AGES_AGO)
    assert failures(instance, forgotten) == 1 + MOST_TOLD


@pytest.fixture
def retrying() -> Iterator[dg.DagsterInstance]:
    """As `dagster.yaml` has it, but that a run is run again once."""
    settings = {"run_retries": {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False}}
    with dg.DagsterInstance.ephemeral(settings=settings) as found:
        yield found


ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ours"), "repository"), anything.name)
CODE = JobPythonOrigin(
    anything.name,
    RepositoryPythonOrigin(sys.executable, ModuleCodePointer(__name__, anything.name), None, None, None),
)


class Unreachable:
    """What Dagster's daemon works with while its code server is just started again."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def create_request_context(self) -> None:
        raise OSError("the code server does not answer")


def failed_and_given_up(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    """As Dagster's daemon leaves a run that it could not begin again; another one where its tags say so."""
    named = {f"dagster/{name}": value for name, value in tags.items()}
    run = instance.create_run_for_job(anything, remote_job_origin=ORIGIN, job_code_origin=CODE, tags=named)
    instance.report_run_failed(run, "as a test wants it")
    workspace: Any = Unreachable(instance)
    records = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    list(consume_new_runs_for_automatic_reexecution(workspace, records, logging.getLogger("a test")))
    return run


def test_a_failure_that_dagster_gave_up_although_it_may_be_run_again_is_told_again(
    retrying: dg.DagsterInstance,
) -> None:
    run, seen = failed_and_given_up(retrying), MissedRetries()
    left = retrying.get_run_by_id(run.run_id)
    assert left and left.tags[names.WILL_RETRY_TAG] == "false", "so it is left: else this is no case any more"
    assert seen.tell_again(retrying, 0, AGES_AGO) == []
    assert [told.run_id for told in seen.tell_again(retrying, FREE_SECONDS + 1, AGES_AGO)] == [run.run_id]
    again = retrying.get_run_by_id(run.run_id)
    assert again and again.is_complete_and_waiting_to_retry


def followed(instance: dg.DagsterInstance, parent: dg.DagsterRun, status: dg.DagsterRunStatus) -> None:
    """Another run takes its place."""
    instance.create_run_for_job(
        anything,
        parent_run_id=parent.run_id,
        root_run_id=parent.run_id,
        tags={"dagster/parent_run_id": parent.run_id, "dagster/root_run_id": parent.run_id},
        status=status,
    )


def test_so_is_one_whose_next_run_was_made_and_not_queued() -> None:
    settings = {"run_retries": {"enabled": True, "max_retries": 3}}
    with dg.DagsterInstance.ephemeral(settings=settings) as instance:
        run, seen = failed_and_given_up(instance), MissedRetries()
        followed(instance, run, dg.DagsterRunStatus.NOT_STARTED)
        seen.tell_again(instance, 0, AGES_AGO)
        assert [told.run_id for told in seen.tell_again(instance, FREE_SECONDS + 1, AGES_AGO)] == [run.run_id]


def test_a_failure_that_may_not_be_run_again_is_not_told_again(retrying: dg.DagsterInstance) -> None:
    """What failed by itself, what nobody may run again, what was run again, and a command's."""
    failed_and_given_up(retrying, failure_reason="STEP_FAILURE")
    failed_and_given_up(retrying, max_retries="0")
    parent = failed_and_given_up(retrying)
    followed(retrying, parent, dg.DagsterRunStatus.STARTED)
    command = begun(retrying)
    retrying.report_run_failed(command, "as a test wants it")
    retrying.add_run_tags(command.run_id, {names.WILL_RETRY_TAG: "false"})
    seen = MissedRetries()
    for turn in range(4):
        assert seen.tell_again(retrying, turn * 2 * FREE_SECONDS, AGES_AGO) == []


def test_every_job_shows_the_sign_for_as_long_as_it_runs() -> None:
    """The resources of a run are opened before its first step: whichever needs the installation shows that it lives."""
    jobs = [job for job in build(Config()).resolve_all_job_defs() if not job.name.startswith("__")]
    assert jobs
    for job in jobs:
        assert any(
            names.HARVESTER in op.required_resource_keys for op in job.all_node_defs if isinstance(op, dg.OpDefinition)
        ), job.name
