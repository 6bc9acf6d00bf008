"""Purging what is kept of a record that is taken down: raw pages, bodies, texts, pictures, indices, rows.

The takedown comes first, and its mark: from then on no page with the record is stored. Then, under the set's lock,
results, texts and files that nothing else needs; then pages and rows, by which these were found; then what the index
keeps of it. Each step may be done again, and that all are done is noted last. So a purge that was killed, or could not
reach something, is finished by asking again, or by the next night.

Belongs here: the order of these steps. Does not belong here: taking down (`taking_down.py`), what only they need
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
from harvester_dagster.sources.source_error import SourceError

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
    """The pages and rows of each set, with what only they needed; then, once for all, the index. Whatever cannot be
    done now keeps nothing else waiting."""
    left: list[str] = []
    removed: list[Takedown] = []
    ends = time.monotonic() + patience
    for key, of_set in _by_set(installation, asked).items():
        try:
            _remove(installation, key, of_set, max(0.0, ends - time.monotonic()))
            removed += of_set
        except HarvesterError as error:
            left += [f"{taken.srn}: its purge is not finished: {error}" for taken in of_set]
    if not removed:
        return left
    if said := expunging.expunge(installation, patience):
        return [*left, *(f"{taken.srn}: the index is still to be purged: {said}" for taken in removed)]
    with installation.pool.connection() as connection:
        for taken in removed:
            takedowns.is_purged(connection, taken.doc_id)
    return left


def _by_set(installation: Installation, asked: Sequence[Takedown]) -> dict[str, list[Takedown]]:
    """By the key of their set: all that its pages have is found by going through them once."""
    found: dict[str, list[Takedown]] = {}
    with installation.pool.connection() as connection:
        for taken in asked:
            found.setdefault(_key_of(connection, taken.doc_id), []).append(taken)
    return found


def _remove(installation: Installation, key: str, of_set: Sequence[Takedown], patience: float) -> None:
    """What of them stands in pages and rows, and what only they needed: before all that tells what they needed goes.
    Raises Busy, StorageError."""
    with lock_set(installation, key, patience=patience) as locked:
        pages = _Pages(locked)
        with locked.connection() as connection:
            family = [doc_id for taken in of_set for doc_id in withheld.family(connection, taken.doc_id)]
            urls = pages.urls | {url for (url,) in connection.execute(_URLS, (family,))}
        body_sweep.sweep_at_once(installation, family, urls)
        pages.rewrite()
        with locked.connection() as connection:
            _remove_rows(connection, locked.set_id, key, family, urls)
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


class _Pages:
    """The stored pages of a set: looked through, then without what was purged. Those of a set that is no longer
    configured, or is of another kind than it was, cannot be read, and go: its next harvest asks for everything.
    `urls`: of the files of what was purged, as they ever were."""

    def __init__(self, locked: LockedSet) -> None:
        self._installation, self._locked = locked.installation, locked
        self._having: list[str] = []
        self._unreadable: list[str] = []
        self.urls: set[str] = set()
        with locked.connection() as connection:
            rows = connection.execute(
                """SELECT p.object_key FROM page_bundle p JOIN attempt a USING (attempt_id)
                   WHERE a.set_id = %s AND p.holds = 'records' ORDER BY 1""",
                (locked.set_id,),
            )
            names = [name for (name,) in rows]
            if locked.key not in self._installation.config.sets:
                self._unreadable = names
                return
            self._left_out = LeftOut(self._installation, connection, locked.key, locked.set_id)
        for name in names:
            if self._installation.objects.exists(name):  # else a harvest was killed between its row and its object
                self._look(name)

    def _look(self, name: str) -> None:
        try:
            having = [page for page in fetch.bundled(self._installation, name) if self._left_out.found(page)]
            self.urls.update(*map(self._left_out.urls, having))
        except SourceError:
            self._unreadable.append(name)
        else:
            self._having += [name] if having else []

    def rewrite(self) -> None:
        """A replay reads them as ever. Raises StorageError."""
        for name in self._having:
            pages = [self._left_out.without(page) for page in fetch.bundled(self._installation, name)]
            fetch.put_bundle(self._locked, name, pages)
        self._installation.objects.delete(self._unreadable)
        with self._locked.connection() as connection:
            connection.execute("DELETE FROM page_bundle WHERE object_key = ANY (%s)", (self._unreadable,))


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


def _remove_rows(connection: Connection[Any], set_id: int, key: str, family: list[int], urls: set[str]) -> None:
    names = connection.execute(
        "SELECT %s || ':' || external_id FROM document WHERE doc_id = ANY (%s)", (key, family)
    ).fetchall()
    asked = {"ids": family, "set": set_id, "urls": list(urls), "srns": [srn for (srn,) in names]}
    for statement in _ROWS:
        connection.execute(statement, asked if "%(" in statement else None)
