"""The one partition dimension of the harvester: `source:set`, dynamic, synchronised from the configuration.

A two-dimensional source × set partition would be full of sets that do not exist. Sets that leave the configuration
are retired by flag; their keys stay, because deleting keys breaks the history in the UI. Dagster's page:
https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets
"""

import dagster as dg

from assets import names
from harvester_dagster.config import Config
from harvester_dagster.installation import Installation
from harvester_dagster.sets import sets

SETS = dg.DynamicPartitionsDefinition(name=names.SOURCE_SET)
OWNER = "team:metadata"


def synchronise(instance: dg.DagsterInstance, harvester: Installation) -> None:
    """Make the sets, and their partition keys, those of the configuration; for commands and runs."""
    sets.synchronise(harvester.pool, harvester.config, harvester.clock())
    if new := unknown(instance, harvester.config):
        instance.add_dynamic_partitions(names.SOURCE_SET, new)
        for event in shipped(instance):
            instance.report_runless_asset_event(event)


def unknown(instance: dg.DagsterInstance, config: Config) -> list[str]:
    """The sets of the configuration that have no partition yet."""
    known = set(instance.get_dynamic_partitions(names.SOURCE_SET))
    return [key for key in config.sets if key not in known]


def shipped(instance: dg.DagsterInstance) -> list[dg.AssetMaterialization]:
    """The vocabularies that ship are there before any harvest of others; else the UI warns at every backfill."""
    key = dg.AssetKey(names.VOCABULARIES)
    is_known = instance.get_latest_materialization_event(key) is not None
    return [] if is_known else [dg.AssetMaterialization(key, description="those that ship")]
