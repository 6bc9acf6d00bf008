"""The record that a document was made from, as its source sent it last: looked for in the stored pages of its set.

No index leads there, for one would be a row of every record of every harvest. So pages are read, the newest first, and
only those records are extracted in which every part of the id stands. Belongs here: that search, in bounded time. Does
not belong here: reading bundles (`sets/fetch.py`), cutting and extracting (`sources/`), who may look.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.explain.why import FoundDocument
from harvester_dagster.failures import PermanentError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import takedowns
from harvester_dagster.sets import fetch
from harvester_dagster.sources.kind import Kind, Request
from harvester_dagster.sources.source_error import SourceError

SECONDS = 10.0
"""So long at most, and until the bundle that is being read is read: to decode 8 MB takes 20 ms."""
_PARTS = re.compile(r"[A-Za-z0-9]+")


class SourceRecord(NamedTuple):
    """A record as it came. `harvested_at`: when its harvest began, in UTC."""

    attempt_id: int
    harvested_at: datetime
    content: bytes


class Looked(NamedTuple):
    """What was found, if anything. `is_whole`: false where there was no time to read all that is stored."""

    record: SourceRecord | None
    is_whole: bool


def look(
    installation: Installation,
    found: FoundDocument,
    now: Callable[[], float] = time.monotonic,
    seconds: float = SECONDS,
) -> Looked:
    """The newest record of the document's id, or of the one that it is a part of. Nothing of a set that is no longer
    configured, for nobody knows how its pages are read, and of what is taken down. Raises StorageError."""
    with installation.pool.connection() as connection:
        external_id, bundles = _asked(connection, found)
    if found.set_key not in installation.config.sets:
        return Looked(None, is_whole=True)
    kind = fetch.kind_of(installation, found.set_key)
    request, end = fetch.request_of(installation, found.set_key, None), now() + seconds
    for attempt_id, harvested_at, key in bundles:
        if now() >= end:
            return Looked(None, is_whole=False)
        for content in _records(installation, key, kind, request, external_id):
            return Looked(SourceRecord(attempt_id, harvested_at, content), is_whole=True)
    return Looked(None, is_whole=True)


_BUNDLES = """
SELECT a.attempt_id, a.started_at, p.object_key FROM page_bundle p JOIN attempt a USING (attempt_id)
WHERE a.set_id = %s AND p.holds = 'records' ORDER BY a.attempt_id DESC, p.number DESC
"""


def _asked(connection: Connection[Any], found: FoundDocument) -> tuple[str, Sequence[tuple[int, datetime, str]]]:
    """The record's id, and the bundles that may hold it, the newest first."""
    doc_id = found.owner_id or found.doc_id
    row = connection.execute("SELECT external_id FROM document WHERE doc_id = %s", (doc_id,)).fetchone()
    assert row is not None
    if takedowns.find(connection, doc_id):
        return row[0], []
    return row[0], connection.execute(_BUNDLES, (found.set_id,)).fetchall()


def _records(installation: Installation, key: str, kind: Kind, request: Request, external_id: str) -> Iterator[bytes]:
    """The records of an id in a bundle, the last one first; none where its object is gone."""
    try:
        pages = fetch.bundled(installation, key)
    except PermanentError:
        return
    parts = [part.encode() for part in _PARTS.findall(external_id)]
    for page in reversed(pages):
        if not _may_hold(page, parts):
            continue
        try:
            raws = kind.cut(page)
            wanted = [index for index, raw in enumerate(raws) if _may_hold(raw, parts)]
            read = list(zip(wanted, kind.extract(page, wanted, request), strict=True))
        except SourceError:  # it is no page of this kind: the source was configured otherwise then
            continue
        yield from (raws[index] for index, record in reversed(read) if record.external_id == external_id)


def _may_hold(content: bytes, parts: Sequence[bytes]) -> bool:
    """Whether all of these stand in it, in UTF-16 as well."""
    return all(part in content or part.decode().encode("utf-16-le")[:-1] in content for part in parts)
