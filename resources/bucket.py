"""Objects in S3, by Dagster's own resource for it: the one place where an S3 client is made.

Does not belong here: what is done with the client (`store/objects.py`), and credentials: boto3 finds them by itself.
Dagster's page: https://docs.dagster.io/integrations/libraries/aws/s3
"""

from dagster_aws.s3 import S3Resource
from pydantic import Field

from harvester_dagster.config import Store
from harvester_dagster.store.objects import Objects, open_objects
from resources.kept_objects import ObjectsResource, objects_folder


class BucketResource(ObjectsResource):
    """A bucket; copies of what was asked for lie in the state folder."""

    bucket: str = Field(description="Its name; it must exist.")
    prefix: str = Field(default="", description="All keys begin with it; empty: the bucket is the harvester's alone.")
    s3: S3Resource

    def opened(self) -> Objects:
        """The bucket, behind a client of dagster-aws' own resource. Raises ConfigError, StorageError."""
        return open_objects(self._where, objects_folder(), self.s3.get_client)

    def section(self) -> dict[str, str]:
        """As `[store]` writes it: the bucket with its prefix, and the endpoint."""
        return {"objects": self._where, "s3_endpoint": self.s3.endpoint_url or ""}

    @property
    def _where(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def bucket_resource(store: Store) -> BucketResource:
    """The bucket of `store.objects = "s3://bucket/prefix"`."""
    bucket, _, prefix = store.objects.removeprefix("s3://").partition("/")
    return BucketResource(bucket=bucket, prefix=prefix, s3=S3Resource(endpoint_url=store.s3_endpoint or None))
