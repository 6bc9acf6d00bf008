"""What the store cut is done again: by the step, in its run; by a run, where Dagster's own statement was cut; and what
failed by itself is not."""

from collections.abc import Callable, Iterator

import dagster as dg
import psycopg
import pytest

from assets import again, names
from harvester_dagster.config import Config
from harvester_dagster.definitions import build


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def executed(instance: dg.DagsterInstance, fails: Callable[[], None], times: int) -> tuple[int, dg.DagsterRun]:
    """How often a step began that fails so often, and its run as it is then."""
    begun = 0

    @dg.op
    def step() -> None:
        nonlocal begun
        begun += 1
        with again.when_the_store_was_away(seconds=0):
            if begun <= times:
                fails()

    run = run_of(instance, step)
    return begun, run


def run_of(instance: dg.DagsterInstance, step: dg.OpDefinition) -> dg.DagsterRun:
    @dg.job(hooks={again.run_again}, executor_def=dg.in_process_executor)
    def job() -> None:
        step()

    result = job.execute_in_process(instance=instance, raise_on_error=False)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    return run


def ended(url: str) -> None:
    """A session that ends in the middle of a statement."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_a_step_whose_session_ended_is_done_again_in_its_run(instance: dg.DagsterInstance, empty_database: str) -> None:
    begun, run = executed(instance, lambda: ended(empty_database), 3)
    assert (begun, run.status.value) == (4, "SUCCESS")


def test_a_store_that_stays_away_has_the_run_run_again(instance: dg.DagsterInstance, empty_database: str) -> None:
    begun, run = executed(instance, lambda: ended(empty_database), 100)
    assert (begun, run.status.value) == (1 + again.TIMES, "FAILURE")
    assert run.tags[names.RUN_AGAIN_TAG] == "true"


def test_a_run_is_run_again_that_was_cut_where_no_step_asks_for_itself(
    instance: dg.DagsterInstance, empty_database: str
) -> None:
    """As where Dagster stores an event of the step."""

    @dg.op
    def step() -> None:
        ended(empty_database)

    run = run_of(instance, step)
    assert (run.status.value, run.tags[names.RUN_AGAIN_TAG]) == ("FAILURE", "true")


def test_what_failed_by_itself_is_done_once(instance: dg.DagsterInstance, empty_database: str) -> None:
    def wrong() -> None:
        with psycopg.connect(empty_database) as connection:
            connection.execute("SELECT nothing_of_this_name")

    begun, run = executed(instance, wrong, 1)
    assert (begun, run.status.value, run.tags[names.RUN_AGAIN_TAG]) == (1, "FAILURE", "false")


def test_every_asset_has_its_runs_run_again() -> None:
    """Of a backfill too, whose job is Dagster's own; of jobs of ops, but those whose error an operator sees."""
    built = build(Config.model_validate({"metastore": {"m": {"url": "http://solr"}}}))
    for asset in built.resolve_all_asset_specs():
        assert again.run_again in built.resolve_assets_def(asset.key).hook_defs, asset.key
    by_hand = {names.ACCEPT_JOB, names.ROLLBACK_JOB}
    jobs = {job.name: job for job in built.resolve_all_job_defs() if not job.name.startswith("__")}
    of_ops = {name for name, job in jobs.items() if not job.asset_layer.executable_asset_keys}
    assert {name for name in of_ops if again.run_again not in jobs[name].hook_defs} == by_hand
