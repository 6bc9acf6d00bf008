"""Records of stored pages as documents ready to compare: pure, so that any process can do it."""

from datetime import datetime
from typing import NamedTuple

from harvester_dagster import canonical
from harvester_dagster.catalog import World
from harvester_dagster.config import set_spec
from harvester_dagster.sources.kind import Record, Request, Unreadable


class CutPage(NamedTuple):
    """A page whose records were cut: the place of its first in the harvest, which are wanted, the raw hashes of all."""

    content: bytes
    first: int
    wanted: list[int]
    hashes: list[bytes]


class Chunk(NamedTuple):
    """Pages of a set's harvest, which asked for what changed since a moment."""

    key: str
    since: datetime | None
    pages: list[CutPage]


class Incoming(NamedTuple):
    """A document ready to compare: its hash, and its properties as they would be written."""

    entity: str
    external_id: str
    state: str
    hash: bytes
    body: bytes


class SentRecord(NamedTuple):
    """A record: no documents = deleted. `number` is its place in the harvest."""

    number: int
    external_id: str
    modified_at: str | None
    raw_hash: bytes
    documents: tuple[Incoming, ...]


class Extracted(NamedTuple):
    """What some pages hold, and what was odd: (external id, "unreadable" or "note", reason)."""

    sent: list[SentRecord]
    problems: list[tuple[str | None, str, str]]


def extracted(world: World, chunk: Chunk) -> Extracted:
    """The wanted records of some pages, each with its documents, and what was odd about others."""
    found = Extracted([], [])
    settings = world.config.sets[chunk.key]
    request = Request(settings, set_spec(chunk.key, world.config), chunk.since, world.config.production)
    for page in chunk.pages:
        records = world.catalog.kinds[settings.kind].extract(page.content, page.wanted, request)
        for index, record in zip(page.wanted, records, strict=True):
            if isinstance(record, Unreadable):
                found.problems.append((record.external_id, "unreadable", record.reason))
                continue
            found.problems.extend((record.external_id, "note", note) for note in record.notes)
            found.sent.append(_sent(page.first + index, record, page.hashes[index]))
    return found


def _sent(number: int, record: Record, raw_hash: bytes) -> SentRecord:
    incoming = []
    for document in record.documents:
        properties = canonical.encode(document.properties)
        body = b'{"properties":%b,"reason":%b}' % (properties, canonical.encode(document.reason))
        digest = canonical.digest(properties)
        incoming.append(Incoming(document.entity, document.external_id, document.state, digest, body))
    return SentRecord(number, record.external_id, record.modified_at, raw_hash, tuple(incoming))
