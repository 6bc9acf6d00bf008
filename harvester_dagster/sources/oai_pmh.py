"""The loop over an OAI-PMH 2.0 list: tokens, errors, granularity; records cut out of a page and headed.

Belongs here: the protocol, whatever is inside `<metadata>`. Does not belong here: what a metadata format means
(`lom.py`, `oai_dc.py`), what XML may be (`xml.py`), retries of failed calls and politeness (`outside/`).
"""

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from harvester_dagster.config import SetSettings, Source
from harvester_dagster.outside.outside import shown
from harvester_dagster.sources import asking, xml
from harvester_dagster.sources.source import (
    LONGEST_ID,
    MOST_NOTES,
    Document,
    Kind,
    Record,
    Request,
    SourceError,
    Unreadable,
)

if TYPE_CHECKING:
    from harvester_dagster.outside.outside import Outside
    from harvester_dagster.sources.xml import Element

OAI = "{http://www.openarchives.org/OAI/2.0/}"
RESTARTS = 3
"""So often a list is begun anew after its token was refused, before the source is given up for now."""
SHOWN = 50
"""So many sets are named by `check`."""
_MEND = "open url?verb=Identify in a browser; an empty answer often means that this machine's address is blocked"
_MENDS = {
    "cannotDisseminateFormat": "it does not have this metadata_prefix; `harvester source check URL` lists what it has",
    "noSetHierarchy": 'it has no sets: write sets = ["*"]',
    "badArgument": "look at sets and metadata_prefix; `harvester source check URL` lists what it has",
    "badVerb": "look at url: it must be the base URL of OAI-PMH, without a query",
}
# Cutting by bytes takes a tenth of the time of a parse. What hides a tag from it is looked for: comments, CDATA,
# instructions.
_HIDING = (re.compile(rb"!(?:--|\[)"), re.compile(rb"\?>"))
_BEGINS = re.compile(rb">\s*(<record)[\s>]").match
_ENDS = b"</record"
_IDENTIFIER = re.compile(rb"<header[^>]*>[^<]*<identifier[^>]*>([^<]+)</identifier>")
_LIST = re.compile(rb"<ListRecords(?:\s[^<>]*)?>")
_ASCII_COMPATIBLE = re.compile(
    rb"(?:\xef\xbb\xbf)?<(?!\?)|(?:\xef\xbb\xbf)?<\?xml(?![^>]*encoding)[^>]*\?>"
    rb"|(?:\xef\xbb\xbf)?<\?xml[^>]*encoding=[\"'](?:utf-8|us-ascii|iso-8859-\d+|windows-125\d)[\"'][^>]*\?>",
    re.IGNORECASE,
)


class Format(NamedTuple):
    """How the metadata of one prefix is read."""

    prefix: str
    root: str
    """The local name of the element inside `<metadata>`."""
    read: Callable[["Element", str, Request, list[str]], tuple[Document, ...]]
    """The documents of a record from its metadata, its id and its request; what was odd is added to the notes."""
    version: Callable[[Request], str]


class Page(NamedTuple):
    """A page that is well-formed and an answer of the protocol."""

    records: Sequence[bytes]
    token: str | None
    errors: Mapping[str, str]
    """Text by code; empty for a list."""


def kind(*formats: Format) -> Kind:
    """OAI-PMH with these metadata formats, chosen by `metadata_prefix`."""
    known = {format_.prefix: format_ for format_ in formats}

    def chosen(settings: SetSettings) -> Format:
        if found := known.get(settings.metadata_prefix):
            return found
        raise SourceError(
            f"{shown(settings.url)}: nobody has written a mapping for metadata_prefix = {settings.metadata_prefix!r}; "
            f"write one of {', '.join(known)}"
        )

    def version(request: Request) -> str:
        found = known.get(request.settings.metadata_prefix)
        return found.version(request) if found else "none"

    return Kind(
        name="oai-pmh",
        entity="products",
        pages=lambda request, outside: pages(request, outside, chosen(request.settings).prefix),
        cut=cut,
        extract=lambda page, indices, request: extract(page, indices, request, chosen(request.settings)),
        mapping_version=version,
        check=lambda settings, outside: check(settings, outside, tuple(known)),
    )


def pages(request: Request, outside: "Outside", prefix: str) -> Iterator[bytes]:
    """The raw pages of a list to its end. A refused token begins the list anew, a bounded number of times."""
    url, refused = request.settings.url, ""
    params = {"verb": "ListRecords", "metadataPrefix": prefix}
    if request.spec != "*":
        params["set"] = request.spec
    if request.since is not None:
        params["from"] = _from(request.since, _granularity(url, outside))
    for _ in range(1 + RESTARTS):
        refused = yield from _list(url, params, outside)
        if not refused:
            return
    raise SourceError(
        f"{shown(url)}: {1 + RESTARTS} times its list broke off ({refused}); its tokens may expire faster than pages "
        "can be read: ask for larger pages or longer tokens; the next harvest begins anew"
    )


def _list(url: str, first: dict[str, str], outside: "Outside") -> Generator[bytes, None, str]:
    """One walk along the tokens. Returns "" at the end of the list, else why a token was refused."""
    loops = asking.Loops(shown(url))
    params = first
    while True:
        answer, page = asking.whole(outside, url, params, read_page, _MEND)
        if page.errors:
            if refused := _refused(page.errors, params):
                return refused
            if _too_fine(page.errors, params):
                first["from"] = first["from"][:10]
                continue
            if page.errors.keys() != {"noRecordsMatch"}:
                raise SourceError(f"{shown(url)}: {_complaint(page.errors)}")
        loops.content(page.records)
        yield answer.body
        if page.token is None:
            return ""
        loops.token(page.token)
        params = {"verb": "ListRecords", "resumptionToken": page.token}


def _refused(errors: Mapping[str, str], params: Mapping[str, str]) -> str:
    """Why a token is not accepted. "No records" in the middle of a list says the same: its rest is lost."""
    if "resumptionToken" not in params:
        return ""
    code = next((code for code in ("badResumptionToken", "noRecordsMatch") if code in errors), "")
    return f"{code}: {errors[code]}".rstrip(": ") if code else ""


def _too_fine(errors: Mapping[str, str], params: Mapping[str, str]) -> bool:
    """A server that says seconds in Identify and takes only days: the day is in both."""
    return "badArgument" in errors and "T" in params.get("from", "")


def _complaint(errors: Mapping[str, str]) -> str:
    said = "; ".join(f"{code}: {text}".rstrip(": ") for code, text in errors.items())
    mend = next((_MENDS[code] for code in errors if code in _MENDS), "the source must say what it wants")
    return f"{said:.500}; {mend}"


def _from(since: datetime, granularity: str) -> str:
    moment = since.astimezone(UTC)
    return f"{moment:%Y-%m-%d}" if len(granularity) == len("YYYY-MM-DD") else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _granularity(url: str, outside: "Outside") -> str:
    """What `from` may look like. Days are understood by every server: taken where Identify says nothing usable."""
    try:
        _, root = asking.whole(outside, url, {"verb": "Identify"}, _answer, _MEND)
    except asking.NoAnswer:
        return "YYYY-MM-DD"
    return xml.text(root.find(f"{OAI}Identify/{OAI}granularity")) or "YYYY-MM-DD"


def read_page(body: bytes) -> Page:
    """Raises SourceError for everything that is no whole answer to ListRecords."""
    found = _cut(body)
    certain = found is not None and xml.is_well_formed(body)
    root = _answer(found.head + found.tail if found and certain else body)
    errors = {element.get("code") or "error": xml.text(element) or "" for element in root.iterchildren(f"{OAI}error")}
    if errors:
        return Page((), None, errors)
    records = next(root.iterchildren(f"{OAI}ListRecords"), None)
    if records is None:
        raise SourceError("an answer of OAI-PMH with neither a list nor an error")
    raws = found.records if found else cut(body)
    if not certain and len(raws) != sum(1 for _ in records.iterchildren(f"{OAI}record")):
        raise SourceError("a page whose records cannot be told apart")
    return Page(raws, xml.text(next(records.iterchildren(f"{OAI}resumptionToken"), None)), {})


def _answer(body: bytes) -> "Element":
    root = xml.parse(body)
    if root.tag != f"{OAI}OAI-PMH":
        raise SourceError(f"XML that is not OAI-PMH 2.0: {asking.looks_like(body)}")
    return root


class _Cut(NamedTuple):
    """A page in three: up to its first record, its records, and the rest."""

    head: bytes
    records: list[bytes]
    tail: bytes


def cut(page: bytes) -> Sequence[bytes]:
    found = _cut(page)
    return found.records if found else [xml.raw(record) for record in _records(page)]


def _cut(page: bytes) -> _Cut | None:
    """Cut by bytes, where that is certain: an encoding that keeps ASCII, and nothing but records, side by side,
    directly in an unprefixed list. None: it must be parsed (comments, CDATA, prefixes, records inside records).
    Holds for well-formed pages."""
    start = _LIST.search(page)
    if not start or not _ASCII_COMPATIBLE.match(page) or any(hiding.search(page, start.end()) for hiding in _HIDING):
        return None
    *parts, tail = page[start.end() - 1 :].split(_ENDS)  # each with the > before it; one inside another ends twice
    begins = [_BEGINS(part) for part in parts]
    if not parts or not tail.startswith(b">") or b"record" in tail:
        return None
    records = [part[begin.start(1) :] + _ENDS + b">" for part, begin in zip(parts, begins, strict=True) if begin]
    return _Cut(page[: start.end()], records, tail[1:]) if len(records) == len(parts) else None


def _records(page: bytes) -> "list[Element]":
    return list(xml.parse(page).iterfind(f"{OAI}ListRecords/{OAI}record"))


def extract(page: bytes, indices: Sequence[int], request: Request, format_: Format) -> Iterator[Record | Unreadable]:
    """Only the wanted records are parsed, inside what surrounds them: their namespaces are declared there."""
    found = _cut(page)
    if found is None:
        every = _records(page)
        yield from (_extract(every[index], request, format_) for index in indices)
        return
    raws = [found.records[index] for index in indices]
    try:
        wanted = _records(b"".join((found.head, *raws, found.tail)))
    except SourceError:  # one that is too deep or too long for the parser: the others go on
        yield from (_alone(raw, found, request, format_) for raw in raws)
        return
    if len(wanted) != len(raws):
        raise SourceError("a page whose records cannot be told apart")
    for record in wanted:
        yield _extract(record, request, format_)


def _alone(raw: bytes, page: _Cut, request: Request, format_: Format) -> Record | Unreadable:
    try:
        (record,) = _records(page.head + raw + page.tail)
    except SourceError as error:
        external_id = _IDENTIFIER.search(raw)
        return Unreadable(external_id[1].decode("utf-8", "replace").strip() if external_id else None, str(error))
    return _extract(record, request, format_)


def _extract(record: "Element", request: Request, format_: Format) -> Record | Unreadable:
    header = next(record.iterchildren(f"{OAI}header"), None)
    external_id = xml.text(header.find(f"{OAI}identifier")) if header is not None else None
    if header is None or external_id is None:
        return Unreadable(None, "a record without an identifier in its header")
    if len(external_id.encode()) > LONGEST_ID:
        return Unreadable(None, f"an identifier longer than {LONGEST_ID} bytes: {external_id:.80}…")
    modified_at = xml.text(header.find(f"{OAI}datestamp"))
    if header.get("status") == "deleted":
        return Record(external_id, modified_at, ())
    metadata = next(record.iterchildren(f"{OAI}metadata"), None)
    root = next(metadata.iterchildren(), None) if metadata is not None else None
    if root is None:
        return Unreadable(external_id, "no metadata, and not deleted")
    if xml.name(root) != format_.root:
        return Unreadable(external_id, f"its metadata is {root.tag!r:.200}, not {format_.root} ({format_.prefix})")
    notes: list[str] = []
    try:
        documents = format_.read(root, external_id, request, notes)
    except asking.STUMBLES as error:
        return Unreadable(external_id, f"its mapping failed: {error!r:.300}")
    return Record(external_id, modified_at, documents, tuple(notes[:MOST_NOTES]))


def check(settings: SetSettings, outside: "Outside", mapped: Sequence[str]) -> Iterator[str]:
    """Who a repository is and what it offers, and the lines of configuration that harvest it."""
    identity = _asked(settings, outside, "Identify")
    if identity is None:
        raise SourceError(f"{shown(settings.url)}: does not say who it is (no Identify); {_MEND}")
    said = {xml.name(element): xml.text(element) for element in reversed(identity)}
    yield f"{shown(settings.url)}: {said.get('repositoryName')} ({said.get('adminEmail')})"
    yield f"granularity {said.get('granularity')}, earliest record {said.get('earliestDatestamp')}"
    deletes = said.get("deletedRecord") or "no"
    yield f"deleted records: {deletes}"
    prefixes = _offered(_asked(settings, outside, "ListMetadataFormats"), "metadataPrefix")
    usable = [prefix for prefix in mapped if prefix in prefixes]
    yield f"metadata formats: {', '.join(prefixes) or 'none'}; with a mapping here: {', '.join(usable) or 'none'}"
    sets = _offered(_asked(settings, outside, "ListSets"), "setSpec")
    yield f"sets: {', '.join(sets[:SHOWN]) or 'none'}{f' and {len(sets) - SHOWN} more' if len(sets) > SHOWN else ''}"
    if not usable:
        raise SourceError(f"{shown(settings.url)}: offers none of the formats that have a mapping: {', '.join(mapped)}")
    harvestable = [name for name in sets if _can_be_key(settings, name)][:SHOWN] or ["*"]
    yield ""
    yield f"[sources.{asking.short_name(urlsplit(settings.url).hostname or 'source')}]"
    yield 'kind = "oai-pmh"'
    yield f"url = {asking.quoted(settings.url)}"
    yield f"metadata_prefix = {asking.quoted(usable[0])}"
    yield f"sets = [{', '.join(map(asking.quoted, harvestable))}]"
    yield f"deletes = {asking.quoted(deletes if deletes in ('no', 'transient', 'persistent') else 'no')}"


def _can_be_key(settings: SetSettings, name: str) -> bool:
    try:
        Source(kind=settings.kind, url=settings.url, sets=(name,))
    except ValueError:
        return False
    return True


def _asked(settings: SetSettings, outside: "Outside", verb: str) -> "Element | None":
    """The element of that verb's name; None where the server has no such thing (noSetHierarchy)."""
    _, root = asking.whole(outside, settings.url, {"verb": verb}, _answer, _MEND)
    return next(root.iterchildren(f"{OAI}{verb}"), None)


def _offered(listed: "Element | None", name: str) -> list[str]:
    if listed is None:
        return []
    return [found for element in listed.iter(f"{OAI}{name}") if (found := xml.text(element))]
