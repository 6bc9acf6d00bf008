"""A run that a page has begun does what was seen there, by its configuration, or nothing."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest

from assets import jobs, names
from harvester_dagster import definitions
from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from tests.sets.conftest import open_world, source, world
from tests.sets.world import World

__all__ = ["open_world", "source", "world"]


@pytest.fixture
def released(world: World) -> World:
    """Versions 1 to 3."""
    for name in "abc":
        world.source.put(name)
        world.night()
        release.release(world.installation, by_hand=True)
    return world


def test_a_rollback_goes_back_from_the_version_that_was_seen(released: World) -> None:
    def ran(**given: Any) -> bool:
        config = {"ops": {names.ROLL_BACK_OP: {"config": jobs.RollbackConfig(**given).model_dump()}}}
        resources = {names.HARVESTER: released.installation}
        with dg.DagsterInstance.ephemeral() as instance:
            result = jobs.rollback.execute_in_process(
                run_config=config, instance=instance, resources=resources, raise_on_error=False
            )
        return result.success

    assert not ran(version=1, instead_of=2)
    assert released.one("SELECT version_id FROM current_version") == 3
    assert ran(version=1, instead_of=3)
    assert released.one("SELECT version_id FROM current_version") == 1
    assert ran(version=2), "a command, or Dagster's UI, has seen none"


def test_a_release_ends_the_hold_that_was_seen(released: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = released
    monkeypatch.setenv(world.installation.config.store.postgres_url_env, world.url)
    built = definitions.build(world.installation.config)

    def ran(given: Mapping[str, Any]) -> bool:
        config = {"ops": {names.SET_CURRENT_DATASET_VERSION: {"config": {"by_hand": True, **given}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            result = built.resolve_job_def(names.RELEASE_JOB).execute_in_process(
                run_config=config, instance=instance, raise_on_error=False
            )
        return result.success

    held = versions.hold_releases(world.installation, "a demonstration")
    assert not ran({"hold_seen": ""})
    assert world.one("SELECT count(*) FROM release_hold") == 1
    assert ran({"hold_seen": held.since.isoformat()})
    assert world.one("SELECT count(*) FROM release_hold") == 0
    versions.hold_releases(world.installation, "again")
    assert ran({}), "the command ends what holds when it begins"
    assert world.one("SELECT count(*) FROM release_hold") == 0
