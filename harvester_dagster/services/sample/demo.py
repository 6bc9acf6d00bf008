"""The configuration under which the sample source server is harvested.

Belongs here: filling in where the server listens. Does not belong here: what is configured (`harvester.toml`).
"""

from harvester_dagster.services.sample.catalogue import HERE


def demo_config(url: str) -> str:
    """The demonstration's `harvester.toml` for a sample source server at `url`."""
    return (HERE / "harvester.toml").read_text(encoding="utf-8").replace("{url}", url)
