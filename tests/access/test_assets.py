"""The enricher as Dagster runs it: a partition of `endpoint:mode` through the three assets, with its checks."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from assets.access import access_assets
from assets.jobs import access_job
from harvester_dagster.config import Config, Metastore
from harvester_dagster.store.database import Pool
from sensors.access import access_schedules
from tests.access.conftest import NOW, Collection


@pytest.fixture
def harvester(collection: Collection, pool: Pool) -> Any:
    config = Config(metastore={"dtu": Metastore(url=collection.solr_url, collection=collection.name)})
    return SimpleNamespace(config=config, pool=pool, clock=lambda: NOW)


def definitions(harvester: Any) -> dg.Definitions:
    job = access_job()
    return dg.Definitions(
        assets=access_assets(list(harvester.config.metastore)),
        jobs=[job],
        schedules=access_schedules(harvester.config, job),
        resources={"harvester": dg.ResourceDefinition.hardcoded_resource(harvester)},
    )


def test_a_partition_runs_through(harvester: Any, collection: Collection, tmp_path: Path) -> None:
    collection.add(
        {"id": "a", "fulltext_list_ssf": ['{"type": "openaccess"}']},
        {"id": "j", "format": "journal", "source_ss": ["jnl_sfx"], "issn_ss": ["1"]},
    )
    defs = definitions(harvester)
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        result = defs.resolve_job_def("decide_access").execute_in_process(
            partition_key="dtu:partial", instance=instance
        )
    assert result.success
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert checks == {"journals_valid": False, "updates_applied": True}  # the journal has no holdings
    (updates,) = result.asset_materializations_for_node("access")[1:]
    assert updates.metadata["applied"].value == 2
    assert collection.access()["a"] == (("dtupub", "dtu"), ("metastore",))


def test_a_solr_that_is_away_is_one_sentence(harvester: Any, tmp_path: Path) -> None:
    settings = harvester.config.metastore["dtu"].model_copy(update={"url": "http://127.0.0.1:9/solr"})
    away = SimpleNamespace(**{**vars(harvester), "config": Config(metastore={"dtu": settings})})
    defs = definitions(away)
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        result = defs.resolve_job_def("decide_access").execute_in_process(
            partition_key="dtu:partial", instance=instance, raise_on_error=False
        )
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "127.0.0.1:9" in str(failure.event_specific_data)
    assert not result.get_asset_materialization_events()


def test_schedules_are_those_of_the_configuration(harvester: Any) -> None:
    repository = definitions(harvester).get_repository_def()
    assert {schedule.name for schedule in repository.schedule_defs} == {"access_dtu_partial", "access_dtu_sfx"}
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 6, 1, 2, tzinfo=UTC), repository_def=repository
    )
    (request,) = repository.get_schedule_def("access_dtu_sfx").evaluate_tick(context).run_requests or ()
    assert request.partition_key == "dtu:sfx" and request.tags["access/endpoint"] == "dtu"


def test_without_endpoints_there_are_no_assets() -> None:
    assert access_assets([]) == []
