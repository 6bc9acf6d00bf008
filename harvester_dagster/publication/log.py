"""The publication log: what consumers were shown since when, one number (`seq`) a promotion, rollback or takedown.

The one truth for `modified_since`, the feed of changes and every date that says since when something is shown. A row
says that a set went from one generation to another (0: nothing of it), or that documents of it were taken down or came
back (`publication_document` names them) while it stayed. Belongs here: writing it, reading what was shown
at a seq. Does not belong here: the documents that differ (`sets/versions.py`, `consumers/`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection

CHANNEL = "publication"
"""Of PostgreSQL's NOTIFY: told with each commit, with the seq."""


class Shown(NamedTuple):
    """What consumers see at a seq. `generations`: set id → generation, of sets that show anything."""

    seq: int
    as_of: datetime
    version_id: int
    generations: Mapping[int, int]


class PublicationEntry(NamedTuple):
    """One row a seq, for people: what it made current, in the place of which version (None: of none), and how many
    sets moved, or documents were taken down or came back. `goes_down`: a set moved to an earlier generation, which no
    release does; `back`: who went back to an earlier version; empty: nobody did, or it is no longer known who."""

    seq: int
    at: datetime
    version_id: int
    before: int | None
    takedown: bool
    goes_down: bool
    sets: int
    documents: int
    back: str

    @property
    def is_back(self) -> bool:
        """Whether somebody went back. Numbers of versions do not say it: a release that was prepared before a push is
        promoted after it."""
        return bool(self.back) or self.goes_down


class Move(NamedTuple):
    """One set that a seq moved."""

    seq: int
    at: datetime
    set_id: int
    from_gen: int
    to_gen: int


def write(
    connection: Connection[Any], version_id: int, before: Mapping[int, int], after: Mapping[int, int], now: datetime
) -> int | None:
    """Note what became current, in the transaction that makes it so; its seq. None: no set has moved.

    The caller holds the promotion lock, so that seqs commit in their order, each with a later time than all before.
    """
    moved = [
        (set_id, before.get(set_id, 0), after.get(set_id, 0))
        for set_id in sorted({*before, *after})
        if before.get(set_id, 0) != after.get(set_id, 0)
    ]
    if not moved:
        return None
    return _written(connection, version_id, moved, now, takedown=False)


def write_documents(connection: Connection[Any], set_id: int, doc_ids: Sequence[int], now: datetime) -> int | None:
    """Note that these documents of a set were taken down or came back, in the transaction that makes it so; its seq.
    None: nothing is published yet. The caller holds the promotion lock."""
    shown = shown_at(connection)
    if shown is None or not doc_ids:
        return None
    gen = shown.generations.get(set_id, 0)
    seq = _written(connection, shown.version_id, [(set_id, gen, gen)], now, takedown=True)
    connection.execute(
        "INSERT INTO publication_document (seq, doc_id, set_id) SELECT %s, unnest(%s::bigint[]), %s",
        (seq, list(doc_ids), set_id),
    )
    return seq


def _written(
    connection: Connection[Any],
    version_id: int,
    moved: Sequence[tuple[int, int, int]],
    now: datetime,
    *,
    takedown: bool,
) -> int:
    row = connection.execute(
        """INSERT INTO publication (seq, at, version_id, takedown, set_id, from_gen, to_gen)
           SELECT last.seq + 1, greatest(%(now)s, last.at + interval '1 microsecond'), %(version)s, %(takedown)s, u.*
           FROM unnest(%(sets)s::int[], %(old)s::int[], %(new)s::int[]) u,
                (SELECT coalesce(max(seq), 0) AS seq, coalesce(max(at), '-infinity') AS at FROM publication) last
           RETURNING seq""",
        {
            "now": now,
            "version": version_id,
            "takedown": takedown,
            "sets": [set_id for set_id, _, _ in moved],
            "old": [old for _, old, _ in moved],
            "new": [new for _, _, new in moved],
        },
    ).fetchone()
    assert row is not None
    seq: int = row[0]
    connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(seq)))
    return seq


_NOW = """
SELECT (SELECT max(seq) FROM publication), (SELECT max(at) FROM publication), v.version_id,
       json_agg(json_build_array(v.set_id, v.gen)) FILTER (WHERE v.gen > 0)
FROM current_version JOIN dataset_version_set v USING (version_id) GROUP BY v.version_id
"""
_AT = """
SELECT p.seq, p.at, p.version_id, (
    SELECT json_agg(json_build_array(set_id, gen)) FROM (
        SELECT s.set_id, (SELECT to_gen FROM publication m WHERE m.set_id = s.set_id AND m.seq <= p.seq
                          ORDER BY m.seq DESC LIMIT 1) AS gen
        FROM harvest_set s) each WHERE gen > 0)
FROM publication p WHERE p.seq <= %s ORDER BY p.seq DESC LIMIT 1
"""


def newest(connection: Connection[Any]) -> int:
    """The newest seq; 0: nothing has been published."""
    row = connection.execute("SELECT coalesce(max(seq), 0) FROM publication").fetchone()
    assert row is not None
    seq: int = row[0]
    return seq


def newest_takedown(connection: Connection[Any]) -> int:
    """The seq of the newest takedown, or undoing of one; 0: there was none."""
    row = connection.execute("SELECT coalesce(max(seq), 0) FROM publication WHERE takedown").fetchone()
    assert row is not None
    seq: int = row[0]
    return seq


def documents_between(connection: Connection[Any], after: int, up_to: int) -> dict[int, list[int]]:
    """Which documents went or came back by themselves behind a seq, up to another: set id → their ids."""
    rows = connection.execute(
        """SELECT set_id, array_agg(DISTINCT doc_id ORDER BY doc_id) FROM publication_document
           WHERE seq > %s AND seq <= %s GROUP BY 1 ORDER BY 1""",
        (after, up_to),
    )
    return dict(rows.fetchall())


def shown_at(connection: Connection[Any], seq: int | None = None) -> Shown | None:
    """What consumers saw at a seq (None: see now), by one statement. None: nothing had been published."""
    row = connection.execute(_NOW if seq is None else _AT, None if seq is None else (seq,)).fetchone()
    return Shown(row[0], row[1], row[2], dict(row[3] or ())) if row and row[0] is not None else None


def moves_after(connection: Connection[Any], moment: datetime, up_to: int) -> list[Move]:
    """Every set that was moved after a moment (UTC), up to a seq, oldest first."""
    rows = connection.execute(
        """SELECT seq, at, set_id, from_gen, to_gen FROM publication
           WHERE at > %s AND seq <= %s ORDER BY seq, set_id""",
        (moment, up_to),
    )
    return [Move._make(row) for row in rows]


_ENTRIES = """
SELECT p.seq, min(p.at), min(p.version_id),
       (SELECT b.version_id FROM publication b WHERE b.seq < p.seq ORDER BY b.seq DESC LIMIT 1), bool_or(p.takedown),
       bool_or(p.to_gen < p.from_gen), count(*) FILTER (WHERE NOT p.takedown),
       (SELECT count(*) FROM publication_document d WHERE d.seq = p.seq),
       coalesce((SELECT coalesce((SELECT asked.actor FROM audit asked
                                  WHERE asked.act = a.act AND asked.subject = a.subject AND asked.outcome = 'asked for'
                                    AND 'run ' || (asked.detail ->> 'run') = a.address LIMIT 1), a.actor)
                 FROM audit a
                 WHERE a.act = 'rollback' AND a.outcome = 'done' AND a.subject = min(p.version_id)::text
                   AND a.at <= min(p.at) AND a.at > min(p.at) - interval '1 second'
                 ORDER BY a.at DESC LIMIT 1), '')
FROM publication p WHERE %(before)s::bigint IS NULL OR p.seq < %(before)s
GROUP BY p.seq ORDER BY p.seq DESC LIMIT %(most)s
"""
"""A row of the audit is written in the transaction that writes the seq, with the time from which that of the seq is
made. Where a run wrote it, another row tells who asked for that run."""


def entries(connection: Connection[Any], most: int, before: int | None = None) -> list[PublicationEntry]:
    """The newest entries, newest first, at most so many; `before`: those before a seq."""
    rows = connection.execute(_ENTRIES, {"before": before, "most": most})
    return [PublicationEntry._make(row) for row in rows]
