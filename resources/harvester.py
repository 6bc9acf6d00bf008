"""The installation as a Dagster resource: opened before a run's first step (or a tick), closed after its last.

Belongs here: putting it together from the small resources beside this file, and its lifetime. Every rule is in the
domain. Dagster's page: https://docs.dagster.io/guides/build/external-resources/configuring-resources
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import dagster as dg

from harvester_dagster import config as configuration
from harvester_dagster import installation
from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config
from harvester_dagster.installation import Installation
from harvester_dagster.store import database, sign_of_life
from resources.kept_objects import ObjectsResource
from resources.objects import objects_resource
from resources.outside import OutsideResource, outside_resource
from resources.search import SearchResource, search_resource
from resources.settings import SettingsResource, settings_resource
from resources.store import StoreResource, store_resource


class HarvesterResource(dg.ConfigurableResource):
    """What assets and sensors work with: an open `Installation`."""

    store: StoreResource
    objects: ObjectsResource
    outside: OutsideResource
    search: SearchResource
    settings: SettingsResource
    catalog: dg.ResourceDependency[Catalog]

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Installation]:
        """An installation, open for a run, which shows for as long that it lives, or for a tick."""
        with ExitStack() as stack:
            if context.run:  # which a store that is away for a moment need not end
                database.wait_for(self.store.postgres_url, database.BACK_WITHIN)
                stack.enter_context(sign_of_life.shown(self.store.postgres_url, context.run.run_id))
            yield stack.enter_context(
                installation.opened(
                    self.config(), self.store.postgres_url, catalog=self.catalog, objects=self.objects.opened()
                )
            )

    def config(self) -> Config:
        """The settings, with what each part says of itself laid over them. Raises ConfigError."""
        given = self.settings.configuration
        return configuration.parse(
            {
                **given,
                "network": self.outside.section(),
                "index": {**given.get("index", {}), **self.search.section()},
                "store": {**given.get("store", {}), **self.objects.section()},
            },
            "the resources",
        )


def parts(config: Config) -> dict[str, dg.ConfigurableResource]:
    """The small resources of a configuration, by the names of the fields above."""
    return {
        "store": store_resource(config.store),
        "objects": objects_resource(config.store),
        "outside": outside_resource(config.network),
        "search": search_resource(config.index),
        "settings": settings_resource(config),
    }
