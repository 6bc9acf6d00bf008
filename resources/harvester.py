"""The installation as a Dagster resource: opened before a run's first step (or a tick), closed after its last.

Belongs here: where the store and the objects are, and their lifetime. Every rule is in the domain.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import dagster as dg

from harvester_dagster import installation
from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config
from harvester_dagster.installation import Installation


class HarvesterResource(dg.ConfigurableResource):
    """What assets and sensors work with: an open `Installation`."""

    postgres_url: str
    parts: ClassVar[tuple[Config, Catalog]]

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Installation]:
        config, catalog = self.parts
        with installation.opened(config, self.postgres_url, catalog=catalog, s3=self._s3) as opened:
            yield opened

    def _s3(self) -> Any:
        """Only called where objects are kept in S3: importing dagster_aws costs 1.6 s of CPU in every process."""
        from dagster_aws.s3 import S3Resource

        config, _ = self.parts
        return S3Resource(endpoint_url=config.store.s3_endpoint or None).get_client()


def harvester_resource(config: Config, catalog: Catalog) -> HarvesterResource:
    """The resource of a configuration; the store's address is read from the environment when it is used."""

    class Configured(HarvesterResource):
        parts = (config, catalog)

    return Configured(postgres_url=dg.EnvVar(config.store.postgres_url_env))
