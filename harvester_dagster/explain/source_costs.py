"""What the last harvests of sources cost: requests, bytes, seconds, and what they brought.

Belongs here: reading it set-wise, a question for all sets. Does not belong here: what is usual (`night_report.py`), how
a set stands (`status.py`).
"""

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from harvester_dagster.sets.attempts import HARVESTS


class Cost(NamedTuple):
    """One harvest. `requests` (retries and redirects too) and `bytes`: None where they were not counted."""

    key: str
    attempt_id: int
    mode: str
    state: str
    started_at: datetime
    seconds: float | None
    """Of asking the source; None: it has not answered to the end."""
    requests: int | None
    bytes: int | None
    records: int
    reason: str


def costs(connection: Connection[Any], count: int, source: str | None = None) -> list[Cost]:
    """The last harvests of each set that is not retired, newest first in each; of one source or of all."""
    with connection.cursor(row_factory=class_row(Cost)) as cursor:
        return cursor.execute(
            """SELECT s.key, a.* FROM harvest_set s CROSS JOIN LATERAL (
                   SELECT attempt_id, mode, state, started_at,
                          extract(epoch FROM fetched_at - started_at)::float8 AS seconds,
                          requests, bytes, records, reason
                   FROM attempt WHERE set_id = s.set_id AND mode = ANY (%(modes)s)
                   ORDER BY attempt_id DESC LIMIT %(count)s) a
               WHERE s.retired_at IS NULL
                 AND (%(source)s::text IS NULL OR split_part(s.key, ':', 1) = %(source)s)
               ORDER BY s.set_id, a.attempt_id DESC""",
            {"modes": list(HARVESTS), "count": count, "source": source},
        ).fetchall()
