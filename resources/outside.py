"""How the outside is asked: which private hosts may be, how fast, and as whom.

The guard itself is in the domain (`outside/http.py`). Dagster's page:
https://docs.dagster.io/guides/build/external-resources
"""

from typing import Any

import dagster as dg
from pydantic import Field

from harvester_dagster.config import Network


class OutsideResource(dg.ConfigurableResource):
    """`[network]` of the configuration."""

    allow_hosts: list[str] = Field(
        description="Private origins that may be called: host:port, or host for what is configured there."
    )
    per_host_per_second: float = Field(description="Requests a second to one host, by all processes together.")
    user_agent: str = Field(description="What we call ourselves; with an address that a site's owner can write to.")

    def section(self) -> dict[str, Any]:
        """As `[network]` writes it."""
        return {name: getattr(self, name) for name in Network.model_fields}


def outside_resource(network: Network) -> OutsideResource:
    """As `[network]` says."""
    return OutsideResource(**network.model_dump(mode="json"))
