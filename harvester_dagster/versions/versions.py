"""Dataset versions: one generation per set, products and files together; one of them is current.

Belongs here: preparing a version, promoting it in one statement, rolling back, comparing two, reading one. The
search index follows (`search/`), retention is in `retention.py`.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib import metadata
from typing import Any, Literal, NamedTuple

from psycopg import Connection

from harvester_dagster.harvesting.generations import live
from harvester_dagster.installation import Installation

PROMOTION_LOCK = 7_405_003


class NotPromotable(Exception):
    """The version may not become current; the message says why and what to do."""


class Version(NamedTuple):
    """`generations`: set id → generation."""

    version_id: int
    prepared_at: datetime
    code_version: str
    promoted_at: datetime | None
    ceased_at: datetime | None
    is_current: bool
    indices: Mapping[str, str]
    generations: Mapping[int, int]


class Change(NamedTuple):
    """One published document that differs between two versions."""

    srn: str
    entity: str
    change: Literal["added", "changed", "removed"]
    doc_id: int


def code_version() -> str:
    return metadata.version("harvester_dagster")


_SELECT = """
SELECT v.version_id, v.prepared_at, v.code_version, v.promoted_at, v.ceased_at, c.version_id IS NOT NULL, v.indices,
       (SELECT json_agg(json_build_array(s.set_id, s.gen)) FROM dataset_version_set s WHERE s.version_id = v.version_id)
FROM dataset_version v LEFT JOIN current_version c USING (version_id)
"""


def _version(row: Any) -> Version:
    return Version._make((*row[:-1], dict(row[-1] or ())))


def current(connection: Connection[Any]) -> Version | None:
    row = connection.execute(f"{_SELECT} WHERE c.version_id IS NOT NULL").fetchone()
    return _version(row) if row else None


def by_id(connection: Connection[Any], version_id: int) -> Version:
    row = connection.execute(f"{_SELECT} WHERE v.version_id = %s", (version_id,)).fetchone()
    if row is None:
        raise NotPromotable(f"there is no version {version_id}; `harvester versions list` shows those that are kept")
    return _version(row)


def all_versions(connection: Connection[Any]) -> list[Version]:
    """Newest first."""
    return [_version(row) for row in connection.execute(f"{_SELECT} ORDER BY v.version_id DESC")]


def prepare(installation: Installation, *, run_id: str | None = None, night_id: int | None = None) -> Version | None:
    """A version of what every set has accepted; None: no set has moved since the current one.

    Asked again by the same run it gives the same version, until a set has moved on.
    """
    with installation.pool.connection() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (PROMOTION_LOCK,))
        rows = connection.execute("SELECT set_id, accepted_gen FROM harvest_set WHERE accepted_gen > 0")
        accepted: dict[int, int] = dict(rows.fetchall())
        present = current(connection)
        if not accepted or (present and present.generations == accepted):
            return None
        if run_id:
            row = connection.execute(
                f"{_SELECT} WHERE v.run_id = %s ORDER BY v.version_id DESC LIMIT 1", (run_id,)
            ).fetchone()
            if row and _version(row).generations == accepted:
                return _version(row)
        made = connection.execute(
            """INSERT INTO dataset_version (prepared_at, code_version, run_id, night_id) VALUES (%s, %s, %s, %s)
               RETURNING version_id""",
            (installation.clock(), code_version(), run_id, night_id),
        ).fetchone()
        assert made is not None
        connection.execute(
            """INSERT INTO dataset_version_set (version_id, set_id, gen)
               SELECT %s, set_id, gen FROM unnest(%s::int[], %s::int[]) AS u (set_id, gen)""",
            (made[0], list(accepted), list(accepted.values())),
        )
        return by_id(connection, made[0])


def promote(installation: Installation, version: Version, *, rollback: bool = False) -> Version:
    """Make a version current: one statement moves the pointer.

    Raises NotPromotable when a set would go back (a rollback may, and holds automatic releases).
    """
    with installation.pool.connection() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (PROMOTION_LOCK,))
        present = current(connection)
        if present and not rollback:
            behind = [set_id for set_id, gen in present.generations.items() if version.generations.get(set_id, 0) < gen]
            if behind:
                raise NotPromotable(
                    f"version {version.version_id} holds older generations of {len(behind)} sets than the current "
                    f"version {present.version_id}; prepare a new one (`harvester release`)"
                )
        connection.execute(
            """INSERT INTO current_version (version_id) VALUES (%s)
               ON CONFLICT (only_one) DO UPDATE SET version_id = excluded.version_id""",
            (version.version_id,),
        )
        now = installation.clock()
        connection.execute(
            "UPDATE dataset_version SET promoted_at = %s, ceased_at = NULL WHERE version_id = %s",
            (now, version.version_id),
        )
        if present and present.version_id != version.version_id:
            connection.execute(
                "UPDATE dataset_version SET ceased_at = %s WHERE version_id = %s", (now, present.version_id)
            )
        if rollback:
            connection.execute(
                """INSERT INTO release_hold (since, reason) VALUES (%s, %s) ON CONFLICT (only_one)
                   DO UPDATE SET since = excluded.since, reason = excluded.reason""",
                (now, f"rolled back to version {version.version_id}"),
            )
        return by_id(connection, version.version_id)


def hold(connection: Connection[Any]) -> str | None:
    """Why automatic releases are held; None: they are not."""
    row = connection.execute("SELECT reason FROM release_hold").fetchone()
    return row[0] if row else None


def end_hold(connection: Connection[Any]) -> None:
    connection.execute("DELETE FROM release_hold")


def before_current(connection: Connection[Any]) -> Version:
    """The version that was current before this one. Raises NotPromotable."""
    row = connection.execute(
        f"{_SELECT} WHERE c.version_id IS NULL AND v.promoted_at IS NOT NULL ORDER BY v.ceased_at DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise NotPromotable("there is no earlier version to go back to")
    return _version(row)


_DIFFERENCE = f"""
WITH ids AS (
    SELECT doc_id FROM output WHERE set_id = %(set)s AND from_gen > %(low)s AND from_gen <= %(high)s
    UNION SELECT doc_id FROM output WHERE set_id = %(set)s AND to_gen > %(low)s AND to_gen <= %(high)s)
SELECT s.key || ':' || d.external_id, d.entity, d.doc_id, b.hash IS NOT NULL, a.hash IS NOT NULL
FROM ids JOIN document d USING (doc_id) JOIN harvest_set s USING (set_id)
LEFT JOIN output b ON b.doc_id = ids.doc_id AND b.published AND {live("b", "%(old)s")}
LEFT JOIN output a ON a.doc_id = ids.doc_id AND a.published AND {live("a", "%(new)s")}
WHERE a.hash IS DISTINCT FROM b.hash ORDER BY d.doc_id
"""


def difference(connection: Connection[Any], old: Version | None, new: Version) -> Iterator[Change]:
    """Every published document that differs, streamed; what differs costs, not what there is. `old` None: nothing."""
    before = old.generations if old else {}
    for set_id in sorted({*before, *new.generations}):
        x, y = before.get(set_id, 0), new.generations.get(set_id, 0)
        if x != y:
            yield from set_difference(connection, set_id, x, y)


def set_difference(connection: Connection[Any], set_id: int, x: int, y: int) -> Iterator[Change]:
    """The same for two generations of one set."""
    with connection.cursor(name="difference") as cursor:
        cursor.itersize = 5_000
        cursor.execute(_DIFFERENCE, {"set": set_id, "old": x, "new": y, "low": min(x, y), "high": max(x, y)})
        for srn, entity, doc_id, was, is_now in cursor:
            yield Change(srn, entity, "changed" if was and is_now else "added" if is_now else "removed", doc_id)
