"""What consumers are shown, read from PostgreSQL: one document, pages of a version, of what became visible since.

A page is read at a snapshot (a seq of the publication log, or a version that is kept), so that a walk along pages
neither repeats nor loses a document, whatever is promoted meanwhile. Bodies go out as they are stored. Belongs here:
these questions. Does not belong here: HTTP, cursors as text (`web/api`), the feed of changes (`changes.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.failures import HarvesterError
from harvester_dagster.publication import log
from harvester_dagster.publication.log import Shown
from harvester_dagster.releases.body_sweep import KEPT
from harvester_dagster.sets import versions
from harvester_dagster.sets.generations import live
from harvester_dagster.store.database import bytes_cursor


class NothingPublished(HarvesterError):
    """No version has become current yet."""


class NoLongerKept(HarvesterError):
    """What was asked for has been cleaned away; the mend says where to begin."""


class NoSuchVersion(HarvesterError):
    """No version of this number has ever been published."""


class PublishedSet(NamedTuple):
    """A set at the generation that a snapshot shows."""

    key: str
    set_id: int
    gen: int


class Snapshot(NamedTuple):
    """What is shown at a seq, or in a version. `sets`: in the order of their documents' srns; `overlay`: the newest seq
    of a takedown, whose documents no version shows."""

    seq: int
    as_of: datetime
    version_id: int
    sets: tuple[PublishedSet, ...]
    overlay: int = 0

    @property
    def generations(self) -> dict[int, int]:
        """Set id → generation."""
        return {one.set_id: one.gen for one in self.sets}


class Position(NamedTuple):
    """After which document a page begins."""

    key: str = ""
    external_id: str = ""


class PublishedDocument(NamedTuple):
    """A document as a page holds it: its JSON as it is stored; None: it is not shown (any more)."""

    key: str
    external_id: str
    body: bytes | None

    @property
    def srn(self) -> str:
        """`source:set:external_id`."""
        return f"{self.key}:{self.external_id}"


class One(NamedTuple):
    """A single document: its JSON, and the digest (hex) of what is shown of it."""

    body: str
    digest: str


class Page(NamedTuple):
    """Some documents in the order of their srns, and where the next page begins; None: there is none."""

    documents: Sequence[PublishedDocument]
    position: Position | None


def now(connection: Connection[Any]) -> Snapshot:
    """What is shown now. Raises NothingPublished."""
    return snapshot(connection, log.shown_at(connection))


def at(connection: Connection[Any], seq: int) -> Snapshot:
    """What was shown at a seq that is kept. Raises NothingPublished, NoLongerKept."""
    found = snapshot(connection, log.shown_at(connection, seq))
    check_kept(connection, found)
    return found


def on(connection: Connection[Any], moment: datetime) -> Snapshot:
    """What was shown at a moment (UTC). Raises NothingPublished, NoLongerKept."""
    row = connection.execute("SELECT max(seq) FROM publication WHERE at <= %s", (moment,)).fetchone()
    if row is None or row[0] is None:
        raise NothingPublished("nothing had been published at that time")
    return at(connection, row[0])


def of_version(connection: Connection[Any], version_id: int) -> Snapshot:
    """A version that is kept and has been current. Raises NoSuchVersion, NoLongerKept; NothingPublished where there is
    none at all."""
    row = connection.execute(
        "SELECT max(seq), max(at) FROM publication WHERE version_id = %s", (version_id,)
    ).fetchone()
    try:
        version = versions.by_id(connection, version_id)
    except versions.NotPromotable:
        version = None
    if row is None or row[0] is None:
        now(connection)
        raise NoSuchVersion(f"no version {version_id} has been published", "ask without version for the current one")
    if version is None:
        raise NoLongerKept(f"version {version_id} is not kept any more", "ask without version for the current one")
    return snapshot(connection, Shown(row[0], row[1], version_id, version.generations))


def snapshot(connection: Connection[Any], shown: Shown | None) -> Snapshot:
    """What was shown, set by set. Raises NothingPublished."""
    if shown is None:
        raise NothingPublished("nothing is published yet", "the first release makes version 1: `harvester status`")
    rows = connection.execute(_SETS, (list(shown.generations),)).fetchall()
    sets = (PublishedSet(key, set_id, shown.generations[set_id]) for set_id, key, _ in rows)
    overlay = max((seq for _, _, seq in rows), default=0)
    return Snapshot(shown.seq, shown.as_of, shown.version_id, tuple(sorted(sets, key=_in_order)), overlay)


_SETS = """
SELECT set_id, key, (SELECT coalesce(max(seq), 0) FROM publication WHERE takedown)
FROM harvest_set WHERE set_id = ANY (%s)
"""


def _in_order(one: PublishedSet) -> str:
    """Sets in the order of the srns that begin with their keys."""
    return f"{one.key}:"


def kept_from(connection: Connection[Any]) -> dict[int, int]:
    """Of each set the oldest generation that can be read whole."""
    return dict(connection.execute(KEPT).fetchall())


def check_kept(connection: Connection[Any], found: Snapshot) -> None:
    """Raises NoLongerKept when a set of the snapshot can no longer be read as it was."""
    oldest = kept_from(connection)
    gone = next((one.key for one in found.sets if one.gen < oldest[one.set_id]), None)
    if gone is not None:
        raise NoLongerKept(
            f"what was shown at seq {found.seq} is not kept any more (of {gone})", "begin anew, without a cursor"
        )


_COUNTS = """
SELECT entity, sum(documents::int)::int
FROM current_version JOIN dataset_version_set USING (version_id) JOIN generation USING (set_id, gen),
     json_each_text(published) AS each (entity, documents)
GROUP BY 1 ORDER BY 1 DESC
"""


def counts(connection: Connection[Any]) -> dict[str, int]:
    """How many documents of each entity are shown now."""
    return dict(connection.execute(_COUNTS).fetchall())


_ONE = f"""
SELECT b.body, encode(o.hash, 'hex') FROM document d
JOIN output o ON o.doc_id = d.doc_id AND o.published AND {live("o", "%(gen)s")}
JOIN output_body b ON b.doc_id = o.doc_id AND b.from_gen = o.from_gen
WHERE d.set_id = %(set)s AND d.entity = %(entity)s AND d.external_id = %(id)s
"""
_ONE_NOW = f"""
SELECT b.body, encode(o.hash, 'hex')
FROM current_version JOIN dataset_version_set v USING (version_id) JOIN harvest_set s USING (set_id)
JOIN document d ON d.set_id = s.set_id AND d.entity = %(entity)s AND d.external_id = substr(%(srn)s, length(s.key) + 2)
JOIN output o ON o.doc_id = d.doc_id AND o.published AND {live("o", "v.gen")}
JOIN output_body b ON b.doc_id = o.doc_id AND b.from_gen = o.from_gen
WHERE starts_with(%(srn)s, s.key || ':')
"""


def one_now(connection: Connection[Any], entity: str, srn: str) -> One | None:
    """A document as it is shown now, by one statement; None: it is not shown. Raises NothingPublished."""
    if row := connection.execute(_ONE_NOW, {"entity": entity, "srn": srn}).fetchone():
        return One(*row)
    now(connection)
    return None


def one(connection: Connection[Any], found: Snapshot, entity: str, srn: str) -> One | None:
    """A document of a snapshot; None: it is not shown there."""
    for asked in named(found, entity, srn):
        if row := connection.execute(_ONE, asked).fetchone():
            return One(*row)
    return None


def named(found: Snapshot, entity: str, srn: str) -> Iterator[dict[str, Any]]:
    """What an srn may mean in a snapshot, for a statement: `set`, `gen`, `entity`, `id`. A key may begin as another."""
    for each in found.sets:
        if srn.startswith(f"{each.key}:"):
            yield {"set": each.set_id, "gen": each.gen, "entity": entity, "id": srn[len(each.key) + 1 :]}


_PAGE = f"""
SELECT d.external_id, b.body FROM document d
JOIN output o ON o.doc_id = d.doc_id AND o.published AND {live("o", "%(gen)s")}
JOIN output_body b ON b.doc_id = o.doc_id AND b.from_gen = o.from_gen
WHERE d.set_id = %(set)s AND d.entity = %(entity)s AND d.external_id > %(after)s
ORDER BY d.external_id LIMIT %(most)s
"""


_AskedFor = Callable[[PublishedSet, str, int], list[tuple[Any, ...]]]
"""Rows of an external id and a body, as bytes: all at once, for a cursor gives each row by itself slower."""


def page(connection: Connection[Any], found: Snapshot, entity: str, after: Position, most: int) -> Page:
    """The documents of an entity that a snapshot shows, from a position on, at most so many."""
    return _collected(
        found.sets,
        after,
        most,
        lambda one, beyond, left: (
            bytes_cursor(connection)
            .execute(_PAGE, {"set": one.set_id, "gen": one.gen, "entity": entity, "after": beyond, "most": left})
            .fetchall()
        ),
    )


_SINCE = f"""
SELECT d.external_id, b.body FROM document d
LEFT JOIN output o ON o.doc_id = d.doc_id AND o.published AND {live("o", "%(gen)s")}
LEFT JOIN output_body b ON b.doc_id = o.doc_id AND b.from_gen = o.from_gen
WHERE d.set_id = %(set)s AND d.entity = %(entity)s AND d.external_id > %(after)s AND d.doc_id IN (
    SELECT doc_id FROM output WHERE set_id = %(set)s AND from_gen > %(low)s AND from_gen <= %(high)s
    UNION SELECT doc_id FROM output WHERE set_id = %(set)s AND to_gen > %(low)s AND to_gen <= %(high)s
    UNION SELECT doc_id FROM publication_document
    WHERE set_id = %(set)s AND seq >= %(first)s AND seq <= %(seq)s)
ORDER BY d.external_id LIMIT %(most)s
"""


def page_since(
    connection: Connection[Any], found: Snapshot, entity: str, moment: datetime, after: Position, most: int
) -> Page:
    """The documents whose present state became the published one after a moment (UTC), those that are not shown any
    more among them. Not since their source changed them: since consumers see them so."""
    moved: dict[int, tuple[int, int]] = {}
    moves = log.moves_after(connection, moment, found.seq)
    since = {"first": moves[0].seq if moves else 0, "seq": found.seq}
    for move in moves:  # one after another they have no gap between them
        low, high = moved.get(move.set_id, (move.from_gen, move.from_gen))
        moved[move.set_id] = min(low, move.to_gen), max(high, move.to_gen)
    shown = {one.set_id: one for one in found.sets}
    gone = sorted(set(moved) - set(shown))
    keys = connection.execute("SELECT set_id, key FROM harvest_set WHERE set_id = ANY (%s)", (gone,)).fetchall()
    sets = [shown[set_id] for set_id in moved if set_id in shown]
    sets += [PublishedSet(key, set_id, 0) for set_id, key in keys]

    def asked(one: PublishedSet, beyond: str, left: int) -> list[tuple[Any, ...]]:
        low, high = moved[one.set_id]
        window = {"low": low, "high": high, "gen": one.gen, **since}
        asked_for = {"set": one.set_id, "entity": entity, "after": beyond, "most": left, **window}
        return bytes_cursor(connection).execute(_SINCE, asked_for).fetchall()

    return _collected(sorted(sets, key=_in_order), after, most, asked)


def _collected(sets: Sequence[PublishedSet], after: Position, most: int, asked: _AskedFor) -> Page:
    """A page from as many sets as it takes; `asked(set, external id, how many)` answers with what comes after it."""
    documents: list[PublishedDocument] = []
    begin = f"{after.key}:" if after.key else ""
    for one in sets:
        if _in_order(one) < begin:
            continue
        beyond = after.external_id if one.key == after.key else ""
        rows = asked(one, beyond, most + 1 - len(documents))
        documents += [PublishedDocument(one.key, external_id.decode(), body) for external_id, body in rows]
        if len(documents) > most:
            last = documents[most - 1]
            return Page(documents[:most], Position(last.key, last.external_id))
    return Page(documents, None)
