"""What is configured beside the things that we talk to: sources and their sets, nights, tasks, outputs, retention.

Belongs here: the tables of `harvester.toml`, as data that the UI shows. They hold no secret, only the names of
variables. What they mean is in the domain (`config.py`). Dagster's page:
https://docs.dagster.io/guides/build/external-resources/configuring-resources
"""

from typing import Any

import dagster as dg
from pydantic import Field

from harvester_dagster.config import Config
from resources.search import FIELDS as SEARCH


class SettingsResource(dg.ConfigurableResource):
    """`harvester.toml`, as it was read when these definitions were loaded."""

    configuration: dict[str, Any] = Field(description="The tables of harvester.toml; what is left out has its default.")


def settings_resource(config: Config) -> SettingsResource:
    """All of it but what has a resource of its own."""
    elsewhere: dict[str, Any] = {
        "network": True,
        "index": set(SEARCH),
        "store": {"postgres_url_env", "objects", "s3_endpoint"},
    }
    return SettingsResource(configuration=config.model_dump(mode="json", exclude=elsewhere))
