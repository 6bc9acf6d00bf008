"""Small pictures that a task stored, for people: by the addresses at which published ones are served.

Dagster keeps what it is told for good: so it is told where a picture is, and what is taken down shows no more there.
Belongs here: these addresses, and which objects consumers see. Does not belong here: serving (`web/picture_pages.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from psycopg import Connection

from harvester_dagster.config import Config
from harvester_dagster.documents import object_addresses
from harvester_dagster.explain.why import FoundDocument, Stage
from harvester_dagster.installation import Installation
from harvester_dagster.sets.generations import live
from harvester_dagster.sets.task_reports import Thumbnail


def addresses(pictures: Sequence[Thumbnail], config: Config) -> list[tuple[str, str]]:
    """(SRN, address) of each; without a public address that of the pages at this machine."""
    address = object_addresses.addressing(config) or object_addresses.of_route(
        f"http://{config.web.host}:{config.web.port}"
    )
    return [(srn, address(key, srn)) for srn, key in pictures]


_SHOWN = f"""
SELECT b.body FROM output o JOIN output_body b USING (doc_id, from_gen)
JOIN dataset_version_set v ON v.set_id = o.set_id AND {live("o", "v.gen")}
WHERE o.doc_id = %(doc)s AND o.published AND v.version_id IN (
    SELECT version_id FROM current_version UNION
    SELECT version_id FROM search_index WHERE shown AND version_id IS NOT NULL)
"""
"""The outputs of a document that consumers see: in the current version, or in one that an index still shows."""


def shown(installation: Installation, connection: Connection[Any], found: FoundDocument) -> list[Any]:
    """What the published outputs of a document say of objects (`object_addresses.names`)."""
    fields = [field.name for field in installation.catalog.published(found.entity) if field.objects]
    rows = connection.execute(_SHOWN, {"doc": found.doc_id}).fetchall() if fields else []
    outputs = [msgspec.json.decode(body) for (body,) in rows]
    return [output.get(field) for output in outputs for field in fields]


def of_stages(
    installation: Installation, stages: Sequence[Stage], published: Sequence[Any], srn: str
) -> Mapping[str, str]:
    """Of each stage of a task that made a picture which consumers see: the address of the small one, on these pages."""
    named = {f"task {task.name}": task.picture for task in installation.catalog.tasks if task.picture}
    made = {stage.stage: (stage.detail or {}).get(named.get(stage.stage, "")) for stage in stages}
    address = object_addresses.of_route("")
    return {
        stage: address(key, srn)
        for stage, key in made.items()
        if isinstance(key, str) and any(object_addresses.names(value, key) for value in published)
    }
