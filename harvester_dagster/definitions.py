"""The composition root: what Dagster loads. Beside `cli.dagster_runs` and `cli.dagster_ui` the only module of the
domain package that imports Dagster.

Loading reads the configuration file and what ships, nothing else: no network, no secret, no clock. Without a file the
defaults hold (no sources), so that the definitions can be looked at anywhere. Dagster's page:
https://docs.dagster.io/api/dagster/definitions
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets import access, harvest, index, jobs, names, release, sets, tasks, vocabularies
from harvester_dagster import config as configuration
from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.config import Config
from harvester_dagster.explain import config_check
from resources.harvester import HarvesterResource, parts
from sensors import access as metastore
from sensors import night


def build(config: Config, catalog: Catalog = CATALOG, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Everything of an installation, from its configuration and its catalog.

    `resources` take the place of those that the configuration asks for, by their names (`resources/harvester.py`).
    """
    used: dict[str, Any] = {**parts(config), **(resources or {})}
    set_job = jobs.set_job(catalog)
    endpoints = list(config.metastore)
    access_jobs = [jobs.access_job()] if endpoints else []
    return dg.Definitions(
        assets=dg.with_source_code_references(
            [
                harvest.harvest,
                harvest.documents_asset(catalog, config),
                *tasks.task_assets(catalog),
                sets.outputs_asset(catalog, config),
                sets.sets_asset(catalog, config),
                vocabularies.vocabularies,
                index.index_asset(catalog, config),
                release.release_asset(catalog),
                *access.access_assets(endpoints),
            ]
        ),
        jobs=[
            set_job,
            jobs.RELEASE,
            jobs.VOCABULARIES,
            jobs.accept,
            jobs.rollback,
            jobs.mend,
            jobs.reconcile_set,
            jobs.retry,
            *access_jobs,
        ],
        schedules=[
            night.nightly_schedule(config, set_job),
            night.vocabulary_schedule(config, jobs.VOCABULARIES),
            night.reconcile_schedule(config),
            *(schedule for job in access_jobs for schedule in metastore.access_schedules(config, job)),
        ],
        sensors=[night.night_watch(config, [set_job, jobs.RELEASE]), night.day_work(config, jobs.RELEASE)],
        resources={**used, names.HARVESTER: HarvesterResource(**used, catalog=catalog)},
        executor=dg.in_process_executor,  # of backfills too: a process for each step costs ten times the time
    )


def _configured() -> Config:
    path = Path(os.environ.get("HARVESTER_CONFIG", configuration.DEFAULT_FILE))
    return config_check.load(path) if "HARVESTER_CONFIG" in os.environ or path.exists() else Config()


defs = build(_configured())
