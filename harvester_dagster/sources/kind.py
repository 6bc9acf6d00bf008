"""What a source is to the rest of the system: pages as they arrive, and records cut and extracted from them.

Belongs here: the words that every source kind speaks. A kind is data and a few functions (`Kind`); the loop over
pages belongs to its protocol, the mapping to its format. Does not belong here: requests, storage, Dagster.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from harvester_dagster.config import SetSettings
from harvester_dagster.sources.source_error import SourceError

if TYPE_CHECKING:
    from harvester_dagster.outside.http import Outside
    from harvester_dagster.sources.walk import Walk

LONGEST_ID = 1_000
"""Bytes; a record with a longer id is unreadable. The store's index takes 2,700, and a file's id is its product's and
41 more."""
MOST_NOTES = 20
"""So much that is odd is told of one record."""

State = Literal["active", "inactive", "skipped", "deleted"]


class Request(NamedTuple):
    """What is asked of a source: one set, since a moment (UTC) or everything."""

    settings: SetSettings
    spec: str
    """The set as the source knows it; "*" for a repository without sets."""
    since: datetime | None
    production: bool = False


class Document(NamedTuple):
    """One document of a record, as its mapping reads it: `properties` have the shape of docs/sources.md."""

    entity: str
    external_id: str
    state: State
    properties: Mapping[str, Any]
    reason: str = ""
    """Why it is inactive or skipped."""


class Record(NamedTuple):
    """What one record says: its own document first, then the parts it owns (a product's files).

    A deleted record has no documents. `modified_at` is the source's own date, as it wrote it.
    """

    external_id: str
    modified_at: str | None
    documents: tuple[Document, ...]
    notes: tuple[str, ...] = ()
    """What was odd and skipped over (an unreadable vCard), for counting."""


class Unreadable(NamedTuple):
    """A record that cannot be extracted: kept with its reason, counted as seen, never fatal."""

    external_id: str | None
    reason: str


class UnknownRecord(SourceError):
    """A source says that it has no record of that id."""


class Single(NamedTuple):
    """One record that was asked for by its id: a page that holds it alone, as it came, and the sets that it says it
    is in; none: it does not say."""

    page: bytes
    sets: tuple[str, ...] = ()


class Listed(NamedTuple):
    """A line of a list of identifiers: no record, but that there is one, and since when it is as it is."""

    external_id: str
    datestamp: str | None
    """As the source wrote it; None: it wrote none that is a time."""
    is_deleted: bool


class Pages(Protocol):
    """How pages are had. `walk` says where to go on, and then how far it came and what was odd; a new one without."""

    def __call__(self, request: Request, outside: "Outside", walk: "Walk | None" = None, /) -> Iterator[bytes]:
        """The pages, to the end of the list."""


class IdentifierLists(NamedTuple):
    """How a source lists what it has without the records themselves."""

    pages: Pages
    """As those of its records."""
    read: Callable[[bytes], Sequence[Listed]]
    """The lines of a page, in its order. Raises SourceError."""
    gone: Callable[[Sequence[str]], bytes]
    """A page of records, as the source would send it, that says of these ids that they are deleted."""


@dataclass(frozen=True)
class Kind:
    """One kind of source: `kind = "…"` in the configuration."""

    name: str
    entity: str
    """The entity of a record's own document."""
    pages: "Pages"
    """Stream the raw pages of a request; exhausted = the source's answer is complete. Each page was checked to be
    whole and well-formed. A start-over repeats pages. Raises SourceError."""
    cut: Callable[[bytes], Sequence[bytes]]
    """The raw bytes of each record of a page, in order, without parsing what is inside."""
    extract: Callable[[bytes, Sequence[int], Request], Iterator[Record | Unreadable]]
    """The records of a page at these indices (as `cut` numbers them)."""
    ids: Callable[[bytes, Request], Sequence[str | None]]
    """The id of each record of a page, as `extract` names it, for a small part of its work. Raises SourceError for what
    is no page."""
    without: Callable[[bytes, Mapping[int, str]], bytes]
    """The page with nothing left of these records (as `cut` numbers them): in the place of each stands one that says of
    another id that it is deleted, so that the page has as many as it had. Raises SourceError for what is no page."""
    mapping_version: Callable[[Request], str]
    """Names the mapping and every setting it reads: when it changes, everything is extracted anew."""
    check: Callable[[SetSettings, "Outside"], Iterator[str]]
    """Ask a server who it is and what it offers, line by line, for `harvester source check`. Raises SourceError."""
    checked_at: Callable[[str, str], str] = lambda url, _spec: url
    """Of a source's `url` and a set, to the address that `check` asks."""
    formats: Sequence[str] = ()
    """What `format` may be, and `metadata_prefix` where that is left out; empty: the kind has but one format."""
    identity: Callable[[SetSettings, "Outside"], str] | None = None
    """Who a server says it is; None: its protocol has no such question. Raises SourceError."""
    single: Callable[[Request, str, "Outside"], Single] | None = None
    """One record by its id; None: its protocol has no way to ask for one. Raises UnknownRecord, SourceError."""
    identifiers: IdentifierLists | None = None
    """None: its protocol has no such list."""
    pushed: Callable[[bytes], bytes] | None = None
    """One record that somebody pushed, as a page that holds it alone; None: the kind takes none. Raises SourceError for
    what is no record."""
    sets: Callable[[SetSettings, "Outside"], Sequence[str]] = lambda _settings, _outside: ()
    """The sets that a server says it has; empty: it does not say. Raises SourceError."""
