"""What is kept, and for how long: versions, the generations they name, raw pages, results and bodies, figures.

A version's age counts from when it ceased to be current; the newest of each of the last code versions is kept
whatever its age. Of each document the last revision and its end stay, so that deletes are remembered. Results and
bodies: `body_sweep.py`. The raw pages of a set's last accepted complete harvest, and of every accepted one after it,
stay whatever their age: a changed mapping is replayed from them. Figures live `history_days`.

Objects go before the rows that name them: a clean-up that is cut short leaves rows, which the next one finds.
"""

import logging
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.installation import Installation
from harvester_dagster.publication import wishes
from harvester_dagster.releases import body_sweep, purging
from harvester_dagster.sets import attempts
from harvester_dagster.store import keys

_LOG = logging.getLogger(__name__)
THINNED_AFTER = timedelta(days=1)
"""Of versions that pushes made (up to one in two seconds) the last of each hour is kept from then on."""


class Cleaned(NamedTuple):
    """How many of each went."""

    versions: int
    revisions: int
    outputs: int
    results: int
    page_bundles: int
    bodies: int
    vocabularies: int
    figures: int


def clean_up(installation: Installation) -> Cleaned:
    """Remove what nothing refers to any more. Raises StorageError when the objects cannot be had; then their rows stay,
    and the next clean-up goes on."""
    for left in purging.finish(installation):
        _LOG.warning("%s", left)
    store = installation.config.store
    before = installation.clock() - timedelta(days=store.retention_days)
    with installation.pool.connection() as connection:
        versions = connection.execute(
            _VERSIONS,
            {
                "before": before,
                "thinned": installation.clock() - THINNED_AFTER,
                "code_versions": store.retention_code_versions,
            },
        ).rowcount
        revisions = _remove_old(connection, "revision", ("body", "task_use"))
        outputs = _remove_old(connection, "output", ("output_body",))
        if versions or revisions or outputs:
            body_sweep.note_removal(connection, installation.clock())
    bundles = _remove_pages(installation, before)
    swept = body_sweep.sweep(installation, before)
    return Cleaned(
        versions,
        revisions,
        outputs,
        swept.results,
        bundles,
        swept.bodies,
        _remove_vocabularies(installation, before),
        _remove_figures(installation, before),
    )


_VERSIONS = """
DELETE FROM dataset_version v
WHERE v.version_id NOT IN (SELECT version_id FROM current_version)
  AND (coalesce(v.ceased_at, v.prepared_at) < %(before)s
    OR v.pushed AND v.ceased_at < %(thinned)s AND v.version_id NOT IN (
      SELECT max(version_id) FROM dataset_version WHERE pushed GROUP BY date_trunc('hour', promoted_at)))
  AND v.version_id NOT IN (
      SELECT max(version_id) FROM dataset_version WHERE promoted_at IS NOT NULL
      GROUP BY code_version ORDER BY 1 DESC LIMIT %(code_versions)s)
"""

_OLD = f"""
DELETE FROM {{narrow}} r USING ({body_sweep.KEPT}) kept
WHERE kept.set_id = r.set_id AND r.to_gen <= kept.oldest
  AND EXISTS (SELECT FROM {{narrow}} later WHERE later.doc_id = r.doc_id AND later.from_gen > r.from_gen
              AND later.from_gen <= kept.oldest)
RETURNING r.doc_id, r.from_gen
"""


def _remove_old(connection: Connection[Any], narrow: str, with_them: tuple[str, ...]) -> int:
    """Revisions or outputs that ended before all that is kept, and their rows in these tables; how many."""
    rest = ", ".join(
        f"""{table}_gone AS (DELETE FROM {table} b USING gone
                             WHERE b.doc_id = gone.doc_id AND b.from_gen = gone.from_gen)"""
        for table in with_them
    )
    row = connection.execute(
        f"WITH gone AS ({_OLD.format(narrow=narrow)}), {rest} SELECT count(*) FROM gone"
    ).fetchone()
    return row[0] if row else 0


_PAGES = f"""
SELECT p.attempt_id, p.number, p.object_key FROM page_bundle p JOIN attempt a USING (attempt_id)
JOIN harvest_set s USING (set_id)
WHERE least(s.retired_at, s.withdrawn_at) < %(before)s
  OR (a.ended_at < %(before)s AND (a.state <> 'rejected' OR a.mode = 'push')
      AND NOT (a.state = 'accepted' AND p.holds <> 'identifiers'
               AND a.attempt_id >= coalesce(({attempts.BASE.format(set_id="a.set_id")}), 0)))
"""
"""Of a set that is gone nothing is replayed: one that comes back is harvested in full."""


def _remove_pages(installation: Installation, before: datetime) -> int:
    """Raw pages that no replay reads; those of a rejected candidate wait with it. How many bundles."""
    with installation.pool.connection() as connection:
        bundles = connection.execute(_PAGES, {"before": before}).fetchall()
    if bundles:
        installation.objects.delete(key for _, _, key in bundles)
        with installation.pool.connection() as connection:
            connection.execute(
                """DELETE FROM page_bundle p USING unnest(%s::bigint[], %s::int[]) gone (attempt_id, number)
                   WHERE p.attempt_id = gone.attempt_id AND p.number = gone.number""",
                ([attempt_id for attempt_id, _, _ in bundles], [number for _, number, _ in bundles]),
            )
    return len(bundles)


_UNUSED_VOCABULARIES = """
WITH unused AS (
    SELECT object_key FROM unnest(%(there)s::text[]) there (object_key)
    WHERE object_key NOT IN (SELECT object_key FROM vocabulary_source)
), others AS (
    DELETE FROM vocabulary_unused WHERE object_key NOT IN (SELECT object_key FROM unused)
), noted AS (
    INSERT INTO vocabulary_unused (object_key, since) SELECT object_key, %(now)s FROM unused ON CONFLICT DO NOTHING
)
SELECT object_key FROM vocabulary_unused JOIN unused USING (object_key) WHERE since < %(before)s
"""


def _remove_vocabularies(installation: Installation, before: datetime) -> int:
    """Harvested vocabularies that others superseded, or that are no longer configured: since when, the first clean-up
    that finds them so notes. How many."""
    there = [found.key for found in installation.objects.list(keys.VOCABULARIES)]
    with installation.pool.connection() as connection:
        moments = {"there": there, "now": installation.clock(), "before": before}
        gone = [key for (key,) in connection.execute(_UNUSED_VOCABULARIES, moments)]
    installation.objects.delete(gone)
    return len(gone)


_FIGURES = (
    """DELETE FROM problem p USING attempt a
       WHERE p.attempt_id = a.attempt_id AND a.ended_at < %(before)s AND a.state <> 'rejected'""",
    "DELETE FROM harvester.fetch WHERE NOT ok AND fetched_at < %(before)s",
    # The newest of each kind stay, and what made a generation that is kept: reports and alerts read them.
    f"""DELETE FROM attempt a USING ({body_sweep.KEPT}) kept
        WHERE a.ended_at < %(history)s AND kept.set_id = a.set_id
          AND (a.generation IS NULL OR a.generation < kept.oldest)
          AND NOT EXISTS (SELECT FROM page_bundle p WHERE p.attempt_id = a.attempt_id)
          AND NOT EXISTS (SELECT FROM harvest_set s WHERE s.staged_attempt = a.attempt_id)
          AND a.attempt_id NOT IN (SELECT max(attempt_id) FROM attempt GROUP BY set_id, mode, state)""",
    """DELETE FROM night WHERE ended_at < %(history)s
         AND night_id NOT IN (SELECT max(night_id) FROM night GROUP BY released_at IS NULL)""",
    # A run that stopped is gone on with from its row; its messages and findings go with it.
    """DELETE FROM access_run WHERE ended_at < %(history)s
         AND run_id NOT IN (SELECT max(run_id) FROM access_run GROUP BY endpoint_id, mode, state)""",
    "DELETE FROM access_message WHERE run_id IS NULL AND at < %(history)s",
    "DELETE FROM alert WHERE told_at < %(history)s",
    "DELETE FROM audit WHERE at < %(history)s",
    "DELETE FROM push WHERE ended_at < %(before)s",
    "DELETE FROM task_report WHERE finished_at < %(history)s",
    # The SRN of what was purged was kept so that copies are told; from here on its mark is all that knows it again.
    # With its number, for a record that came back may be purged again.
    f"""UPDATE document d SET external_id = '{wishes.FORGOTTEN}' || encode(t.mark, 'hex') || ':' || d.doc_id
       FROM takedown t WHERE t.purge = 'done' AND t.at < %(history)s AND (d.doc_id = t.doc_id OR d.owner_id = t.doc_id)
         AND NOT starts_with(d.external_id, '{wishes.FORGOTTEN}')""",
)
"""Problems and failed fetches by `before`, the others by `history`. Rows that no object belongs to."""


def _remove_figures(installation: Installation, before: datetime) -> int:
    history = min(before, installation.clock() - timedelta(days=installation.config.store.history_days))
    with installation.pool.connection() as connection:
        return sum(
            connection.execute(statement, {"before": before, "history": history}).rowcount for statement in _FIGURES
        )
