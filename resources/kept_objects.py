"""What can be told of a place for objects, whichever it is, and the state folder's own.

Belongs here: what a folder (`resources/objects.py`) and a bucket (`resources/bucket.py`) share.
"""

from abc import abstractmethod
from pathlib import Path

import dagster as dg

from harvester_dagster.config import home
from harvester_dagster.store.objects import Objects


class ObjectsResource(dg.ConfigurableResource):
    """What takes, gives and lists objects."""

    @abstractmethod
    def opened(self) -> Objects:
        """Raises ConfigError when it refuses us, StorageError when it cannot be used now."""

    @abstractmethod
    def section(self) -> dict[str, str]:
        """What `[store]` of the configuration says of it."""


def objects_folder() -> Path:
    """Objects, or copies of those of a bucket, in the state folder."""
    return home() / "objects"
