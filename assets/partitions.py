"""The one partition dimension of the harvester: `source:set`, dynamic, synchronised from the configuration.

A two-dimensional source × set partition would be full of sets that do not exist. Sets that leave the configuration
are retired by flag; their keys stay, because deleting keys breaks the history in the UI.
"""

import dagster as dg

from harvester_dagster.harvesting import sets
from harvester_dagster.installation import Installation

SETS = dg.DynamicPartitionsDefinition(name="source_set")
OWNER = "team:metadata"


def synchronise(instance: dg.DagsterInstance, harvester: Installation) -> None:
    """Make the sets, and their partition keys, those of the configuration."""
    sets.synchronise(harvester.pool, harvester.config, harvester.clock())
    known = set(instance.get_dynamic_partitions("source_set"))
    missing = [key for key in harvester.config.sets if key not in known]
    if missing:
        instance.add_dynamic_partitions("source_set", missing)
        _report_shipped(instance)


def _report_shipped(instance: dg.DagsterInstance) -> None:
    """The vocabularies that ship are there before any harvest of others; else the UI warns at every backfill."""
    key = dg.AssetKey("vocabularies")
    if instance.get_latest_materialization_event(key) is None:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, description="those that ship"))


def source_of(key: str) -> str:
    return key.partition(":")[0]
