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


def source_of(key: str) -> str:
    return key.partition(":")[0]
