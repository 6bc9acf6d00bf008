"""What is known of a set beside what its source lists: set-wise, in tables that live as long as one transaction.

Both sides are copied in, one statement tells them apart, and each question is one statement more.

Belongs here: what a difference is. Does not belong here: where the list comes from, what is done about it
(`reconcile.py`). Memory: a page of the list.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.installation import Installation
from harvester_dagster.sets.fetch import kind_of
from harvester_dagster.sets.generations import live, source_date
from harvester_dagster.sets.sets import SetState
from harvester_dagster.sources.kind import Listed
from harvester_dagster.store.database import copy

EXAMPLES = 5
KINDS = ("missing", "backdated", "deleted", "left", "to come")
"""Listed and not known; listed with a newer date than known, and older than what a delta asks for; known, and listed as
deleted; known and not listed; of the first three, what the next delta brings by itself."""
_TABLES = """
CREATE TEMPORARY TABLE listing (place int8, external_id text COLLATE "C", datestamp text COLLATE "C", is_deleted bool)
    ON COMMIT DROP;
"""
_ONCE = """
CREATE TEMPORARY TABLE listed ON COMMIT DROP AS
    SELECT DISTINCT ON (external_id) external_id, datestamp, is_deleted FROM listing ORDER BY external_id, place DESC
"""
_KNOWN = f"""
CREATE TEMPORARY TABLE known ON COMMIT DROP AS
    SELECT d.external_id COLLATE "C" AS external_id,
           {source_date("r", "%(gen)s")} COLLATE "C" AS datestamp
    FROM revision r JOIN document d USING (doc_id)
    WHERE r.set_id = %(set)s AND r.entity = %(entity)s AND {live("r", "%(gen)s")}
"""
# Dates are compared at the coarser of the two granularities; `since` is what the next delta asks for.
_DIFFERENT = """
CREATE TEMPORARY TABLE difference ON COMMIT DROP AS SELECT * FROM (
    SELECT coalesce(l.external_id, k.external_id) AS external_id, CASE
        WHEN l.external_id IS NULL THEN 'left'
        WHEN l.is_deleted AND k.external_id IS NULL THEN NULL
        WHEN NOT l.is_deleted AND k.external_id IS NOT NULL
            AND NOT coalesce(left(l.datestamp, least(length(l.datestamp), length(k.datestamp)))
                             > left(k.datestamp, least(length(l.datestamp), length(k.datestamp))), false) THEN NULL
        WHEN coalesce(l.datestamp >= left(%(since)s, length(l.datestamp)), false) THEN 'to come'
        WHEN l.is_deleted THEN 'deleted'
        WHEN k.external_id IS NULL THEN 'missing'
        ELSE 'backdated' END AS what
    FROM listed l FULL JOIN known k USING (external_id)) d
WHERE what IS NOT NULL
"""


class Differences(NamedTuple):
    """What a list says otherwise, as long as its transaction lasts."""

    connection: Connection[Any]
    listed: int
    known: int
    counts: Mapping[str, int]
    """By kind, each of `KINDS`."""

    def of(self, what: str) -> list[str]:
        """The ids of one kind, sorted."""
        return self._named(what, None)

    def examples(self, what: str) -> list[str]:
        """The first of them."""
        return self._named(what, EXAMPLES)

    def by_parts(self, kinds: Sequence[str], size: int) -> Iterator[list[str]]:
        """The ids of several kinds, so many at once."""
        with self.connection.cursor("gone") as cursor:
            cursor.execute("SELECT external_id FROM difference WHERE what = ANY (%s) ORDER BY 1", (list(kinds),))
            while rows := cursor.fetchmany(size):
                yield [name for (name,) in rows]

    def _named(self, what: str, most: int | None) -> list[str]:
        rows = self.connection.execute(
            "SELECT external_id FROM difference WHERE what = %s ORDER BY external_id LIMIT %s", (what, most)
        )
        return [name for (name,) in rows]


@contextmanager
def compared(installation: Installation, state: SetState, pages: Iterable[Sequence[Listed]]) -> Iterator[Differences]:
    """What these pages of a list, to its end, say otherwise than what is accepted."""
    settings = installation.config.sets[state.key]
    assert state.watermark is not None
    since = f"{(state.watermark - settings.overlap).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    entity = kind_of(installation, state.key).entity
    with installation.pool.connection() as connection:
        connection.execute(_TABLES)
        columns = {"place": "int8", "external_id": "text", "datestamp": "text", "is_deleted": "bool"}
        copy(connection, "listing", list(columns), list(columns.values()), _rows(pages))
        connection.execute(_ONCE)
        connection.execute(_KNOWN, {"set": state.set_id, "entity": entity, "gen": state.accepted_gen})
        connection.execute("ANALYZE listed; ANALYZE known")
        connection.execute(_DIFFERENT, {"since": since})
        counts: Counter[str] = Counter(
            dict(connection.execute("SELECT what, count(*) FROM difference GROUP BY 1").fetchall())
        )
        sizes = connection.execute("SELECT (SELECT count(*) FROM listed), (SELECT count(*) FROM known)").fetchone()
        listed, known = sizes or (0, 0)
        yield Differences(connection, listed, known, counts)


def _rows(pages: Iterable[Sequence[Listed]]) -> Iterator[tuple[int, str, str | None, bool]]:
    place = 0
    for page in pages:
        for line in page:
            place += 1
            yield place, line.external_id.replace("\0", ""), line.datestamp, line.is_deleted
