"""Why there is a new version, in a sentence: what was harvested, or what changed though nothing was.

Belongs here: comparing the current version with the one before it, by figures of its harvests and a sample of its
documents, so that it costs the same whatever was released. Does not belong here: the list of what differs
(`sets/differences.py`).
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from psycopg import Connection

from harvester_dagster.catalog import Catalog
from harvester_dagster.sets import differences, versions
from harvester_dagster.sets.generations import live
from harvester_dagster.sets.versions import NotPromotable, Version

SAMPLE = 200
"""Documents that are compared field by field."""
SHOWN = 3


def news(connection: Connection[Any], catalog: Catalog, current: Version) -> str:
    """Of the current version, beside the one that was current before it. "" where there is none."""
    released = versions.released(connection) or current
    return with_pushes(of_release(connection, catalog, released), released, current)


def with_pushes(said: str, released: Version, current: Version) -> str:
    """What was told of a release, where pushes have made another version of it since."""
    if not said or released.version_id == current.version_id:
        return said
    return f"{said} Pushes or overwrites have made it version {current.version_id} since."


def of_release(connection: Connection[Any], catalog: Catalog, current: Version) -> str:
    """Of the version that was released last, beside the one that was current before it; "" where there is none. It
    stays the same until the next release."""
    try:
        before = versions.before_current(connection)
    except NotPromotable:
        return ""
    name = f"Version {current.version_id}"
    if before.version_id > current.version_id:
        return f"{name} was gone back to from version {before.version_id}."
    sent = _sent(connection, before, current)
    if sent:
        return f"{name} follows version {before.version_id}: sources sent {sent:,} new, changed or deleted documents."
    changed, fields = _fields(connection, before, current)
    if not changed:
        return f"{name} follows version {before.version_id}: it shows the same documents."
    some = f"{changed:,}" if changed < SAMPLE else f"{changed:,} or more"
    said = f"{name} follows version {before.version_id} though the sources had nothing new: {some} documents have"
    named = [field for field, _ in sorted(fields.items(), key=lambda one: (-one[1], one[0]))][:SHOWN]
    because = list(dict.fromkeys(task.news for task in catalog.tasks if task.news and _publishes(task, named)))
    return f"{said} another {', '.join(named) or 'state'}" + (f" ({'; '.join(because)})." if because else ".")


def _publishes(task: Any, fields: list[str]) -> bool:
    return any(published.name in fields for published in task.publishes)


def _sent(connection: Connection[Any], before: Version, current: Version) -> int:
    """How many new, changed and deleted documents their sources sent, as each harvest has counted them."""
    moved = differences.moved(before.generations, current.generations)
    row = connection.execute(
        """SELECT coalesce(sum(count.value::int), 0)
           FROM unnest(%(sets)s::int[], %(low)s::int[], %(high)s::int[]) m (set_id, low, high)
           JOIN generation g ON g.set_id = m.set_id AND g.gen > m.low AND g.gen <= m.high
           JOIN attempt a ON a.attempt_id = g.attempt_id AND json_typeof(a.counts) = 'object'
           CROSS JOIN json_each(a.counts) entity CROSS JOIN json_each_text(entity.value) count
           WHERE count.key IN ('new', 'changed', 'deleted')""",
        {
            "sets": [one.set_id for one in moved],
            "low": [min(one.old, one.new) for one in moved],
            "high": [max(one.old, one.new) for one in moved],
        },
    ).fetchone()
    return int(row[0]) if row else 0


def _fields(connection: Connection[Any], before: Version, current: Version) -> tuple[int, Counter[str]]:
    """Of a sample of what differs: how many, and how often each field does."""
    fields: Counter[str] = Counter()
    count = 0
    for one in differences.moved(before.generations, current.generations):
        if count == SAMPLE:
            break
        ids = differences.some(connection, one, SAMPLE - count)
        count += len(ids)
        for old, new in _bodies(connection, ids, one.old, one.new):
            fields.update(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    for shown_of_all in ("modified_at", "files"):
        fields.pop(shown_of_all, None)
    return count, fields


def _bodies(
    connection: Connection[Any], ids: list[int], x: int, y: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    rows = connection.execute(
        f"""SELECT b.body, a.body FROM unnest(%(ids)s::bigint[]) AS u (doc_id)
            JOIN output o ON o.doc_id = u.doc_id AND o.published AND {live("o", "%(x)s")}
            JOIN output_body b ON b.doc_id = o.doc_id AND b.from_gen = o.from_gen
            JOIN output n ON n.doc_id = u.doc_id AND n.published AND {live("n", "%(y)s")}
            JOIN output_body a ON a.doc_id = n.doc_id AND a.from_gen = n.from_gen""",
        {"ids": ids, "x": x, "y": y},
    ).fetchall()
    for old, new in rows:
        yield msgspec.json.decode(old), msgspec.json.decode(new)
