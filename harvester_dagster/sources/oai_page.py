"""A page of OAI-PMH 2.0, a list or one record: whether it is whole, its records cut out, each with its header read.

Belongs here: the bytes of one answer, whatever is inside `<metadata>`. Does not belong here: the walk along a list
(`oai_pmh.py`), what a metadata format means (`lom.py`, `oai_dc.py`), what XML may be (`xml.py`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape, unescape
from typing import TYPE_CHECKING, NamedTuple

from harvester_dagster.sources import encodings, oai_borders, whole_pages, xml
from harvester_dagster.sources.kind import LONGEST_ID, MOST_NOTES, Document, Listed, Record, Request, Unreadable
from harvester_dagster.sources.source_error import SourceError

if TYPE_CHECKING:
    from harvester_dagster.sources.xml import Element

OAI = "{http://www.openarchives.org/OAI/2.0/}"
# Cutting by bytes takes a tenth of the time of a parse. What hides a tag from it is looked for: comments, CDATA,
# instructions.
_HIDING = (re.compile(rb"!(?:--|\[)"), re.compile(rb"\?>"))
_BEGINS = re.compile(rb">\s*(<record)[\s>]").match
_ENDS = b"</record"
_IDENTIFIER = re.compile(
    rb"<(?:[\w.-]+:)?header(?:\s[^>]*)?>[^<]*<(?:[\w.-]+:)?identifier(?:\s[^>]*)?>([^<]+)</", re.ASCII
)
_TOKEN = b"resumptionToken"
_LIST = re.compile(rb"<(?:ListRecords|GetRecord)(?:\s[^<>]*)?>")
_NAME = rb"(?:[\w.-]+:)?"
_METADATA = re.compile(rb"<%bmetadata[\s>]" % _NAME)
_SET_SPEC = re.compile(rb"<%bsetSpec(?:\s[^<>]*)?>\s*([^<>]*?)\s*</" % _NAME)
_PLAIN = rb"\s*+([!-%'-;=-~]++)\s*+"
_PLAIN_HEADER = re.compile(
    rb"<header(?:\s+status=[\"'](deleted)[\"'])?\s*+>\s*+<identifier>%b</identifier>\s*+<datestamp>%b</datestamp>\s*+"
    rb"(?:<setSpec>[^<>&]*+</setSpec>\s*+)*+</header>" % (_PLAIN, _PLAIN)
)
_PLAIN_RECORD = re.compile(rb"<record(?:\s[^<>]*)?>\s*+<header(?:\s[^<>]*)?>\s*+<identifier>%b</identifier>" % _PLAIN)
_DATESTAMP = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\dZ)?", re.ASCII)
_WRITTEN = re.compile(
    rb"<%bidentifier(?:\s[^<>]*)?>\s*(?:<!\[CDATA\[)?([^<>]*?)(?:\]\]>)?\s*</%bidentifier" % (_NAME, _NAME)
)


FEW = 4
"""So many records beside a bad one are parsed each by itself rather than by halves."""


class Format(NamedTuple):
    """How the metadata of one prefix is read, and by which version of its mapping."""

    prefix: str
    root: str
    """The local name of the element inside `<metadata>`."""
    read: Callable[["Element", str, Request, list[str]], tuple[Document, ...]]
    """The documents of a record from its metadata, its id and its request; what was odd is added to the notes. Raises
    SourceError for metadata that is none of this format's."""
    version: Callable[[Request], str]


class Ending(NamedTuple):
    """What stands at the end of a page: the token that leads on, the size of the whole list and how many of its records
    came before this page, as far as the server says. `odd` says why the page cannot be believed to end or go on so."""

    token: str | None = None
    size: int | None = None
    before: int | None = None
    odd: str = ""


class ListPage(NamedTuple):
    """A page that is well-formed and an answer of the protocol."""

    records: Sequence[bytes]
    ending: Ending
    errors: Mapping[str, str]
    """Text by code; empty for a list."""

    @property
    def token(self) -> str | None:
        """What leads on to the next page; None: nothing."""
        return self.ending.token


def read_record(body: bytes) -> ListPage:
    """The same of an answer to GetRecord, which has one record, or errors."""
    found = _cut(body)
    root = found.root if found.root is not None else xml.parse(found.head + found.tail)
    _is_answer(root, body)
    if errors := error_texts(root):
        return ListPage((), Ending(), errors)
    if next(root.iterchildren(f"{OAI}GetRecord"), None) is None or len(found.records) != 1:
        raise SourceError(f"an answer of OAI-PMH with {len(found.records)} records in place of the one")
    return ListPage(found.records, Ending(), {})


def read_identifiers(body: bytes) -> ListPage:
    """The same of an answer to ListIdentifiers: its identifiers are taken for records. It must be well-formed."""
    rest, lines = _lines(body)
    root = answer(rest)
    if errors := error_texts(root):
        return ListPage((), Ending(), errors)
    listed = next(root.iterchildren(f"{OAI}ListIdentifiers"), None)
    if listed is None:
        raise SourceError("an answer of OAI-PMH with neither a list nor an error")
    lines = lines or [_listed(header) for header in listed.iterchildren(f"{OAI}header")]
    return ListPage([line.external_id.encode() for line in lines], _ending(root, listed), {})


def listed_identifiers(body: bytes) -> list[Listed]:
    """The lines of a page of ListIdentifiers. Raises SourceError for what is none."""
    rest, lines = _lines(body)
    if not lines:
        lines = [_listed(header) for header in answer(rest).iterfind(f"{OAI}ListIdentifiers/{OAI}header")]
    return [line for line in lines if line.external_id and len(line.external_id.encode()) <= LONGEST_ID]


def _lines(page: bytes) -> tuple[bytes, list[Listed]]:
    """The headers of a page, and the page without them, by bytes where they are all of the plainest form: a tenth of
    the time of a parse. Else none, and the page as it is."""
    start = page.find(b"<ListIdentifiers")
    if start < 0 or b"<!" in page or b"<?" in page[start:]:
        return page, []
    found = _PLAIN_HEADER.findall(page, start)
    rest = page[:start] + _PLAIN_HEADER.sub(b"", page[start:])
    if b"header" in rest or not found:
        return page, []
    return rest, [
        _plain(name.decode("ascii"), written.decode("ascii"), bool(deleted)) for deleted, name, written in found
    ]


def _plain(name: str, written: str, is_deleted: bool) -> Listed:
    return Listed(name.strip(), written if _DATESTAMP.fullmatch(written) else None, is_deleted)


def _listed(header: "Element") -> Listed:
    name, written = (xml.text(header.find(f"{OAI}{which}")) or "" for which in ("identifier", "datestamp"))
    return _plain(name, written, header.get("status") == "deleted")


def sets_of(raw: bytes) -> tuple[str, ...]:
    """The sets that the header of a record names."""
    metadata = _METADATA.search(raw)
    found = _SET_SPEC.findall(raw, 0, metadata.start() if metadata else len(raw))
    return tuple(unescape(name.decode("utf-8", "replace")) for name in found)


def gone(external_ids: Sequence[str]) -> bytes:
    """A page of headers that say of these that they are deleted."""
    records = "".join(
        f'<record><header status="deleted"><identifier>{escape(name)}</identifier></header></record>'
        for name in external_ids
    )
    return f'<OAI-PMH xmlns="{OAI[1:-1]}"><ListRecords>{records}</ListRecords></OAI-PMH>'.encode()


def read_page(body: bytes) -> ListPage:
    """What an answer to ListRecords holds. Raises SourceError for everything that is no whole one; a record that is
    not well-formed is none of that."""
    found = _cut(body)
    root = found.root if found.root is not None else xml.parse(found.head + found.tail)
    _is_answer(root, body)
    errors = error_texts(root)
    records = next(root.iterchildren(f"{OAI}ListRecords"), None)
    if errors:
        return ListPage((), Ending(odd="records beside an error" if found.records else ""), errors)
    if records is None:
        raise SourceError("an answer of OAI-PMH with neither a list nor an error")
    ending = _ending(root, records)
    if ending == Ending() and (suspect := [raw for raw in found.records if _TOKEN in raw]):
        frame = found.frame()
        if any(_has_token(raw, frame) for raw in suspect):
            ending = Ending(odd="a token outside its list, in a record")
    return ListPage(found.records, ending, {})


def _has_token(raw: bytes, frame: "_Frame") -> bool:
    """Whether a token stands in a record, beside its metadata; inside of that it may be anything."""
    try:
        return any(_tokens(record) for record in _records(xml.parse(frame.around(raw))))
    except SourceError:
        return False


def _ending(root: "Element", records: "Element") -> Ending:
    """The token of a list. One that is filled stands in the list, and alone; an empty one may stand anywhere."""
    inside, beside = _tokens(records), _tokens(root)
    tokens = [*inside, *beside]
    filled = [text for element in tokens if (text := xml.text(element))]
    odd = ""
    if filled and len(tokens) > 1:
        odd = f"{len(tokens)} tokens on one page"
    elif filled and not inside:
        odd = "a token outside its list"
    elif filled and inside[0].tag != f"{OAI}resumptionToken":
        odd = "a token of another namespace than that of OAI-PMH 2.0"
    if not tokens:
        return Ending()
    size, before = (_number(tokens[0].get(name)) for name in ("completeListSize", "cursor"))
    return Ending(filled[0] if filled else None, size, before, odd)


def _tokens(parent: "Element") -> "list[Element]":
    return [element for element in parent.iterchildren() if xml.name(element) == "resumptionToken"]


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def identity_of(raw: bytes) -> int:
    """A number of 64 bits for a record, from the identifier in its header: the same for the same within one process."""
    found = _IDENTIFIER.search(raw)
    return hash(found[1].strip() if found else raw)


def error_texts(root: "Element") -> dict[str, str]:
    """What an answer says is wrong: texts by their code; empty where it is none of an error."""
    return {element.get("code") or "error": xml.text(element) or "" for element in root.iterchildren(f"{OAI}error")}


def answer(body: bytes) -> "Element":
    """The root element of any answer of the protocol. Raises SourceError for all else."""
    return _is_answer(xml.parse(body), body)


def _is_answer(root: "Element", body: bytes) -> "Element":
    if root.tag != f"{OAI}OAI-PMH":
        raise SourceError(f"XML that is not OAI-PMH 2.0: {whole_pages.looks_like(body)}")
    return root


class _Cut(NamedTuple):
    """A page in three: up to its first record, its records, and the rest. `root`, where it had to be parsed for that.
    `notes` are of the page, and told with its first record."""

    head: bytes
    records: Sequence[bytes]
    tail: bytes
    root: "Element | None" = None
    notes: tuple[str, ...] = ()

    def frame(self) -> "_Frame":
        """What a record of it stands in."""
        named = max(self.tail.rfind(b"ListRecords"), self.tail.rfind(b"GetRecord"), 0)
        ends = self.tail.rfind(b"</", 0, named)
        return _Frame(xml.mended(self.head).body, xml.mended(self.tail[max(ends, 0) :]).body)


class _Frame(NamedTuple):
    """What surrounds the records of a page, mended: made once a page, for it takes as long as parsing a record."""

    head: bytes
    tail: bytes

    def around(self, raw: bytes) -> bytes:
        """A page of this one record: the namespaces that it needs may be declared by what surrounds it."""
        return self.head + raw + self.tail


def cut(page: bytes) -> Sequence[bytes]:
    """The raw records of a page, in its order, those that are not well-formed too. Raises SourceError for what is no
    page."""
    return _cut(page).records


def without(page: bytes, ids: Mapping[int, str]) -> bytes:
    """The page, in UTF-8, with the header of a deleted record of another id in the place of these records. Raises
    SourceError for what is no page."""
    found = _cut(page)
    if found.root is None:
        kept = [_deleted(raw, ids[index]) if index in ids else raw for index, raw in enumerate(found.records)]
        return found.head + b"".join(kept) + found.tail
    for index, record in enumerate(_records(found.root)):
        parent = record.getparent()
        if index in ids and parent is not None:
            parent.replace(record, xml.parse(_deleted(_IN_ITS_NAMESPACE, ids[index])))
    return xml.raw(found.root)


_IN_ITS_NAMESPACE = b'<record xmlns="%b">' % OAI[1:-1].encode()
_BEGINNING = re.compile(rb"<(%b)record(?=[\s>])[^<>]*>" % _NAME)


def _deleted(raw: bytes, external_id: str) -> bytes:
    """A header alone, under the prefix that a record has."""
    begins = _BEGINNING.search(raw)
    begin, prefix = (begins[0], begins[1].decode()) if begins else (b"<record>", "")
    header = f'<{prefix}header status="deleted"><{prefix}identifier>{escape(external_id)}</{prefix}identifier>'
    return begin + f"{header}</{prefix}header></{prefix}record>".encode()


def _cut(body: bytes) -> _Cut:
    """By bytes where that is certain, else by the parser, and where that fails by what the borders of records are."""
    page = encodings.decoded(body, {})
    begun = xml.begun(page)
    is_odd = len(begun) != len(page) and page.removeprefix(b"\xef\xbb\xbf") != begun
    notes = ("what stood before the XML declaration of its page was dropped",) if is_odd else ()
    found = _cut_by_bytes(begun) or _cut_by_tags(begun)
    return found._replace(notes=notes)


def _cut_by_bytes(page: bytes) -> _Cut | None:
    """Where nothing but records, whatever is in them, stands side by side directly in an unprefixed list. None: it
    must be parsed (comments, CDATA, prefixes, records inside records)."""
    start = _LIST.search(page)
    if not start or any(hiding.search(page, start.end()) for hiding in _HIDING):
        return None
    *parts, tail = page[start.end() - 1 :].split(_ENDS)  # each with the > before it; one inside another ends twice
    begins = [_BEGINS(part) for part in parts]
    if not parts or not tail.startswith(b">") or b"record" in tail:
        return None
    records = [part[begin.start(1) :] + _ENDS + b">" for part, begin in zip(parts, begins, strict=True) if begin]
    if len(records) != len(parts):
        return None
    if page.count(b"<record") != len(parts) and oai_borders.headers(page) > len(parts):  # one has no end
        return None
    return _Cut(page[: start.end()], records, tail[1:])


def _cut_by_tags(page: bytes) -> _Cut:
    try:
        root = xml.strict(page)
    except xml.NotWellFormed:
        return _cut_by_borders(page) or _parsed(page, xml.parse(page))
    if oai_borders.headers(page) > len(_records(root)):  # CDATA of one may have swallowed the next
        found = _cut_by_borders(page, is_well_formed=True)
        if found and len(found.records) > len(_records(root)):
            return found
    return _parsed(page, root)


def _cut_by_borders(page: bytes, is_well_formed: bool = False) -> _Cut | None:
    found = oai_borders.pieces(page, is_well_formed)
    return _Cut(*found) if found and found.records else None


def _parsed(page: bytes, root: "Element") -> _Cut:
    return _Cut(page, [xml.raw(record) for record in _records(root)], b"", root)


def _records(root: "Element") -> "list[Element]":
    return [*root.iterfind(f"{OAI}ListRecords/{OAI}record"), *root.iterfind(f"{OAI}GetRecord/{OAI}record")]


def extract(page: bytes, indices: Sequence[int], request: Request, format_: Format) -> Iterator[Record | Unreadable]:
    """The records of a page at these indices. Only they are parsed, inside what surrounds them: their namespaces are
    declared there. What cannot be read is Unreadable. Raises SourceError for what is no page."""
    found = _cut(page)
    raws = [found.records[index] for index in indices]
    is_doubtful = encodings.is_doubtful(page)
    elements = _elements(found, indices, raws)
    frame = found.frame() if None in elements else _Frame(b"", b"")
    for index, raw, record in zip(indices, raws, elements, strict=True):
        notes = found.notes if index == 0 else ()
        if is_doubtful:
            notes += encodings.doubts(raw)
        if record is None:
            yield _alone(raw, frame, request, format_, notes)
        else:
            yield _extract(record, request, format_, notes)


def ids(page: bytes, request: Request, format_: Format) -> Sequence[str | None]:
    """The id of each record of a page, as `extract` names it: by its bytes where these are certain. Raises SourceError
    for what is no page."""
    plain = [_PLAIN_RECORD.match(raw) for raw in _cut(page).records]
    found = [name[1].decode() if name and len(name[1]) <= LONGEST_ID else None for name in plain]
    others = [index for index, name in enumerate(found) if name is None]
    for index, record in zip(others, extract(page, others, request, format_), strict=True):
        found[index] = record.external_id
    return found


def _elements(page: _Cut, indices: Sequence[int], raws: Sequence[bytes]) -> "Sequence[Element | None]":
    """The records that these are, parsed together; None for each that must be parsed alone, because it is not
    well-formed, or too deep or too long for the parser."""
    if page.root is not None:
        every = _records(page.root)
        return [every[index] for index in indices]
    return _together(_Frame(page.head, page.tail), raws)


def _together(frame: _Frame, raws: Sequence[bytes]) -> "Sequence[Element | None]":
    """Records parsed together; those beside one that cannot be are parsed with half of them, and half of these."""
    try:
        wanted = _records(xml.strict(frame.around(b"".join(raws))))
    except SourceError:
        wanted = []
    if len(wanted) == len(raws):
        return wanted
    if len(raws) <= FEW:
        return [None] * len(raws)
    half = len(raws) // 2
    return [*_together(frame, raws[:half]), *_together(frame, raws[half:])]


def _alone(raw: bytes, frame: _Frame, request: Request, format_: Format, notes: tuple[str, ...]) -> Record | Unreadable:
    try:
        return _one(raw, frame, request, format_, notes)
    except SourceError as error:
        reason = str(error)
    mended, mends = xml.mended(raw)
    try:
        return _one(mended, frame, request, format_, (*mends, *notes))
    except SourceError:
        whole = frame.around(mended)
        start = whole.find(mended)
        wrong = xml.complaint(whole, start, start + len(mended))
        return Unreadable(_written_id(mended), f"not well-formed: {wrong or reason}"[:600])


def _one(raw: bytes, frame: _Frame, request: Request, format_: Format, notes: tuple[str, ...]) -> Record | Unreadable:
    found = _records(xml.strict(frame.around(raw)))
    if len(found) != 1:
        raise SourceError("it cannot be told apart from what surrounds it")
    return _extract(found[0], request, format_, notes)


def _written_id(raw: bytes) -> str | None:
    """The identifier that stands in a header which no parser reads."""
    metadata = _METADATA.search(raw)
    found = _WRITTEN.search(raw, 0, metadata.start() if metadata else len(raw))
    text = unescape(found[1].decode("utf-8", "replace")).replace("\0", "").strip() if found else ""
    return text if text and len(text.encode("utf-8", "replace")) <= LONGEST_ID else None


def _extract(record: "Element", request: Request, format_: Format, odd: tuple[str, ...]) -> Record | Unreadable:
    header = next(record.iterchildren(f"{OAI}header"), None)
    external_id = xml.text(header.find(f"{OAI}identifier")) if header is not None else None
    if header is None or external_id is None:
        return Unreadable(None, "a record without an identifier in its header")
    if len(external_id.encode()) > LONGEST_ID:
        return Unreadable(None, f"an identifier longer than {LONGEST_ID} bytes: {external_id:.80}…")
    modified_at = xml.text(header.find(f"{OAI}datestamp"))
    if header.get("status") == "deleted":
        return Record(external_id, modified_at, (), odd)
    metadata = next(record.iterchildren(f"{OAI}metadata"), None)
    root = next(metadata.iterchildren(), None) if metadata is not None else None
    if root is None and request.settings.empty_metadata == "deleted":
        return Record(external_id, modified_at, (), odd)
    if root is None:
        return Unreadable(external_id, "no metadata, and not deleted")
    if xml.name(root) != format_.root:
        return Unreadable(external_id, f"its metadata is {root.tag!r:.200}, not {format_.root} ({format_.prefix})")
    notes: list[str] = []
    try:
        documents = format_.read(root, external_id, request, notes)
    except SourceError as error:  # metadata of another namespace, for instance
        return Unreadable(external_id, str(error))
    except whole_pages.STUMBLES as error:
        return Unreadable(external_id, f"its mapping failed: {error!r:.300}")
    return Record(external_id, modified_at, documents, (*odd, *notes)[:MOST_NOTES])
