"""Purging what is kept of a record that is taken down: raw pages, bodies, texts, pictures, indices, rows.

The takedown comes first, and its mark: from then on no page with the record is stored. Then, under the set's lock, each
step may be done again; the rows by which the others find what there is go last, together with the mark that it is done.
So a purge that was killed, or could not reach something, is finished by asking again, or by the next night.

Belongs here: the order of these steps, and what of a record is needed by others. Does not belong here: taking down
(`taking_down.py`), what is kept for how long anyway (`retention.py`).
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

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
from harvester_dagster.store import keys

PATIENCE = 5.0
"""Seconds for a run that works on the set, and for others at the indices."""


class _Going(NamedTuple):
    """What only this record has: keys of results, addresses, digests of bodies."""

    family: list[int]
    tasks: list[str]
    marks: list[bytes]
    urls: list[str]
    digests: list[str]


def finish(installation: Installation, patience: float = PATIENCE) -> list[str]:
    """Purge all that is asked for and not done. Why some could not be, a sentence each."""
    with installation.pool.connection() as connection:
        asked = takedowns.listed(connection, "asked")
    return [said for one in asked if (said := purge(installation, one, patience))]


def purge(installation: Installation, taken: Takedown, patience: float = PATIENCE) -> str:
    """Remove what is kept of a record that is taken down. Why it is not done yet, or ""; then it is asked for still."""
    try:
        with installation.pool.connection() as connection:
            key = _key_of(connection, taken.doc_id)
        if said := expunging.expunge(installation, patience):
            return f"{taken.srn}: the index is still to be purged: {said}"
        with lock_set(installation, key, patience=patience) as locked:
            with locked.connection() as connection:
                going = _going(connection, installation, taken.doc_id)
            _rewrite_pages(locked)
            objects, earlier = installation.objects, body_sweep.earlier_folders(installation.objects)
            objects.delete(name for digest in going.digests for name in body_sweep.made_of(objects, earlier, digest))
            with locked.connection() as connection:
                _remove_rows(connection, locked.set_id, key, going)
                takedowns.is_purged(connection, taken.doc_id)
                body_sweep.note_removal(connection, installation.clock())
    except HarvesterError as error:
        return f"{taken.srn}: its purge is not finished: {error}"
    return ""


def _key_of(connection: Connection[Any], doc_id: int) -> str:
    row = connection.execute(
        "SELECT s.key FROM document d JOIN harvest_set s USING (set_id) WHERE d.doc_id = %s", (doc_id,)
    ).fetchone()
    assert row is not None
    key: str = row[0]
    return key


_RESULTS = """
SELECT DISTINCT u.task, u.fingerprint FROM task_use u
WHERE u.doc_id = ANY (%(ids)s) AND NOT EXISTS (
    SELECT FROM task_use o WHERE o.fingerprint = u.fingerprint AND o.task = u.task AND o.doc_id <> ALL (%(ids)s))
"""
_URLS = """
SELECT DISTINCT b.body::json -> 'properties' ->> 'url' FROM body b
WHERE b.doc_id = ANY (%(ids)s) AND b.body::json -> 'properties' ->> 'url' IS NOT NULL
EXCEPT
SELECT b.body::json -> 'properties' ->> 'url' FROM body b JOIN task_use u USING (doc_id, from_gen)
JOIN task_use o ON o.fingerprint = u.fingerprint AND o.task = u.task AND o.doc_id <> ALL (%(ids)s)
WHERE b.doc_id = ANY (%(ids)s) AND u.task = ANY (%(fetching)s)
"""
_FETCHED = """
SELECT DISTINCT encode(digest, 'hex') FROM harvester.fetch
WHERE ok AND md5(url) = ANY (%(md5)s) AND url = ANY (%(urls)s) AND digest IS NOT NULL
"""
_NAMED = f"""
SELECT DISTINCT m[1] FROM unnest(%(tasks)s::text[], %(marks)s::bytea[]) g (task, fingerprint)
JOIN result x USING (task, fingerprint), regexp_matches(x.data::text, '({keys.NAMED})', 'g') m
"""
_FETCHED_ELSEWHERE = """
SELECT DISTINCT encode(digest, 'hex') FROM harvester.fetch
WHERE ok AND digest = ANY (%(digests)s) AND url <> ALL (%(urls)s)
"""


def _going(connection: Connection[Any], installation: Installation, doc_id: int) -> _Going:
    family = withheld.family(connection, doc_id)
    fetching = [task.name for task in installation.catalog.tasks if "$.url" in task.reads]
    results = connection.execute(_RESULTS, {"ids": family}).fetchall()
    found = connection.execute(_URLS, {"ids": family, "fetching": fetching})
    urls = [url for (url,) in found]
    asked = {"tasks": [task for task, _ in results], "marks": [mark for _, mark in results]}
    named = {name for (name,) in connection.execute(_NAMED, asked)}
    md5 = connection.execute("SELECT md5(url) FROM unnest(%s::text[]) url", (urls,)).fetchall()
    fetched = connection.execute(_FETCHED, {"urls": urls, "md5": [one for (one,) in md5]})
    digests = {digest for (digest,) in fetched} | {
        match[0] for name in named if (match := re.search("[0-9a-f]{64}", name))
    }
    elsewhere = connection.execute(
        _FETCHED_ELSEWHERE, {"digests": [bytes.fromhex(digest) for digest in digests], "urls": urls}
    )
    own = digests - {digest for (digest,) in elsewhere}
    return _Going(family, asked["tasks"], asked["marks"], urls, sorted(own))


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
    """DELETE FROM result x USING unnest(%(tasks)s::text[], %(marks)s::bytea[]) g (task, fingerprint)
       WHERE x.task = g.task AND x.fingerprint = g.fingerprint
         AND NOT EXISTS (SELECT FROM task_use u WHERE u.task = x.task AND u.fingerprint = x.fingerprint)""",
    "DELETE FROM harvester.fetch WHERE url = ANY (%(urls)s)",
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


def _remove_rows(connection: Connection[Any], set_id: int, key: str, going: _Going) -> None:
    ids: Sequence[tuple[str]] = connection.execute(
        "SELECT %s || ':' || external_id FROM document WHERE doc_id = ANY (%s)", (key, going.family)
    ).fetchall()
    asked = {**going._asdict(), "ids": going.family, "set": set_id, "srns": [srn for (srn,) in ids]}
    for statement in _ROWS:
        connection.execute(statement, asked if "%(" in statement else None)
