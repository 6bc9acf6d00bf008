"""What is kept, and for how long: versions, the generations they name, results, raw pages, fetched bodies.

A version's age counts from when it ceased to be current; the newest of each of the last code versions is kept
whatever its age. Of each document the last revision and its end stay, so that deletes are remembered. A result lives
while a kept revision, a candidate's included, has its fingerprint; a fetched body, and what was made of it, while a
kept revision has its URL or a result names its digest.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from harvester_dagster.installation import Installation
from harvester_dagster.outside.bodies import body_key


class Cleaned(NamedTuple):
    versions: int
    revisions: int
    outputs: int
    results: int
    page_bundles: int
    bodies: int


_VERSIONS = """
DELETE FROM dataset_version v
WHERE v.version_id NOT IN (SELECT version_id FROM current_version)
  AND coalesce(v.ceased_at, v.prepared_at) < %(before)s
  AND v.version_id NOT IN (
      SELECT max(version_id) FROM dataset_version WHERE promoted_at IS NOT NULL
      GROUP BY code_version ORDER BY 1 DESC LIMIT %(code_versions)s)
"""

_OLD = """
DELETE FROM {narrow} r USING (
    SELECT s.set_id, least(s.accepted_gen, min(v.gen)) AS oldest
    FROM harvest_set s LEFT JOIN dataset_version_set v USING (set_id) GROUP BY s.set_id) kept
WHERE kept.set_id = r.set_id AND r.to_gen <= kept.oldest
  AND EXISTS (SELECT FROM {narrow} later WHERE later.doc_id = r.doc_id AND later.from_gen > r.from_gen
              AND later.from_gen <= kept.oldest)
RETURNING r.doc_id, r.from_gen
"""


def clean_up(installation: Installation) -> Cleaned:
    """Remove what nothing refers to any more."""
    store = installation.config.store
    before = installation.clock() - timedelta(days=store.retention_days)
    with installation.pool.connection() as connection:
        versions = connection.execute(
            _VERSIONS, {"before": before, "code_versions": store.retention_code_versions}
        ).rowcount
        counts = []
        for narrow, wide in (("revision", "body"), ("output", "output_body")):
            gone = connection.execute(
                f"""WITH gone AS ({_OLD.format(narrow=narrow)}), bodies AS (
                        DELETE FROM {wide} b USING gone
                        WHERE b.doc_id = gone.doc_id AND b.from_gen = gone.from_gen)
                    SELECT count(*) FROM gone"""
            ).fetchone()
            counts.append(gone[0] if gone else 0)
        results = 0
        if versions or counts[0]:
            connection.execute(
                """DELETE FROM task_use u WHERE NOT EXISTS (
                       SELECT FROM revision r WHERE r.doc_id = u.doc_id AND r.from_gen = u.from_gen)"""
            )
            results = connection.execute(
                """DELETE FROM result x WHERE finished_at < %s AND NOT EXISTS (
                       SELECT FROM task_use u WHERE u.task = x.task AND u.fingerprint = x.fingerprint)""",
                (before,),
            ).rowcount
        bundles = connection.execute(
            """SELECT p.object_key, p.attempt_id FROM page_bundle p JOIN attempt a USING (attempt_id)
               WHERE a.ended_at < %s AND a.state <> 'rejected'""",
            (before,),
        ).fetchall()
    if bundles:
        installation.objects.delete([key for key, _ in bundles])
        with installation.pool.connection() as connection:
            connection.execute(
                "DELETE FROM page_bundle WHERE attempt_id = ANY (%s)", (sorted({attempt for _, attempt in bundles}),)
            )
    bodies = _sweep_bodies(installation, before) if versions or counts[0] else 0
    return Cleaned(versions, counts[0], counts[1], results, len(bundles), bodies)


_UNUSED_FETCHES = """
WITH used AS MATERIALIZED (
    SELECT DISTINCT b.body::json -> 'properties' ->> 'url' AS url FROM revision r JOIN body b USING (doc_id, from_gen)
    WHERE b.body::json -> 'properties' ->> 'url' IS NOT NULL)
SELECT fetch_id, digest FROM harvester.fetch f
WHERE fetched_at < %(before)s AND NOT EXISTS (SELECT FROM used WHERE used.url = f.url)
"""

_PICTURES = """
SELECT DISTINCT split_part(x.data ->> 'preview_small', '/', 3) FROM result x
WHERE x.data ->> 'preview_small' IS NOT NULL
"""


def _sweep_bodies(installation: Installation, before: datetime) -> int:
    """Bodies that no kept revision's URL leads to, with their texts and pictures. Reads every URL: only after
    revisions were removed. Objects go first: a body that is missing is fetched again, one without a row never goes."""
    with installation.pool.connection() as connection:
        unused = connection.execute(_UNUSED_FETCHES, {"before": before}).fetchall()
        if not unused:
            return 0
        ids = [fetch_id for fetch_id, _ in unused]
        kept = {
            bytes(digest).hex()
            for (digest,) in connection.execute(
                "SELECT digest FROM harvester.fetch WHERE digest IS NOT NULL AND fetch_id <> ALL (%s)", (ids,)
            )
        } | {digest for (digest,) in connection.execute(_PICTURES)}
    gone = {bytes(digest).hex() for _, digest in unused if digest is not None} - kept
    for digest in sorted(gone):
        installation.objects.delete([body_key(digest)])
        for folder in _derived_folders(installation):
            installation.objects.delete([made.key for made in installation.objects.list(f"{folder}/{digest}/")])
    with installation.pool.connection() as connection:
        connection.execute("DELETE FROM harvester.fetch WHERE fetch_id = ANY (%s)", (ids,))
    return len(gone)


def _derived_folders(installation: Installation) -> list[str]:
    """Where tasks keep what they make of a body."""
    made = [(task.name, task.version) for task in installation.catalog.tasks if task.entity == "files"]
    return [f"{folder}/{name}-{version}" for name, version in made for folder in ("texts", "previews")]
