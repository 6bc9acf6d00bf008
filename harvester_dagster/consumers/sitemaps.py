"""What a sitemap lists: the documents of an entity that are shown now, in parts, each since when it is shown as it is.

Belongs here: these questions. Does not belong here: addresses and XML (`web/api/sitemap_routes.py`).
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.consumers.snapshots import Snapshot
from harvester_dagster.sets.generations import live

MOST = 50_000
"""Addresses of a part: what the protocol of sitemaps allows."""


class SitemapPart(NamedTuple):
    """Documents of a set behind one external id, up to another; `changed_at`: since when the set is shown as it is."""

    key: str
    after: str
    up_to: str
    changed_at: datetime


class ListedPage(NamedTuple):
    """A document, by its external id, and since when it is shown as it is (`publication/log.py`)."""

    external_id: str
    changed_at: datetime


_BORDERS = f"""
SELECT external_id FROM (
    SELECT d.external_id, row_number() OVER (ORDER BY d.external_id) AS n, count(*) OVER () AS total
    FROM document d JOIN output o ON o.doc_id = d.doc_id AND o.published AND {live("o", "%(gen)s")}
    WHERE d.set_id = %(set)s AND d.entity = %(entity)s) each
WHERE n %% %(most)s = 0 OR n = total ORDER BY 1
"""
_MOVED = "SELECT set_id, max(at) FROM publication WHERE seq <= %s GROUP BY 1"


def parts(connection: Connection[Any], found: Snapshot, entity: str, most: int = MOST) -> Iterator[SitemapPart]:
    """Of a snapshot, in the order of its sets."""
    moved: dict[int, datetime] = dict(connection.execute(_MOVED, (found.seq,)).fetchall())
    for one in found.sets:
        after = ""
        asked = {"set": one.set_id, "gen": one.gen, "entity": entity, "most": most}
        for (up_to,) in connection.execute(_BORDERS, asked).fetchall():
            yield SitemapPart(one.key, after, up_to, moved[one.set_id])
            after = up_to


# A state is shown since the last move that came from a generation in which it was another.
_PAGES = f"""
WITH shown AS MATERIALIZED (
    SELECT d.external_id, o.from_gen, coalesce(o.to_gen, 2147483647) AS to_gen
    FROM document d JOIN output o ON o.doc_id = d.doc_id AND o.published AND {live("o", "%(gen)s")}
    WHERE d.set_id = %(set)s AND d.entity = %(entity)s AND d.external_id > %(after)s AND d.external_id <= %(up_to)s
    ORDER BY 1 LIMIT %(most)s),
since AS (
    SELECT from_gen, to_gen, (
        SELECT max(at) FROM publication p WHERE p.set_id = %(set)s AND p.seq <= %(seq)s
          AND NOT (p.from_gen >= s.from_gen AND p.from_gen < s.to_gen)) AS at
    FROM (SELECT DISTINCT from_gen, to_gen FROM shown) s)
SELECT external_id, at FROM shown JOIN since USING (from_gen, to_gen) ORDER BY 1
"""


def pages(
    connection: Connection[Any], found: Snapshot, entity: str, key: str, after: str, up_to: str, most: int = MOST
) -> list[ListedPage]:
    """What a snapshot shows of a set between two external ids; nothing of a set that it does not show."""
    for one in found.sets:
        if one.key == key:
            between = {"after": after, "up_to": up_to, "most": most, "seq": found.seq}
            asked = {"set": one.set_id, "gen": one.gen, "entity": entity, **between}
            return [ListedPage._make(row) for row in connection.execute(_PAGES, asked)]
    return []
