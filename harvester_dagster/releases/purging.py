"""Purging what is kept of a record that is taken down: raw pages, bodies, texts, pictures, indices, rows.

The takedown comes first, and its mark: from then on no page with the record is stored. Then its pages and rows go,
under the set's lock; then results, texts and files that nothing else needs; then what the index keeps of it. Each step
may be done again, and that all are done is noted last. So a purge that was killed, or could not reach something, is
finished by asking again, or by the next night.

Belongs here: the order of these steps. Does not belong here: taking down (`taking_down.py`), what nothing needs
(`body_sweep.py`), what is kept for how long anyway (`retention.py`).
"""

import time
from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import takedowns
from harvester_dagster.publication.takedowns import Takedown
from harvester_dagster.releases import body_sweep
from harvester_dagster.search import expunging
from harvester_dagster.sets import fetch, withheld
from harvester_dagster.sets.left_out import LeftOut
from harvester_dagster.sets.locked_set import LockedSet, lock_set

PATIENCE = 5.0
"""Seconds for runs that work on the sets, all together, and for others at the indices."""


def finish(installation: Installation, patience: float = PATIENCE) -> list[str]:
    """Purge all that is asked for and not done. Why some could not be, a sentence each."""
    with installation.pool.connection() as connection:
        asked = takedowns.listed(connection, "asked")
    return _purged(installation, asked, patience) if asked else []


def purge(installation: Installation, taken: Takedown, patience: float = PATIENCE) -> str:
    """Remove what is kept of a record that is taken down. Why it is not done yet, or ""; then it is asked for still."""
    return "; ".join(_purged(installation, [taken], patience))


def _purged(installation: Installation, asked: Sequence[Takedown], patience: float) -> list[str]:
    """The rows and pages of each, then, once for all, what only they needed, and the index. Whatever cannot be done now
    keeps nothing else waiting."""
    left, removed, ends = [], [], time.monotonic() + patience
    for taken in asked:
        try:
            _remove(installation, taken, max(0.0, ends - time.monotonic()))
            removed.append(taken)
        except HarvesterError as error:
            left.append(f"{taken.srn}: its purge is not finished: {error}")
    if not removed:
        return left
    try:
        body_sweep.sweep_at_once(installation)
    except HarvesterError as error:
        return [*left, *(f"{taken.srn}: its files are still to be removed: {error}" for taken in removed)]
    if said := expunging.expunge(installation, patience):
        return [*left, *(f"{taken.srn}: the index is still to be purged: {said}" for taken in removed)]
    with installation.pool.connection() as connection:
        for taken in removed:
            takedowns.is_purged(connection, taken.doc_id)
    return left


def _remove(installation: Installation, taken: Takedown, patience: float) -> None:
    """What of it stands in pages and rows. Raises Busy, StorageError."""
    with installation.pool.connection() as connection:
        key = _key_of(connection, taken.doc_id)
    with lock_set(installation, key, patience=patience) as locked:
        _rewrite_pages(locked)
        with locked.connection() as connection:
            _remove_rows(connection, locked.set_id, key, withheld.family(connection, taken.doc_id))
            body_sweep.note_removal(connection, installation.clock())


def _key_of(connection: Connection[Any], doc_id: int) -> str:
    row = connection.execute(
        "SELECT s.key FROM document d JOIN harvest_set s USING (set_id) WHERE d.doc_id = %s", (doc_id,)
    ).fetchone()
    assert row is not None
    key: str = row[0]
    return key


_URLS = """
SELECT DISTINCT b.body::json -> 'properties' ->> 'url' FROM body b
WHERE b.doc_id = ANY (%s) AND b.body::json -> 'properties' ->> 'url' IS NOT NULL
"""


def _rewrite_pages(locked: LockedSet) -> None:
    """No stored page of the set has the record; a replay reads them as ever. Those of a set that is no longer
    configured cannot be read, and go: it begins anew should it come back."""
    installation = locked.installation
    with locked.connection() as connection:
        rows = connection.execute(
            """SELECT p.object_key FROM page_bundle p JOIN attempt a USING (attempt_id)
               WHERE a.set_id = %s AND p.holds = 'records' ORDER BY 1""",
            (locked.set_id,),
        )
        names = [name for (name,) in rows]
        is_known = locked.key in installation.config.sets
        left_out = LeftOut(installation, connection, locked.key, locked.set_id) if is_known else None
    if left_out is None:
        installation.objects.delete(names)
        with locked.connection() as connection:
            connection.execute("DELETE FROM page_bundle WHERE object_key = ANY (%s)", (names,))
        return
    for name in names:
        if not installation.objects.exists(name):  # a harvest was killed between its row and its object
            continue
        pages, before = fetch.bundled(installation, name), left_out.count
        kept = [left_out.without(page) for page in pages]
        if left_out.count > before:
            fetch.put_bundle(installation, name, kept)


_ROWS = (
    "SET LOCAL harvester.purges = on",
    *(
        f"DELETE FROM {table} WHERE doc_id = ANY (%(ids)s)"
        for table in (
            *("task_use", "body", "revision", "output_body", "output", "dirty", "stale_use"),
            *("overwrite", "overwrite_log", "search_rejected"),
        )
    ),
    "DELETE FROM harvester.fetch WHERE url = ANY (%(urls)s) AND (NOT ok OR digest IS NULL)",
    """DELETE FROM problem p USING attempt a, document d
       WHERE a.attempt_id = p.attempt_id AND a.set_id = %(set)s AND d.doc_id = ANY (%(ids)s)
         AND p.external_id = d.external_id""",
    """DELETE FROM push p USING document d
       WHERE p.set_id = %(set)s AND d.doc_id = ANY (%(ids)s) AND p.external_id = d.external_id""",
    """UPDATE task_report SET examples = (
           SELECT coalesce(json_agg(e), '[]') FROM json_array_elements(examples) e WHERE e ->> 0 <> ALL (%(srns)s))
       WHERE set_id = %(set)s AND json_typeof(examples) = 'array'""",
    """UPDATE audit SET detail = detail - 'reason'
       WHERE subject = ANY (%(srns)s) AND act = 'overwrite' AND outcome <> 'done'""",
)


def _remove_rows(connection: Connection[Any], set_id: int, key: str, family: list[int]) -> None:
    """Results and fetches that nobody else needs are swept after that."""
    names = connection.execute(
        "SELECT %s || ':' || external_id FROM document WHERE doc_id = ANY (%s)", (key, family)
    ).fetchall()
    urls = [url for (url,) in connection.execute(_URLS, (family,))]
    asked = {"ids": family, "set": set_id, "urls": urls, "srns": [srn for (srn,) in names]}
    for statement in _ROWS:
        connection.execute(statement, asked if "%(" in statement else None)
