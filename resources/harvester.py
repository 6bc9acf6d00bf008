"""The installation as a Dagster resource: opened before a run's first step (or a tick), closed after its last.

Belongs here: where the store and the objects are, and their lifetime. Every rule is in the domain.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import dagster as dg
from dagster_aws.s3 import S3Resource

from harvester_dagster import installation
from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config
from harvester_dagster.installation import Installation


class HarvesterResource(dg.ConfigurableResource):
    """What assets and sensors work with: an open `Installation`."""

    postgres_url: str
    s3: dg.ResourceDependency[S3Resource]
    parts: ClassVar[tuple[Config, Catalog]]

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Installation]:
        config, catalog = self.parts
        with installation.opened(config, self.postgres_url, catalog=catalog, s3=self.s3.get_client) as opened:
            yield opened


def harvester_resource(config: Config, catalog: Catalog) -> HarvesterResource:
    """The resource of a configuration; the store's address is read from the environment when it is used."""

    class Configured(HarvesterResource):
        parts = (config, catalog)

    return Configured(
        postgres_url=dg.EnvVar(config.store.postgres_url_env),
        s3=S3Resource(endpoint_url=config.store.s3_endpoint or None),
    )
