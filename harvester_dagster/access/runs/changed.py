"""Which documents must be decided again although nobody reads them all: those that moved, and those of journals that
changed, are marked as due. (Those whose decision expired are due by their date.)

Belongs here: what happened to a collection since it was last known completely, and moving that point on.
Does not belong here: deciding.

A moved document is one whose version in Solr is not the stored one, looked for among the versions above the watermark:
the highest version when the last complete run began its walk. Versions that our own updates returned are stored, so
they have not moved. Solr gives out versions by the clock of the node, so the search begins a little below.
"""

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from psycopg import Connection

from harvester_dagster.access.decide import decisions
from harvester_dagster.access.runs import journal_store
from harvester_dagster.access.solr.collection import Moved, Solr
from harvester_dagster.access.solr.reader import PAGES_AHEAD, patiently
from harvester_dagster.processes.read_ahead import read_ahead

OVERLAP = 2_000 << 20
"""Two seconds: a version's upper 44 bits are milliseconds. A document becomes visible that much after it got its
version, at most; nodes of one SolrCloud whose clocks differ by more would need more."""
_ROWS = 20_000


def mark_moved(connection: Connection[Any], key: int, solr: Solr, watermark: int, stop: threading.Event) -> int:
    """Mark every document that moved since the watermark (a `_version_` of Solr); how many. Raises OutsideError,
    Stopped."""
    marked = 0
    with read_ahead(_above(solr, watermark - OVERLAP, stop), count=PAGES_AHEAD, stop=stop) as pages:
        for found in pages:
            stored = _versions(connection, key, [each.id for each in found])
            moved = [each.id for each in found if stored.get(each.id) != each.version]
            decisions.mark_due(connection, key, moved)
            marked += len(moved)
    return marked


def _above(solr: Solr, version: int, stop: threading.Event) -> Iterator[Sequence[Moved]]:
    cursor, following = "", "*"
    while following != cursor:
        cursor = following
        found, following = patiently(partial(solr.versions, version, cursor, _ROWS), stop, solr.patience)
        if found:
            yield found
        if len(found) < _ROWS:
            return


def _versions(connection: Connection[Any], key: int, ids: list[str]) -> dict[str, int]:
    rows = connection.execute(
        "SELECT id, version FROM access_decision WHERE endpoint_id = %s AND id = ANY(%s)", (key, ids), binary=True
    )
    return dict(rows.fetchall())


def mark_by_journals(connection: Connection[Any], key: int, since: int) -> int:
    """Mark every document whose journal changed, came or vanished since that generation of the journals; how many."""
    return decisions.mark_due_by_issn(connection, key, journal_store.changed_since(connection, key, since))


def known_completely(connection: Connection[Any], key: int, watermark: int, generation: int, basis: str) -> None:
    """Note that what is not marked is decided: up to this version, with these journals, on this basis."""
    connection.execute(
        "UPDATE access_endpoint SET watermark = %s, decided_generation = %s, basis = %s WHERE endpoint_id = %s",
        (watermark, generation, basis, key),
    )


def last_complete(connection: Connection[Any], key: int, basis: str) -> tuple[int, int] | None:
    """The watermark and the journals' generation of the last complete run on this basis; None: there was none, and
    everything must be read."""
    row = connection.execute(
        "SELECT watermark, decided_generation FROM access_endpoint "
        "WHERE endpoint_id = %s AND basis = %s AND watermark IS NOT NULL",
        (key, basis),
    ).fetchone()
    return (row[0], row[1]) if row else None
