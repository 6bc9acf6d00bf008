"""The jobs: a set's night, a release, and what an operator does by hand.

The job that runs a set selects no release asset: a partitioned run on `*` would promote inside every set's run.
"""

from typing import Any

import dagster as dg

from assets.sets import CHECK
from harvester_dagster.catalog import Catalog
from harvester_dagster.harvesting import steps
from harvester_dagster.installation import Installation
from harvester_dagster.search import swap
from harvester_dagster.versions import versions

AssetJob = Any
"""What `define_asset_job` returns: Dagster exports no name for it."""


def set_job(catalog: Catalog) -> AssetJob:
    """Everything of one set, from harvest to verdict, in one run."""
    selection = dg.AssetSelection.assets(
        "harvest",
        *([entity.name, "documents"] for entity in catalog.entities),
        *(task.name for task in catalog.tasks),
        "deactivate_invalid_products",
        *([entity.name, "set"] for entity in catalog.entities),
    )
    return dg.define_asset_job(
        "harvest_set",
        selection,
        executor_def=dg.in_process_executor,
        description="One set's night: harvest, compare, enrich, judge. A run of it can be repeated at any time.",
    )


VOCABULARIES = dg.define_asset_job(
    "harvest_vocabularies",
    dg.AssetSelection.assets("vocabularies"),
    executor_def=dg.in_process_executor,
    description="Harvest the vocabularies that are configured beside those that ship.",
)
RELEASE = dg.define_asset_job(
    "release",
    dg.AssetSelection.assets("create_opensearch_index", "set_current_dataset_version"),
    executor_def=dg.in_process_executor,
    description="Promote what the sets have accepted, as one dataset version.",
)


class AcceptConfig(dg.Config):
    source_set: str


@dg.op(description="Take a set's newest rejected candidate after all; its checks turn green.")
def accept_candidate(
    context: dg.OpExecutionContext, config: AcceptConfig, harvester: dg.ResourceParam[Installation]
) -> None:
    outcome = steps.accept(harvester, config.source_set, context.log.info)
    report_accepted(context.instance, harvester, config.source_set)
    context.log.info("%s: generation %s accepted by hand", config.source_set, outcome.generation)


def report_accepted(instance: dg.DagsterInstance, harvester: Installation, key: str) -> None:
    """A passing evaluation for the partition that was red."""
    for entity in harvester.catalog.entities:
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey([entity.name, "set"]),
                check_name=CHECK,
                passed=True,
                description="accepted by hand",
                partition=key,
            )
        )


@dg.job(
    executor_def=dg.in_process_executor, description="Accept a rejected candidate by hand (see `harvester accept`)."
)
def accept() -> None:
    accept_candidate()


class RollbackConfig(dg.Config):
    """0: the version that was current before."""

    version: int = 0


@dg.op(description="Make an earlier version current again; automatic releases are held until one by hand.")
def roll_back(
    context: dg.OpExecutionContext, config: RollbackConfig, harvester: dg.ResourceParam[Installation]
) -> None:
    with harvester.pool.connection() as connection:
        earlier = versions.by_id(connection, config.version) if config.version else versions.before_current(connection)
    swap.roll_back(harvester, earlier, progress=context.log.info)
    context.log.info("version %s is current; automatic releases are held", earlier.version_id)


@dg.job(executor_def=dg.in_process_executor, description="Go back to an earlier dataset version.")
def rollback() -> None:
    roll_back()
