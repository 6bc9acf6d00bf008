"""The configuration under which the sample source server is harvested.

Belongs here: filling in where the server listens. Does not belong here: what is configured (`harvester.toml`).
"""

from urllib.parse import urlsplit

from harvester_dagster.demo.records import HERE


def demo_config(url: str) -> str:
    """The demonstration's `harvester.toml` for a sample source server at `url`."""
    text = (HERE / "harvester.toml").read_text(encoding="utf-8")
    return text.replace("{url}", url).replace("{port}", str(urlsplit(url).port))
