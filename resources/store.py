"""Where everything that is known stands: a PostgreSQL.

A file here is one thing that the installation talks to; its fields are shown by the UI, and each can be replaced alone
(`definitions.build(config, resources=…)`). Dagster's page: https://docs.dagster.io/guides/build/external-resources
"""

import dagster as dg
from pydantic import Field

from harvester_dagster.config import Store


class StoreResource(dg.ConfigurableResource):
    """The store; opened by `resources/harvester.py`, which takes its schema as it is."""

    postgres_url: str = Field(description="postgresql://…: a secret, so always an environment variable's value.")


def store_resource(store: Store) -> StoreResource:
    """The address is read from the environment when it is used."""
    return StoreResource(postgres_url=dg.EnvVar(store.postgres_url_env))
