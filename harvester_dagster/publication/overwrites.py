"""An operator's values for one document: they win over the source's, and survive harvests and resets.

Belongs here: reading, setting and clearing them, in one transaction with the mark that the document's output is to be
made anew. Does not belong here: laying them over the source's values (`documents/output.py`).
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from harvester_dagster.failures import HarvesterError
from harvester_dagster.publication import audit

_EXAMPLE = 'write a JSON object with at least one field, such as {"title": "…"}'


class BadOverwrite(HarvesterError):
    """What was given cannot be an overwrite."""


def read(text: str) -> dict[str, Any]:
    """The values that a person wrote as JSON. Raises BadOverwrite."""
    try:
        body = json.loads(text)
    except ValueError as error:
        raise BadOverwrite(f"not JSON: {error}", _EXAMPLE) from None
    if not isinstance(body, dict) or not body:
        raise BadOverwrite("an overwrite is a JSON object with at least one field", _EXAMPLE)
    return body


def put(connection: Connection[Any], doc_id: int, body: Mapping[str, Any], now: datetime) -> None:
    """Set a document's overwrite, in place of the one it has."""
    connection.execute(
        """INSERT INTO overwrite (doc_id, body, changed_at) VALUES (%s, %s, %s)
           ON CONFLICT (doc_id) DO UPDATE SET body = excluded.body, changed_at = excluded.changed_at""",
        (doc_id, Jsonb(body), now),
    )
    _to_be_made_anew(connection, doc_id)
    audit.write(connection, "overwrite", _srn(connection, doc_id), now, fields=sorted(body))


def clear(connection: Connection[Any], doc_id: int, now: datetime) -> bool:
    """Give a document its source's values back; whether it had an overwrite."""
    if not connection.execute("DELETE FROM overwrite WHERE doc_id = %s", (doc_id,)).rowcount:
        return False
    _to_be_made_anew(connection, doc_id)
    audit.write(connection, "clear overwrite", _srn(connection, doc_id), now)
    return True


def _srn(connection: Connection[Any], doc_id: int) -> str:
    row = connection.execute(
        """SELECT s.key || ':' || d.external_id FROM document d JOIN harvest_set s USING (set_id)
           WHERE d.doc_id = %s""",
        (doc_id,),
    ).fetchone()
    return row[0] if row else str(doc_id)


def _to_be_made_anew(connection: Connection[Any], doc_id: int) -> None:
    connection.execute(
        """INSERT INTO dirty (doc_id, set_id) SELECT doc_id, set_id FROM document WHERE doc_id = %s
           ON CONFLICT (doc_id) DO UPDATE SET done_in = NULL""",
        (doc_id,),
    )
