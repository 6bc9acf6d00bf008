"""What a document was made from: its properties, and what each task found. For people who look for a fault.

It holds what the output leaves out, e-mail addresses among it. Belongs here: reading it. Does not belong here: who may
(`web/guard.py`).
"""

from typing import Any

import msgspec
from psycopg import Connection

from harvester_dagster.consumers.snapshots import Snapshot, named
from harvester_dagster.sets import task_results
from harvester_dagster.sets.generations import live

_DOCUMENT = f"""
SELECT r.doc_id, r.from_gen, r.state, r.source_modified_at, b.body FROM document d
JOIN revision r ON r.doc_id = d.doc_id AND {live("r", "%(gen)s")}
JOIN body b ON b.doc_id = r.doc_id AND b.from_gen = r.from_gen
WHERE d.set_id = %(set)s AND d.entity = %(entity)s AND d.external_id = %(id)s
  AND NOT EXISTS (SELECT FROM takedown t WHERE t.doc_id IN (d.doc_id, d.owner_id))
"""
_TASKS = f"""
SELECT u.task, x.version, x.kind, x.data, x.reason, x.due_at, x.attempts, x.finished_at
FROM task_use u LEFT JOIN LATERAL (
    SELECT * FROM result x WHERE x.task = u.task AND x.fingerprint = u.fingerprint {task_results.STANDING}) x ON true
WHERE u.doc_id = %s AND u.from_gen = %s ORDER BY u.task
"""


def raw(connection: Connection[Any], found: Snapshot, entity: str, srn: str) -> bytes | None:
    """JSON: `{srn, entity, state, reason, source_modified_at, properties, tasks: {name: outcome}}`; None: there is no
    such document at that snapshot."""
    for asked in named(found, entity, srn):
        row = connection.execute(_DOCUMENT, asked).fetchone()
        if row is None:
            continue
        doc_id, from_gen, state, source_modified_at, body = row
        read = msgspec.json.decode(body)
        names = ("version", "kind", "data", "reason", "due_at", "attempts", "finished_at")
        tasks = {
            task: dict(zip(names, outcome, strict=True)) if outcome[1] else {"kind": "pending"}
            for task, *outcome in connection.execute(_TASKS, (doc_id, from_gen))
        }
        said = {"srn": srn, "entity": entity, "state": state, "reason": read["reason"]}
        said |= {"source_modified_at": source_modified_at, "properties": read["properties"], "tasks": tasks}
        return msgspec.json.encode(said)
    return None
