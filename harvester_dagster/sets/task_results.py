"""Stored results of document tasks: which stand, which are wanted, how they are kept, and what a new one makes stale.

A result is stored under (task, version, fingerprint of the input); `task_use` says which input a revision has. Nothing
is invalidated: a changed value no longer matches.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection

from harvester_dagster import canonical
from harvester_dagster.sets.locked_set import LockedSet
from harvester_dagster.store import keys
from harvester_dagster.tasks.task import Item, Outcome, Result, Task

STANDING = "ORDER BY (x.kind = 'retry'), x.version DESC LIMIT 1"
"""Which of the results of one input counts: while a new version is pending or retrying, the last one that ended."""
_NAMED = re.compile(keys.NAMED)
_LONGEST_REASON = 200
_WHAT = f"""left(regexp_replace(regexp_replace(regexp_replace(
    reason, '\\s+', ' ', 'g'), '[a-z]+://[^\\s''"]+', '…', 'g'), ' \\(day \\d+ of \\d+\\)$', ''), {_LONGEST_REASON})"""
"""Without the address and the count of days: what failed in one way has one reason."""
_HOST = """coalesce(lower(left(substring(url FROM '^[a-zA-Z]+://(?:[^/?#]*@)?(\\[[^]/?#]*\\]|[^/?#:]*)'), 250)), '')"""


def known(connection: Connection[Any], task: Task, marks: Sequence[bytes]) -> dict[bytes, Result]:
    """The results of the task's present version, by fingerprint."""
    rows = connection.execute(
        """SELECT fingerprint, kind, data, reason, due_at, attempts, finished_at FROM result
           WHERE task = %s AND version = %s AND fingerprint = ANY (%s)""",
        (task.name, task.version, list(marks)),
    )
    return {bytes(mark): Result(*result) for mark, *result in rows}


def store(
    connection: Connection[Any],
    locked: LockedSet,
    task: Task,
    done: Iterable[tuple[Item, Outcome]],
    *,
    now: datetime,
    later: Sequence[str],
) -> None:
    """Outcomes of a run over the set, and in the same transaction what they make stale: outputs, and inputs of the
    tasks `later`."""
    done = sorted(done, key=lambda pair: pair[0].fingerprint)  # two sets that share results never cross
    done = [(item, _standing(item, outcome, now)) for item, outcome in done]
    data = [_text(outcome.data) for _, outcome in done]
    connection.execute(
        f"""INSERT INTO result (task, version, fingerprint, kind, data, names, reason, due_at, attempts, finished_at,
               what, host, made_for)
           SELECT %(task)s, %(version)s, mark, kind, data::json, names::text[], reason, due_at, attempts, %(now)s,
               {_WHAT}, {_HOST}, made_for
           FROM unnest(%(marks)s::bytea[], %(kinds)s::text[], %(data)s::text[], %(names)s::text[], %(reasons)s::text[],
                       %(due)s::timestamptz[], %(attempts)s::int[], %(urls)s::text[], %(documents)s::bigint[])
                AS u (mark, kind, data, names, reason, due_at, attempts, url, made_for)
           ON CONFLICT (task, version, fingerprint) DO UPDATE SET kind = excluded.kind, data = excluded.data,
               names = excluded.names, reason = excluded.reason, due_at = excluded.due_at,
               attempts = excluded.attempts, finished_at = excluded.finished_at, what = excluded.what,
               host = excluded.host, made_for = excluded.made_for""",
        {
            "task": task.name,
            "version": task.version,
            "now": now,
            "marks": [item.fingerprint for item, _ in done],
            "kinds": [outcome.kind for _, outcome in done],
            "data": data,
            "names": [_names(text) for text in data],
            "reasons": [outcome.reason.replace("\0", "")[:2000] for _, outcome in done],
            "due": [outcome.due_at for _, outcome in done],
            "attempts": [_attempts(item, outcome) for item, outcome in done],
            "urls": [_url(item, outcome) for item, outcome in done],
            "documents": [item.doc_id for item, _ in done],
        },
    )
    news = [item.fingerprint for item, outcome in done if _says_more(item, outcome)]
    _mark_users(connection, locked, task, news, later)


def _mark_users(
    connection: Connection[Any], locked: LockedSet, task: Task, marks: Sequence[bytes], later: Sequence[str]
) -> None:
    """In every set that shares these results: outputs to make anew, and later tasks to look again.

    A revision of this set that is only staged and has no output yet needs no mark: its output is still to be
    made. Of another set's nobody knows how far its run has come.
    """
    if not marks:
        return
    parameters = {"task": task.name, "marks": list(marks), "later": list(later), "own": locked.set_id}
    connection.execute(
        """INSERT INTO dirty (doc_id, set_id)
           SELECT DISTINCT u.doc_id, u.set_id FROM task_use u JOIN harvest_set s USING (set_id)
           LEFT JOIN attempt a ON a.attempt_id = s.staged_attempt
           WHERE u.task = %(task)s AND u.fingerprint = ANY (%(marks)s)
             AND (u.set_id <> %(own)s OR u.from_gen <= s.accepted_gen OR a.outputs_made)
           ORDER BY 1 ON CONFLICT (doc_id) DO UPDATE SET done_in = NULL""",
        parameters,
    )
    if later:
        connection.execute(
            """INSERT INTO stale_use (task, doc_id, set_id)
               SELECT DISTINCT later, u.doc_id, u.set_id FROM task_use u CROSS JOIN unnest(%(later)s::text[]) later
               LEFT JOIN task_progress p ON p.set_id = u.set_id AND p.task = later
               WHERE u.task = %(task)s AND u.fingerprint = ANY (%(marks)s)
                 AND (u.set_id <> %(own)s OR u.from_gen <= p.gen)
               ORDER BY 1, 2 ON CONFLICT DO NOTHING""",
            parameters,
        )


def mark_dirty(connection: Connection[Any], locked: LockedSet, doc_ids: Sequence[int]) -> None:
    """The outputs of these documents of the set are to be made anew by the next `products/set, files/set`."""
    if doc_ids:
        connection.execute(
            """INSERT INTO dirty (doc_id, set_id) SELECT doc_id, set_id FROM document
               WHERE doc_id = ANY (%s) AND set_id = %s ORDER BY 1 ON CONFLICT (doc_id) DO UPDATE SET done_in = NULL""",
            (list(doc_ids), locked.set_id),
        )


def _text(data: Mapping[str, Any] | None) -> str | None:
    """JSON for Postgres, which takes no NUL in text."""
    return None if data is None else canonical.encode(data).decode().replace("\\u0000", "")


def _names(text: str | None) -> str | None:
    """The objects that a result names, as PostgreSQL writes a list; a look for their beginnings is quicker than one for
    them."""
    if text is None or not any(root in text for root in keys.OF_BODIES):
        return None
    names = sorted(set(_NAMED.findall(text)))
    return f"{{{','.join(names)}}}" if names else None


def _standing(item: Item, outcome: Outcome, now: datetime) -> Outcome:
    """A retry that says nothing of its own leaves the last ending standing; without a time it is due at once."""
    if outcome.kind != "retry":
        return outcome
    due_at, before = outcome.due_at or now, item.previous
    if outcome.data is None and before and before.kind != "retry":
        return outcome._replace(kind=before.kind, data=before.data, due_at=due_at)
    return outcome._replace(due_at=due_at)


def _url(item: Item, outcome: Outcome) -> str | None:
    """Of a document whose result may count as failed (`failed_results.py`), as far as it has one."""
    url = item.subject.properties.get("url")
    failed = outcome.kind in ("failure", "retry") or outcome.reason
    return url.replace("\0", "") if failed and isinstance(url, str) else None


def _attempts(item: Item, outcome: Outcome) -> int:
    again = outcome.kind in ("retry", "failure") or bool(outcome.reason and outcome.due_at)
    return item.previous.attempts + 1 if item.previous and again else 1


def _says_more(item: Item, outcome: Outcome) -> bool:
    """Whether anybody who read the previous result would now read something else."""
    before = item.previous
    return before is None or before.kind != outcome.kind or before.data != outcome.data
