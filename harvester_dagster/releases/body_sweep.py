"""The sweep of results and bodies: what no kept revision, result or output needs any more, whoever made it.

A result goes when no kept revision has its fingerprint, or a newer version of its task has answered; a fetched body,
with all that was ever made of it, when no kept revision has its URL and no kept result or output names it; what a task
of an older version, or one that is no longer in the table, made of a body that stays, when none names that. All this
only at the retention's age.

Objects go before the rows that tell of them, so that a sweep that is cut short is simply done again. It reads every
URL and every name of an object: so it is done when something was removed that may have referred to any, at most once a
day, looks at MOST rows of a kind at a time, and ends when so many have gone.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.catalog import Catalog
from harvester_dagster.installation import Installation
from harvester_dagster.store import keys
from harvester_dagster.store.objects import Objects

MOST = 100_000
"""Rows of a kind that are looked at together; when so many have gone, the next sweep goes on."""
EVERY = timedelta(hours=20)
LISTERS = 8
"""Threads that list what was made of bodies: over a network each listing waits."""

_Result = tuple[bytes, str, int]
"""Fingerprint, task, version."""


class Swept(NamedTuple):
    """How many went."""

    results: int
    bodies: int


_FIRST: _Result = (b"", "", 0)


class _Going(NamedTuple):
    """What is to go: keys of results, ids of fetches, digests of bodies; makers whose work nobody names any more."""

    results: list[_Result]
    fetches: list[int]
    bodies: set[str]
    makers: set[str]
    named: set[str]
    """What kept results and outputs name of these bodies and makers (the forms of `keys.NAMED`)."""
    last: _Result | None
    """Behind it are further results to look at, those that stay passed over; None: there are none."""


def sweep(installation: Installation, before: datetime, most: int = MOST) -> Swept:
    """Remove what was not needed since `before`, if anything was removed that may have needed it."""
    _forget_removed_tasks(installation, before)
    now = installation.clock()
    with installation.pool.connection() as connection:
        if not _is_due(connection, _present(installation.catalog), now, now - before):
            return Swept(0, 0)
    swept, is_all = _swept(installation, before, most, most)
    if is_all:
        with installation.pool.connection() as connection:
            connection.execute("UPDATE sweep SET swept_at = %s", (now,))
    return swept


def sweep_at_once(installation: Installation, doc_ids: Sequence[int], urls: Collection[str]) -> None:
    """Remove what only these documents need, whatever its age, for what somebody purges may not wait: results of their
    inputs, and those that were made for them before, what was fetched from these addresses, what was made of that. To
    be called while their rows are there, and nobody works on their set; done again it does nothing."""
    with installation.pool.connection() as connection:
        going = _going_with(connection, doc_ids, urls)
    bodies = set(going.bodies)
    with installation.pool.connection() as connection:  # another set may have met the same content meanwhile
        bodies -= _fetched(connection, bodies, going.fetches)
    installation.objects.delete(_objects_of(installation.objects, going._replace(bodies=bodies)))
    with installation.pool.connection() as connection:
        _delete_results(connection, going.results, doc_ids)
        connection.execute("DELETE FROM harvester.fetch WHERE fetch_id = ANY (%s)", (going.fetches,))


def _swept(installation: Installation, before: datetime, most: int, enough: float) -> tuple[Swept, bool]:
    """What went, and whether that was all; when `enough` rows went, it may be that it was not."""
    results = fetches = bodies = 0
    after: _Result | None = _FIRST
    while after is not None:
        if results + fetches >= enough:
            return Swept(results, bodies), False
        with installation.pool.connection() as connection:
            going = _going(connection, _present(installation.catalog), before, after, most)
        installation.objects.delete(_objects_of(installation.objects, going))
        with installation.pool.connection() as connection:
            results += _delete_results(connection, going.results)
            connection.execute("DELETE FROM harvester.fetch WHERE fetch_id = ANY (%s)", (going.fetches,))
        fetches, bodies = fetches + len(going.fetches), bodies + len(going.bodies)
        after = going.last or (after if len(going.fetches) == most else None)
    return Swept(results, bodies), True


def note_removal(connection: Connection[Any], now: datetime) -> None:
    """Something was removed that may have needed a result or a body."""
    connection.execute("UPDATE sweep SET removed_at = %s", (now,))


def _present(catalog: Catalog) -> list[str]:
    return [keys.maker(task.name, task.version) for task in catalog.tasks]


_DUE = """
SELECT swept_at IS NULL OR (swept_at <= %(now)s - %(every)s AND (
    swept_at <= removed_at + %(retention)s OR EXISTS (
        SELECT FROM made WHERE task || '-' || version <> ALL (%(present)s))))
FROM sweep
"""
_MADE = """
WITH RECURSIVE made (task, version) AS (
    (SELECT task, version FROM result ORDER BY task, version LIMIT 1)
    UNION ALL
    SELECT next.task, next.version FROM made, LATERAL (
        SELECT task, version FROM result r WHERE (r.task, r.version) > (made.task, made.version)
        ORDER BY task, version LIMIT 1) next)
"""
"""The makers that have results: a look into the index for each."""


def _is_due(connection: Connection[Any], present: list[str], now: datetime, retention: timedelta) -> bool:
    """What was too young when something was removed comes of age a retention later."""
    row = connection.execute(
        _MADE + _DUE, {"now": now, "every": EVERY, "retention": retention, "present": present}
    ).fetchone()
    return row is not None and bool(row[0])


_REMOVED_TASKS = """
SELECT DISTINCT p.task FROM task_progress p
WHERE p.task <> ALL (%(names)s)
  AND NOT EXISTS (SELECT FROM task_report t WHERE t.task = p.task AND t.finished_at >= %(before)s)
"""


def _forget_removed_tasks(installation: Installation, before: datetime) -> None:
    """Tasks that were taken out of the table, and did not run for the retention: their results serve nobody, and the
    documents that had them are made into outputs without."""
    names = [task.name for task in installation.catalog.tasks]
    with installation.pool.connection() as connection:
        removed = [task for (task,) in connection.execute(_REMOVED_TASKS, {"names": names, "before": before})]
        if not removed:
            return
        connection.execute(
            """INSERT INTO dirty (doc_id, set_id)
               SELECT DISTINCT u.doc_id, u.set_id FROM task_use u JOIN revision r USING (doc_id, from_gen)
               WHERE u.task = ANY (%s) AND r.to_gen IS NULL ORDER BY 1
               ON CONFLICT (doc_id) DO UPDATE SET done_in = NULL""",
            (removed,),
        )
        for table in ("task_use", "task_progress", "stale_use"):
            connection.execute(f"DELETE FROM {table} WHERE task = ANY (%s)", (removed,))
        note_removal(connection, installation.clock())


KEPT = """
SELECT s.set_id, least(s.accepted_gen, min(v.gen)) AS oldest
FROM harvest_set s LEFT JOIN dataset_version_set v USING (set_id) GROUP BY s.set_id
"""
"""The oldest generation of each set that somebody may read."""

_UNREAD_USES = f"""
DELETE FROM task_use u USING revision r, ({KEPT}) kept
WHERE kept.set_id = r.set_id AND r.to_gen <= kept.oldest AND u.doc_id = r.doc_id AND u.from_gen = r.from_gen
"""
"""Of what is gone for everybody only the revision and its end are remembered."""

_UNUSED = """
unused AS MATERIALIZED (
    SELECT x.fingerprint, x.task, x.version FROM result x
    WHERE x.finished_at < %(before)s
      AND NOT EXISTS (SELECT FROM task_use u WHERE u.task = x.task AND u.fingerprint = x.fingerprint)
    UNION
    SELECT x.fingerprint, x.task, x.version FROM result x JOIN result y USING (task, fingerprint)
    WHERE x.task || '-' || x.version <> ALL (%(present)s) AND x.finished_at < %(before)s
      AND y.version > x.version AND y.kind <> 'retry' AND y.finished_at < %(before)s)
"""
"""Results of which no kept revision has the fingerprint, or a newer version has answered."""

_RESULTS = f"""
WITH {_UNUSED}, next AS (
    SELECT * FROM unused WHERE (fingerprint, task, version) > (%(mark)s, %(task)s, %(version)s)
    ORDER BY 1, 2, 3 LIMIT %(most)s)
SELECT fingerprint, task, version, names FROM next JOIN result USING (fingerprint, task, version) ORDER BY 1, 2, 3
"""

_FETCHES = f"""
WITH used AS MATERIALIZED (
    SELECT DISTINCT b.body::json -> 'properties' ->> 'url' AS url
    FROM revision r JOIN body b USING (doc_id, from_gen) JOIN ({KEPT}) kept USING (set_id)
    WHERE (r.to_gen IS NULL OR r.to_gen > kept.oldest) AND b.body::json -> 'properties' ->> 'url' IS NOT NULL)
SELECT fetch_id, encode(digest, 'hex') FROM harvester.fetch f
WHERE ok AND digest IS NOT NULL AND fetched_at < %(before)s AND (
    NOT EXISTS (SELECT FROM used WHERE used.url = f.url)
    OR EXISTS (
        SELECT FROM harvester.fetch n WHERE md5(n.url) = md5(f.url) AND n.url = f.url AND n.ok AND n.digest <> f.digest
          AND n.fetched_at > f.fetched_at AND n.fetched_at < %(before)s))
"""
"""What was fetched from where nobody points any more, or where something else has come since."""


def _going(connection: Connection[Any], present: list[str], before: datetime, after: _Result, most: int) -> _Going:
    connection.execute(_UNREAD_USES)
    bounds = {"before": before, "present": present, "most": most}
    place = dict(zip(("mark", "task", "version"), after, strict=True))
    rows = [(row[:3], row[3] or ()) for row in connection.execute(_RESULTS, bounds | place, binary=True)]
    fetches = connection.execute(_FETCHES, bounds).fetchall()
    makers = {keys.maker(task, version) for (_, task, version), _ in rows} - set(present)
    suspects = {digest for _, digest in fetches} | {_digest(name) for _, names in rows for name in names}
    named = _named_by_others(connection, _UNUSED, bounds, suspects, makers)
    in_use = set(map(_digest, named))
    results = [result for result, names in rows if not any(name in named and _maker(name) in makers for name in names)]
    unused = [fetch_id for fetch_id, digest in fetches if digest not in in_use][:most]
    bodies = suspects - in_use - _fetched(connection, suspects, unused)
    return _Going(results, unused, bodies, makers, named, rows[-1][0] if len(rows) == most else None)


_ONLY_THEIRS = """
SELECT x.fingerprint, x.task, x.version, x.names FROM task_use t JOIN result x USING (task, fingerprint)
WHERE t.doc_id = ANY (%(ids)s) AND NOT EXISTS (
    SELECT FROM task_use u WHERE u.fingerprint = x.fingerprint AND u.task = x.task AND u.doc_id <> ALL (%(ids)s))
UNION
SELECT x.fingerprint, x.task, x.version, x.names FROM result x
WHERE (x.made_for = ANY (%(ids)s) OR x.made_for IS NULL)  -- made before that was noted
  AND NOT EXISTS (SELECT FROM task_use u WHERE u.task = x.task AND u.fingerprint = x.fingerprint)
"""
_ONLY_THEIR_FETCHES = f"""
WITH used AS MATERIALIZED (
    SELECT DISTINCT b.body::json -> 'properties' ->> 'url' AS url
    FROM revision r JOIN body b USING (doc_id, from_gen) JOIN ({KEPT}) kept USING (set_id)
    WHERE (r.to_gen IS NULL OR r.to_gen > kept.oldest) AND r.doc_id <> ALL (%(ids)s)
      AND b.body::json -> 'properties' ->> 'url' = ANY (%(urls)s))
SELECT fetch_id, encode(digest, 'hex') FROM harvester.fetch f
WHERE ok AND digest IS NOT NULL AND md5(url) IN (SELECT md5(unnest(%(urls)s::text[]))) AND url = ANY (%(urls)s)
  AND NOT EXISTS (SELECT FROM used WHERE used.url = f.url)
"""
_NAMED_IN_THEIR_OUTPUTS = """
SELECT DISTINCT m[1] FROM output_body o, regexp_matches(o.body, %(shape)s, 'g') m WHERE o.doc_id = ANY (%(ids)s)
"""


def _going_with(connection: Connection[Any], doc_ids: Sequence[int], urls: Collection[str]) -> _Going:
    connection.execute(_UNREAD_USES)
    asked = {"ids": list(doc_ids), "urls": list(urls), "shape": f"({keys.NAMED})"}
    rows = [(row[:3], row[3] or ()) for row in connection.execute(_ONLY_THEIRS, asked, binary=True)]
    results = [result for result, _ in rows]
    fetches = connection.execute(_ONLY_THEIR_FETCHES, asked).fetchall() if urls else []
    naming = {name for _, names in rows for name in names}
    naming |= {name for (name,) in connection.execute(_NAMED_IN_THEIR_OUTPUTS, asked)}
    suspects = {digest for _, digest in fetches} | set(map(_digest, naming))
    unused = f"unused AS (SELECT * FROM {_THESE})"
    named = _named_by_others(connection, unused, _columns(results), suspects, set(), doc_ids)
    ids = [fetch_id for fetch_id, _ in fetches]
    return _Going(results, ids, suspects - set(map(_digest, named)), set(), named, None)


def _fetched(connection: Connection[Any], digests: Collection[str], but: Sequence[int]) -> set[str]:
    """Those of these bodies that were fetched, too, by others than these fetches."""
    rows = connection.execute(
        "SELECT DISTINCT encode(digest, 'hex') FROM harvester.fetch WHERE digest = ANY (%s) AND fetch_id <> ALL (%s)",
        ([bytes.fromhex(digest) for digest in digests], list(but)),
    )
    return {digest for (digest,) in rows}


_THESE = """
unnest(%(tasks)s::text[], %(versions)s::int[], %(marks)s::bytea[]) t (task, version, fingerprint)
"""


def _columns(results: list[_Result]) -> dict[str, Any]:
    marks, tasks, versions = zip(*results, strict=True) if results else ((), (), ())
    return {"tasks": list(tasks), "versions": list(versions), "marks": list(marks)}


def _named_by_others(
    connection: Connection[Any],
    unused: str,
    bounds: Mapping[str, Any],
    digests: set[str],
    makers: set[str],
    but: Sequence[int] = (),
) -> set[str]:
    """What results that are in use (other ones than `unused`, a WITH query), and outputs that somebody may read (but
    those of some documents), name of these bodies, and of what these makers made.

    An output of now says what the results of now say, unless it is to be made anew, or was made with a result that a
    newer one has superseded; earlier ones may not.
    """
    if not digests and not makers:
        return set()
    rows = connection.execute(
        f"""WITH {unused}, readable AS (
                SELECT o.doc_id, o.from_gen FROM output o JOIN ({KEPT}) kept USING (set_id) WHERE o.to_gen > kept.oldest
                UNION
                SELECT o.doc_id, o.from_gen
                FROM unused JOIN result x USING (fingerprint, task, version)
                JOIN task_use u USING (task, fingerprint) JOIN document d USING (doc_id)
                JOIN output o ON o.doc_id IN (d.doc_id, d.owner_id) AND o.to_gen IS NULL
                WHERE x.names IS NOT NULL
                UNION
                SELECT o.doc_id, o.from_gen FROM dirty JOIN document d USING (doc_id)
                JOIN output o ON o.doc_id IN (d.doc_id, d.owner_id) AND o.to_gen IS NULL WHERE dirty.done_in IS NULL)
            SELECT DISTINCT name FROM (
                SELECT m[1] AS name FROM readable JOIN output_body o USING (doc_id, from_gen),
                    regexp_matches(o.body, %(shape)s, 'g') m WHERE o.doc_id <> ALL (%(but)s)
                UNION ALL
                SELECT unnest(x.names) FROM result x LEFT JOIN unused u USING (fingerprint, task, version)
                WHERE x.names IS NOT NULL AND u.task IS NULL) n
            WHERE split_part(name, '/', 3) = ANY (%(digests)s)
               OR split_part(name, '/', 2) = ANY (%(makers)s) OR split_part(name, '/', 4) = ANY (%(makers)s)""",
        {
            **bounds,
            "shape": f"({keys.NAMED})",
            "digests": list(digests),
            "makers": list(makers),
            "but": list(but),
        },
    )
    return {name for (name,) in rows}


def _digest(name: str) -> str:
    found = re.search("[0-9a-f]{64}", name)
    assert found is not None, name
    return found[0]


def _maker(name: str) -> str:
    found = keys.place(name)
    return found.maker if found else ""


def _objects_of(objects: Objects, going: _Going) -> Iterator[str]:
    """The keys of all that goes."""
    if not going.bodies and not going.makers:
        return
    earlier = earlier_folders(objects)
    with ThreadPoolExecutor(LISTERS, thread_name_prefix="sweep") as listers:
        for found in listers.map(partial(made_of, objects, earlier), sorted(going.bodies)):
            yield from found
    if going.makers:
        for root in (keys.DERIVED, *earlier):
            if root == keys.DERIVED or root.split("/")[1] in going.makers:
                yield from (made.key for made in objects.list(root) if _is_left_over(made.key, going))


def earlier_folders(objects: Objects) -> list[str]:
    """The folders of makers from before there was `derived/`."""
    return [folder for root in keys.EARLIER for folder in objects.folders(root)]


def made_of(objects: Objects, earlier: list[str], digest: str) -> list[str]:
    """The keys of a body and of all that was ever made of it. `earlier`: the folders of makers of before."""
    folders = [keys.derived_of(digest), *(f"{folder}{digest}/" for folder in earlier)]
    return [keys.body(digest), *(made.key for folder in folders for made in objects.list(folder))]


def _is_left_over(key: str, going: _Going) -> bool:
    """Made by a maker that is no more, and named by nobody."""
    found, name = keys.place(key), re.match(keys.NAMED, key)
    return found is not None and found.maker in going.makers and name is not None and name[0] not in going.named


def _delete_results(connection: Connection[Any], results: list[_Result], but: Sequence[int] = ()) -> int:
    """How many; not one that came into use meanwhile (but by these documents), unless a newer version has answered."""
    return connection.execute(
        f"""DELETE FROM result x USING {_THESE}
            WHERE x.task = t.task AND x.version = t.version AND x.fingerprint = t.fingerprint
              AND (NOT EXISTS (SELECT FROM task_use u WHERE u.task = x.task AND u.fingerprint = x.fingerprint
                               AND u.doc_id <> ALL (%(but)s))
                OR EXISTS (SELECT FROM result y WHERE y.task = x.task AND y.fingerprint = x.fingerprint
                           AND y.version > x.version))""",
        _columns(results) | {"but": list(but)},
    ).rowcount
