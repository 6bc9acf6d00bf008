"""The search server: its address, and how we tell who we are.

What an index holds is not the server's but the settings' (`resources/settings.py`). Dagster's page:
https://docs.dagster.io/guides/build/external-resources
"""

from typing import Any

import dagster as dg
from pydantic import Field

from harvester_dagster.config import Index

FIELDS = ("url", "auth", "username_env", "password_env", "aws_region")


class SearchResource(dg.ConfigurableResource):
    """What `[index]` of the configuration says of the server."""

    url: str = Field(description='Empty: the OpenSearch that comes along; "none": no search index.')
    auth: str = Field(description='"none", "basic" or "aws".')
    username_env: str = Field(description="The environment variable that holds the user's name (basic).")
    password_env: str = Field(description="The environment variable that holds the password (basic).")
    aws_region: str = Field(description="Of the domain (aws).")

    def section(self) -> dict[str, Any]:
        """As `[index]` writes it."""
        return {name: getattr(self, name) for name in FIELDS}


def search_resource(index: Index) -> SearchResource:
    """As `[index]` says."""
    return SearchResource(**index.model_dump(include=set(FIELDS)))
