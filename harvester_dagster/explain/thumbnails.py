"""Small pictures that a task stored, for people: by the addresses at which published ones are served.

Dagster keeps what it is told for good: so it is told where a picture is, and what is taken down shows no more there.
Belongs here: these addresses. Does not belong here: serving (`web/picture_pages.py`).
"""

from collections.abc import Sequence

from harvester_dagster.config import Config
from harvester_dagster.documents import object_addresses
from harvester_dagster.sets.task_reports import Thumbnail


def addresses(pictures: Sequence[Thumbnail], config: Config) -> list[tuple[str, str]]:
    """(SRN, address) of each; without a public address that of the pages at this machine."""
    address = object_addresses.addressing(config) or object_addresses.of_route(
        f"http://{config.web.host}:{config.web.port}"
    )
    return [(srn, address(key, srn)) for srn, key in pictures]
