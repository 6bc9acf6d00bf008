"""The schedule asks no source and changes nothing; the run that it requests reconciles the set."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets import names
from assets.jobs import reconcile_set
from sensors.night import reconcile_schedule
from tests.sets.harvest_once import SETTINGS
from tests.sets.paged_source import paged_source
from tests.sets.world import KEY, opened_world


def test_a_set_that_is_due_is_requested_once_and_reconciled(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    settings = SETTINGS | {"purge_after_days": 1000}
    with paged_source(*"abc") as source:
        paged: Any = source
        with opened_world(database, paged, **settings) as world, dg.DagsterInstance.ephemeral() as instance:
            resources = {names.HARVESTER: world.installation}
            schedule = reconcile_schedule(world.installation.config)

            def tick() -> Any:
                context = dg.build_schedule_context(
                    instance=instance, resources=resources, scheduled_execution_time=world.now
                )
                return schedule.evaluate_tick(context)

            assert not tick().run_requests
            world.night()
            assert tick().skip_message == "no set is due"
            world.forward(timedelta(days=31))
            source.titles["d"] = "New under an old date"
            source.took()
            (request,) = tick().run_requests or []
            assert request.tags["harvest/set"] == KEY and not source.took()
            ran = reconcile_set.execute_in_process(
                run_config=request.run_config, instance=instance, resources=resources
            )
            assert ran.success and sorted(world.titles()) == list("abcd")
            assert not tick().run_requests
