"""Where large things are kept (bodies, pages, previews): a folder here, or a bucket (`resources/bucket.py`).

Belongs here: which of them, and how either says itself in the configuration. What can be done with objects is in the
domain (`store/objects.py`). Dagster's page: https://docs.dagster.io/guides/build/external-resources
"""

from pathlib import Path

from pydantic import Field

from harvester_dagster.config import Store
from harvester_dagster.store.objects import Objects, open_objects
from resources.kept_objects import ObjectsResource, objects_folder


class FolderResource(ObjectsResource):
    """A folder of this machine."""

    folder: str = Field(default="", description="An absolute path; empty: `objects` in the state folder.")

    def opened(self) -> Objects:
        """The folder, made where it is missing."""
        return open_objects("folder", Path(self.folder) if self.folder else objects_folder())

    def section(self) -> dict[str, str]:
        """As `[store]` writes it."""
        return {"objects": "folder"}


def objects_resource(store: Store) -> ObjectsResource:
    """The bucket's module is only imported where there is one: dagster-aws costs 1.6 s of CPU in every process."""
    if store.objects == "folder":
        return FolderResource()
    from resources.bucket import bucket_resource

    return bucket_resource(store)
