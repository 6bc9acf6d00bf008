"""The composition root: what Dagster loads. The only module of the domain package that imports Dagster.

Loading reads the configuration file, and nothing else: no network, no secret, no clock. Without a file the defaults
hold (no sources), so that the definitions can be looked at anywhere.
"""

import os
from pathlib import Path

import dagster as dg

from assets import access, harvest, index, jobs, release, sets, tasks, vocabularies
from harvester_dagster import config as configuration
from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.config import Config
from resources.harvester import harvester_resource
from sensors import access as metastore
from sensors import night


def build(config: Config, catalog: Catalog = CATALOG) -> dg.Definitions:
    """Everything of an installation, from its configuration and its catalog."""
    set_job = jobs.set_job(catalog)
    endpoints = list(config.metastore)
    access_jobs = [metastore.access_job()] if endpoints else []
    return dg.Definitions(
        assets=[
            harvest.harvest,
            harvest.documents_asset(catalog),
            *tasks.task_assets(catalog),
            sets.outputs_asset(catalog),
            sets.sets_asset(catalog),
            vocabularies.vocabularies,
            index.index_asset(catalog),
            release.release_asset(catalog),
            *access.access_assets(endpoints),
        ],
        jobs=[
            set_job,
            jobs.RELEASE,
            jobs.VOCABULARIES,
            jobs.accept,
            jobs.rollback,
            *access_jobs,
        ],
        schedules=[
            night.nightly_schedule(config, set_job),
            night.vocabulary_schedule(config, jobs.VOCABULARIES),
            *(schedule for job in access_jobs for schedule in metastore.access_schedules(config, job)),
        ],
        sensors=[night.night_watch([set_job, jobs.RELEASE]), night.day_work(jobs.RELEASE)],
        resources={"harvester": harvester_resource(config, catalog)},
        executor=dg.in_process_executor,  # of backfills too: a process for each step costs ten times the time
    )


def _configured() -> Config:
    path = Path(os.environ.get("HARVESTER_CONFIG", configuration.DEFAULT_FILE))
    return configuration.load(path) if "HARVESTER_CONFIG" in os.environ or path.exists() else Config()


defs = build(_configured())
