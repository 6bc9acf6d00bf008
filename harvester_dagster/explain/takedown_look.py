"""Before and after a takedown: what would go with a document, where else the same record is, and how it stands.

The command's dry run, the API's and the pages tell it. Belongs here: reading. Does not belong here: taking down
(`releases/taking_down.py`).
"""

from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.explain import same_record
from harvester_dagster.explain.same_record import Others
from harvester_dagster.explain.why import FoundDocument
from harvester_dagster.installation import Installation
from harvester_dagster.publication import takedowns
from harvester_dagster.publication.takedowns import Takedown
from harvester_dagster.search import index, overlay
from harvester_dagster.sets import withheld


class TakedownLook(NamedTuple):
    """What a takedown would come to. `goes`: the SRNs of which something is shown in some version, the document first;
    `same`: what may be the same record, and stays."""

    goes: tuple[str, ...]
    same: Others


class TakedownStanding(NamedTuple):
    """How the record stands that a document is, or is a part of. `taken`: None where it is not taken down;
    `is_index_behind`: what became of it last is not in the search index yet, None where there is no index; `is_kept`:
    something of it is kept; `is_asked_for`: its source is to be asked for it."""

    srn: str
    set: str
    external_id: str
    is_part: bool
    taken: Takedown | None
    is_index_behind: bool | None
    is_kept: bool
    is_asked_for: bool


_GOES = """
SELECT s.key || ':' || d.external_id FROM document d JOIN harvest_set s USING (set_id)
WHERE d.doc_id = ANY (%s) AND EXISTS (SELECT FROM output o WHERE o.doc_id = d.doc_id AND o.published)
ORDER BY d.owner_id IS NOT NULL, d.external_id
"""


def look(installation: Installation, found: FoundDocument) -> TakedownLook:
    """What goes, and what stays. It takes as long as `same_record.others` does."""
    with installation.pool.connection() as connection:
        goes = connection.execute(_GOES, (withheld.family(connection, found.doc_id),)).fetchall()
    return TakedownLook(tuple(srn for (srn,) in goes), same_record.others(installation, found))


def standing(installation: Installation, connection: Connection[Any], found: FoundDocument) -> TakedownStanding:
    """How it stands now, by a few look-ups."""
    row = connection.execute(
        """SELECT d.doc_id, d.external_id, EXISTS (SELECT FROM revision r WHERE r.doc_id = d.doc_id),
                  EXISTS (SELECT FROM asked_anew a WHERE a.doc_id = d.doc_id)
           FROM document d WHERE d.doc_id = %s""",
        (found.owner_id or found.doc_id,),
    ).fetchone()
    assert row is not None
    doc_id, external_id, is_kept, is_asked_for = row
    ids, names = withheld.family(connection, doc_id), index.shown(connection)
    has_index = installation.config.index.url != "none"
    return TakedownStanding(
        f"{found.set_key}:{external_id}",
        found.set_key,
        external_id,
        found.owner_id is not None,
        takedowns.find(connection, doc_id),
        overlay.is_behind_with(connection, names, ids) if has_index else None,
        is_kept,
        is_asked_for,
    )
