"""Runs whose process is gone are ended within a minute, and no others: on Dagster's own instance, with a clock of ours.

`DagsterInstance.report_run_failed` is of an exported class and not marked public: what it does is pinned here.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from assets import names
from assets.dead_runs import FREE_SECONDS, MOST_TOLD, DeadRuns, MissedRetries
from harvester_dagster.config import Config
from harvester_dagster.definitions import build
from harvester_dagster.store import sign_of_life
from harvester_dagster.store.database import Pool, open_pool


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


def test_a_run_of_which_nothing_is_heard_for_a_minute_has_failed(instance: dg.DagsterInstance, pool: Pool) -> None:
    seen = DeadRuns()
    dead, living = begun(instance), begun(instance)
    with sign_of_life.shown(pool.conninfo, living.run_id):
        for now in (0.0, FREE_SECONDS - 1, FREE_SECONDS):
            assert seen.end(instance, pool, now) == []
        assert [run.run_id for run in seen.end(instance, pool, FREE_SECONDS + 1)] == [dead.run_id]
        assert (state(instance, dead), state(instance, living)) == ("FAILURE", "STARTED")
        assert seen.end(instance, pool, 10 * FREE_SECONDS) == []
    failed = [entry.dagster_event for entry in instance.all_logs(dead.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)]
    assert [event.message for event in failed if event] == ["its process is gone: nothing was heard of it for 60 s"]


def test_who_is_heard_again_has_a_minute_again(instance: dg.DagsterInstance, pool: Pool) -> None:
    seen, run = DeadRuns(), begun(instance)
    assert seen.end(instance, pool, 0) == []
    with sign_of_life.shown(pool.conninfo, run.run_id):
        assert seen.end(instance, pool, FREE_SECONDS * 2) == []
    assert seen.end(instance, pool, FREE_SECONDS * 3) == []
    assert seen.end(instance, pool, FREE_SECONDS * 4) == []
    assert [dead.run_id for dead in seen.end(instance, pool, FREE_SECONDS * 4 + 1)] == [run.run_id]


def test_runs_that_wait_or_have_ended_are_let_be(instance: dg.DagsterInstance, pool: Pool) -> None:
    seen = DeadRuns()
    waiting, ended = instance.create_run_for_job(anything), begun(instance)
    seen.end(instance, pool, 0)
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, anything.name), run_id=ended.run_id
    )
    assert seen.end(instance, pool, FREE_SECONDS * 2) == []
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


def test_every_job_shows_the_sign_for_as_long_as_it_runs() -> None:
    """The resources of a run are opened before its first step: whichever needs the installation shows that it lives."""
    jobs = [job for job in build(Config()).resolve_all_job_defs() if not job.name.startswith("__")]
    assert jobs
    for job in jobs:
        assert any(
            names.HARVESTER in op.required_resource_keys for op in job.all_node_defs if isinstance(op, dg.OpDefinition)
        ), job.name
