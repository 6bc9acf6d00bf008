"""Figures for monitoring, read from the store: nights, sets, verdicts, what waits, tasks, the release, the index, the
enricher, calls to the outside.

A family is one row of a table: its name, what it says, its labels, the statement that answers it. One that cannot be
read in time is left out. Belongs here: these rows. Does not belong here: how they are asked for (`monitoring.py`).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg import Error as PostgresError
from psycopg_pool import PoolTimeout

from harvester_dagster.installation import Installation
from harvester_dagster.releases import standings
from harvester_dagster.search.search_side import search_side

SECONDS = 3
"""Of one statement."""
_HOSTS = 50
_LOG = logging.getLogger(__name__)

Sample = tuple[tuple[str, ...], float]
"""Values of the labels, and the figure."""


class Measure(NamedTuple):
    """A family of figures, as Prometheus has them: all of them gauges, for rows are cleaned away."""

    name: str
    about: str
    labels: tuple[str, ...]
    samples: list[Sample]


class _Family(NamedTuple):
    """`statement`: its rows are labels and a figure; those without a figure are left out. `names_outside`: its labels
    hold what somebody outside chose."""

    name: str
    about: str
    labels: tuple[str, ...]
    statement: str
    names_outside: bool = False


_NOW = "%(now)s::timestamptz"
FAMILIES = (
    _Family("nights", "Nights that are remembered", ("origin",), "SELECT origin, count(*) FROM night GROUP BY 1"),
    _Family(
        "night_open",
        "Nights that have begun and not ended",
        (),
        "SELECT count(*) FROM night WHERE ended_at IS NULL",
    ),
    _Family(
        "night_opened_seconds",
        "When the newest night was opened (Unix time)",
        (),
        "SELECT extract(epoch FROM max(opened_at)) FROM night",
    ),
    _Family(
        "night_ended_seconds",
        "When a night ended last (Unix time)",
        (),
        "SELECT extract(epoch FROM max(ended_at)) FROM night",
    ),
    _Family(
        "set_age_seconds",
        "Since the last accepted harvest of a set began",
        ("set",),
        f"""SELECT key, extract(epoch FROM {_NOW} - watermark) FROM harvest_set
            WHERE retired_at IS NULL AND withdrawn_at IS NULL""",
    ),
    _Family(
        "attempts",
        "Attempts that are remembered, by how they were made and how they ended",
        ("mode", "state"),
        "SELECT mode, state, count(*) FROM attempt GROUP BY 1, 2",
    ),
    _Family(
        "verdict",
        "How the newest harvest of a set ended: 1",
        ("set", "state"),
        """SELECT s.key, a.state, 1 FROM harvest_set s CROSS JOIN LATERAL (
               SELECT state FROM attempt a WHERE a.set_id = s.set_id AND mode IN ('full', 'delta', 'reset')
               ORDER BY attempt_id DESC LIMIT 1) a WHERE s.withdrawn_at IS NULL""",
    ),
    _Family(
        "waiting",
        "What is still to be done: sets of open nights, outputs, inputs of tasks, sets without release",
        ("what",),
        """SELECT 'sets of a night', count(*) FROM night_set JOIN night USING (night_id)
           WHERE outcome IS NULL AND night.ended_at IS NULL
           UNION ALL SELECT 'outputs', count(*) FROM dirty WHERE done_in IS NULL
           UNION ALL SELECT 'inputs of tasks', count(*) FROM stale_use
           UNION ALL SELECT 'sets to release', count(*) FROM harvest_set s
               LEFT JOIN current_version ON true LEFT JOIN dataset_version_set v USING (version_id, set_id)
               WHERE s.accepted_gen > 0 AND v.gen IS DISTINCT FROM s.accepted_gen""",
    ),
    _Family(
        "task_outcomes",
        "Outcomes of the newest run of each task, all sets together",
        ("task", "outcome"),
        """SELECT task, outcome, sum(count::float) FROM task_report, json_each_text(outcomes) each (outcome, count)
           GROUP BY 1, 2""",
    ),
    _Family(
        "published_documents",
        "Documents that consumers see",
        ("entity",),
        """SELECT entity, sum(documents::int) FROM current_version JOIN dataset_version_set USING (version_id)
           JOIN generation USING (set_id, gen), json_each_text(published) each (entity, documents) GROUP BY 1""",
    ),
    _Family("published_version", "The version that consumers see", (), "SELECT version_id FROM current_version"),
    _Family("published_seq", "The newest seq of the publication log", (), "SELECT max(seq) FROM publication"),
    _Family(
        "published_seconds",
        "When something was promoted or rolled back last (Unix time)",
        (),
        "SELECT extract(epoch FROM max(at)) FROM publication",
    ),
    _Family("release_held", "Whether a rollback holds automatic releases", (), "SELECT count(*) FROM release_hold"),
    _Family(
        "enricher_runs",
        "Runs of the enricher that are remembered",
        ("endpoint", "state"),
        "SELECT name, state, count(*) FROM access_run JOIN access_endpoint USING (endpoint_id) GROUP BY 1, 2",
    ),
    _Family(
        "enricher_complete_seconds",
        "When a run of the enricher was complete last (Unix time)",
        ("endpoint",),
        """SELECT name, extract(epoch FROM max(ended_at)) FROM access_run JOIN access_endpoint USING (endpoint_id)
           WHERE state = 'complete' GROUP BY 1""",
    ),
    _Family(
        "outside_calls",
        "Fetches that are remembered, by what came of them",
        ("kind",),
        """SELECT CASE WHEN ok THEN 'success' ELSE substring(reason FROM '^[a-z0-9-]{1,40}') END, count(*)
           FROM harvester.fetch GROUP BY 1""",
    ),
    _Family(
        "outside_calls_of_host",
        "The same by host: those that are called most",
        ("host", "ok"),
        f"""SELECT left(substring(url FROM '^[a-z]+://(?:[^/?#]*@)?([^/?#:]*)'), 100), ok::text, count(*)
            FROM harvester.fetch GROUP BY 1, 2 ORDER BY 3 DESC LIMIT {_HOSTS}""",
        names_outside=True,
    ),
    _Family(
        "alerts",
        "What people were told and is not over",
        ("kind",),
        "SELECT substring(cause FROM '^[a-z-]{1,40}'), count(*) FROM alert GROUP BY 1",
    ),
)


def read(installation: Installation, names_outside: bool) -> tuple[list[Measure], int]:
    """Every family that can be read, and how many could not. `names_outside`: those with names of hosts, too."""
    found, left_out = [], 0
    for name, about, labels, samples in _read(installation, names_outside):
        try:
            found.append(Measure(name, about, labels, samples()))
        except (PostgresError, PoolTimeout) as error:
            _LOG.warning("the figures %s could not be read: %s", name, type(error).__name__)
            left_out += 1
    return found, left_out


_Later = tuple[str, str, tuple[str, ...], Callable[[], list[Sample]]]


def _read(installation: Installation, names_outside: bool) -> Iterator[_Later]:
    now = installation.clock()
    for family in FAMILIES:
        if names_outside or not family.names_outside:
            yield family.name, family.about, family.labels, _asked(installation, family, now)
    yield "sets", "Sets, by how they stand in what is published", ("standing",), lambda: _standings(installation)
    yield (
        "index_behind",
        "Whether searches do not show the current version, or hinder the next one",
        ("state",),
        lambda: _index(installation),
    )
    yield (
        "index_lag_seconds",
        "For how long searches have not shown what is current",
        (),
        lambda: _lag(installation, now),
    )


def _asked(installation: Installation, family: _Family, now: datetime) -> Callable[[], list[Sample]]:
    def rows() -> list[Sample]:
        with installation.reading.connection(timeout=SECONDS) as connection, connection.transaction():
            connection.execute(f"SET LOCAL statement_timeout = '{SECONDS}s'")
            return [_sample(row) for row in _rows(connection, family, now) if row[-1] is not None]

    return rows


def _rows(connection: Connection[Any], family: _Family, now: datetime) -> Sequence[tuple[Any, ...]]:
    with closing(connection.cursor()) as cursor:
        cursor.execute(family.statement, {"now": now} if "%(now)s" in family.statement else None)
        return cursor.fetchall()


def _sample(row: Sequence[Any]) -> Sample:
    return tuple("" if label is None else str(label) for label in row[:-1]), float(row[-1])


def _standings(installation: Installation) -> list[Sample]:
    counts = dict.fromkeys(("fresh", "on fallback", "stale", "missing", "retired"), 0)
    for each in standings.standings(installation):
        counts[each.standing] += 1
    return [((standing,), float(count)) for standing, count in counts.items()]


def _index(installation: Installation) -> list[Sample]:
    side = search_side(installation)
    return [((state,), float(side.state == state)) for state in ("behind", "hindered")] if side else []


def _lag(installation: Installation, now: datetime) -> list[Sample]:
    side = search_side(installation)
    if side is None:
        return []
    since = side.since if side.state != "follows" else None
    return [((), max(0.0, (now - since).total_seconds()) if since else 0.0)]
