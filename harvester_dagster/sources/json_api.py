"""The loop over a JSON:API collection: pages, the next link, what is no answer; records cut and decoded one by one;
one resource by itself.

Belongs here: what JSON:API says, whoever speaks it. Does not belong here: addresses, parameters and the mapping of a
source (`sharekit.py`), retries of failed calls and politeness (`outside/`).
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import msgspec

from harvester_dagster.failures import OutsideError
from harvester_dagster.outside.http import shown
from harvester_dagster.sources import encodings, json_borders, whole_pages
from harvester_dagster.sources.kind import (
    LONGEST_ID,
    MOST_NOTES,
    Record,
    Request,
    Single,
    UnknownRecord,
    Unreadable,
)
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.walk import NotWhole, Walk

if TYPE_CHECKING:
    from harvester_dagster.outside.http import Outside

Read = Callable[[str, Mapping[str, Any], Request], Record | Unreadable]
"""A record from its id and its decoded resource object."""


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    links: Any = None
    meta: Any = None
    errors: Any = None


class _One(msgspec.Struct):
    data: msgspec.Raw


class _Id(msgspec.Struct):
    id: Any = None


_page = msgspec.json.Decoder(_Page)
_one = msgspec.json.Decoder(_One)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_record = msgspec.json.Decoder()
_id = msgspec.json.Decoder(_Id)
_BAD_JSON = (msgspec.MsgspecError, ValueError, RecursionError)
_RAW_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
_TOKENS = re.compile(rb'"((?:[^"\\]|\\.)*)"|[{}\[\]]', re.DOTALL)
_VALUE = re.compile(rb'\s*:\s*(?:"((?:[^"\\]|\\.)*)"|(\d+))', re.DOTALL)


def pages(
    outside: "Outside", url: str, params: Mapping[str, str], headers: Mapping[str, str], mend: str, walk: Walk
) -> Iterator[bytes]:
    """The raw pages from `url` on, along `links.next`, each checked to be whole. Raises SourceError, with `mend`
    where the source answers with something else; NotWhole where it says that its answer is not all there."""
    asking = whole_pages.Asking(headers, walk.cookies)
    if not _recounted(walk) or (walk.goes_on and not walk.is_read and not _is_as_it_was(outside, url, walk, asking)):
        walk.begin_anew("as far as it was read, it is not as it was")
    if walk.follows is None and walk.newest:
        return
    loops = whole_pages.Loops(shown(url))
    next_url, next_params = (walk.follows, {}) if walk.follows else (url, params)
    while True:
        answer, page = whole_pages.whole(outside, next_url, next_params, _read_page, mend, asking)
        link = _next_link(page.links)
        following = _same_host(url, answer.url, link) if link else None
        ends = _leads_nowhere(loops, page, following, walk, len(answer.body))
        walk.came_by = next_url if not next_params else None
        walk.follows = following if isinstance(following, str) else None
        yield answer.body
        if page.errors:
            said = json.dumps(page.errors)[:300]
            raise NotWhole(f"{shown(url)}: its answer is not whole: errors beside its data: {said}", mend)
        if isinstance(following, SourceError):
            raise following
        if following is None or ends:
            return
        next_url, next_params = following, {}


def single(outside: "Outside", url: str, headers: Mapping[str, str], mend: str, external_id: str) -> Single:
    """One resource object, at an address of its own, as a page of it alone. Raises UnknownRecord, SourceError."""
    try:
        _, raw = whole_pages.whole(outside, url, {}, _read_single, mend, whole_pages.Asking(headers))
    except whole_pages.Unanswered as error:
        cause = error.__cause__
        if isinstance(cause, OutsideError) and cause.status in (404, 410):
            raise UnknownRecord(f"{shown(url)}: has no record {external_id!r:.200} ({cause.status})") from None
        raise
    if raw == b"null":
        raise UnknownRecord(f"{shown(url)}: has no record {external_id!r:.200}")
    return Single(b'{"data":[%b]}' % raw)


def _read_single(body: bytes) -> bytes:
    """The raw resource object, or null."""
    try:
        raw = bytes(_one.decode(body).data)
    except _BAD_JSON as error:
        raise SourceError(_complaint(body, error)) from None
    if not raw.startswith((b"{", b"null")):
        raise SourceError("JSON whose data is no resource object")
    return raw


def pushed(body: bytes) -> bytes:
    """A resource object that was pushed, bare, as `data` or alone in its list, as a page of it alone. Raises
    SourceError."""
    try:
        body = body.removeprefix(codecs.BOM_UTF8)
        value = _record.decode(body)
        raw = bytes(_one.decode(body).data) if isinstance(value, dict) and "data" in value else body.strip()
        if raw.startswith(b"["):
            (raw,) = map(bytes, _list.decode(raw))
    except _BAD_JSON as error:
        raise SourceError(f"not one record in JSON: {error}"[:300]) from None
    if not raw.startswith(b"{"):
        raise SourceError("JSON that is no resource object")
    return b'{"data":[%b]}' % raw


def _leads_nowhere(
    loops: whole_pages.Loops, page: _Page, following: str | SourceError | None, walk: Walk, size: int
) -> bool:
    """Note a page. Whether its next link is none to follow, because the list is all there. Raises Circle."""
    try:
        loops.content(page.data)
        brought = walk.came(size, map(_identity, page.data), _total(page.meta))
        if isinstance(following, str):
            loops.token(following)
    except whole_pages.Circle:
        if not walk.is_about_full:
            raise
    else:
        if not walk.is_full or brought:
            return False
    if following is not None:
        walk.note(f"the next link of its last page led nowhere, after {walk.distinct:,} different records")
    return True


def _recounted(walk: Walk) -> bool:
    """Count the pages that were stored. False: they are none that can be gone on with."""
    link = None
    try:
        for body in walk.stored():
            page = _read_page(body)
            walk.came(len(body), map(_identity, page.data), _total(page.meta))
            if page.errors:
                return False
            link = _next_link(page.links)
    except SourceError:
        return False
    return walk.follows is not None or link is None  # else its last page leads to where none may follow


def _is_as_it_was(outside: "Outside", url: str, walk: Walk, asking: whole_pages.Asking) -> bool:
    """Whether the last stored page is still what its link leads to; then what follows it is known anew."""
    if walk.came_by is None:
        return False
    try:
        answer, page = whole_pages.whole(outside, walk.came_by, {}, _read_page, "", asking)
    except SourceError:
        return False
    link = _next_link(page.links)
    following = _same_host(url, answer.url, link) if link else None
    walk.follows = following if isinstance(following, str) else None
    is_fine = not page.errors and not isinstance(following, SourceError)
    return is_fine and walk.is_as_it_was(map(_identity, page.data))


def _identity(raw: msgspec.Raw) -> int:
    """The same number for records with the same id, within one process."""
    try:
        return hash(str(_id.decode(raw).id or bytes(raw)))
    except _BAD_JSON:
        return hash(bytes(raw))


def _total(meta: Any) -> int | None:
    """How many records the list has, where that is said. It may end a list, and proves nothing."""
    total = meta.get("totalCount") if isinstance(meta, dict) else None
    return total if isinstance(total, int) and not isinstance(total, bool) else None


def cut(page: bytes) -> Sequence[bytes]:
    """The raw resource objects of a page, in its order. Raises SourceError for what is no page."""
    return [bytes(raw) for raw in _read_page(page).data]


def extract(page: bytes, indices: Sequence[int], request: Request, read: Read) -> Iterator[Record | Unreadable]:
    """The records of a page at these indices, each by `read`; what cannot be decoded or read is Unreadable. Raises
    SourceError for what is no page."""
    records, has_nul, is_doubtful = _read_page(page).data, b"\\u0000" in page, encodings.is_doubtful(page)
    for index in indices:
        raw = records[index]
        try:
            resource, notes = _decode(raw, has_nul)
        except _BAD_JSON as error:
            yield Unreadable(_written_id(bytes(raw)), f"not valid JSON: {error}"[:300])
            continue
        if is_doubtful:
            notes += encodings.doubts(bytes(raw))
        record = _extract(raw, resource, request, read)
        if notes and isinstance(record, Record):
            record = record._replace(notes=(*notes, *record.notes)[:MOST_NOTES])
        yield record


def ids(page: bytes, request: Request, read: Read) -> Sequence[str | None]:
    """The id of each record of a page, as `extract` names it: looked at alone where that is certain. Raises SourceError
    for what is no page."""
    found: list[str | None] = [_plain_id(raw) for raw in _read_page(page).data]
    others = [index for index, name in enumerate(found) if name is None]
    for index, record in zip(others, extract(page, others, request, read), strict=True):
        found[index] = record.external_id
    return found


def _plain_id(raw: msgspec.Raw) -> str | None:
    """None: it takes more to know it."""
    try:
        name = _id.decode(raw).id
    except _BAD_JSON:
        return None
    is_plain = isinstance(name, str) and name.isascii() and name.isprintable() and name == name.strip()
    return name if is_plain and 0 < len(name) <= LONGEST_ID else None


def without(page: bytes, instead: Mapping[int, Any]) -> bytes:
    """The page with other resource objects in the place of these. Raises SourceError for what is no page."""
    read = _read_page(page)
    data = [
        msgspec.Raw(msgspec.json.encode(instead[index])) if index in instead else raw
        for index, raw in enumerate(read.data)
    ]
    return msgspec.json.encode(_Page(data, read.links, read.meta, read.errors))


def _extract(raw: msgspec.Raw, resource: Any, request: Request, read: Read) -> Record | Unreadable:
    if not isinstance(resource, dict):
        return Unreadable(None, f"a record that is no object: {bytes(raw)[:80]!r}")
    external_id = resource.get("id")
    if isinstance(external_id, int) and not isinstance(external_id, bool):
        external_id = str(external_id)
    if not isinstance(external_id, str) or not external_id.strip():
        return Unreadable(None, "a record without id")
    if len(external_id.encode()) > LONGEST_ID:
        return Unreadable(None, f"an id longer than {LONGEST_ID} bytes: {external_id:.80}…")
    try:
        return read(external_id.strip(), resource, request)
    except whole_pages.STUMBLES as error:
        return Unreadable(external_id.strip(), f"its mapping failed: {error!r:.300}")


def _decode(raw: msgspec.Raw, has_nul: bool) -> tuple[Any, tuple[str, ...]]:
    """A value without what no JSON or no store takes (control characters as such, halves of surrogate pairs, NUL, bytes
    that are no UTF-8), and a note on each."""
    notes: tuple[str, ...] = ()
    controls = 0
    try:
        value = _record.decode(raw)
        if not has_nul:
            return value, notes
    except (msgspec.DecodeError, UnicodeDecodeError):
        body, notes = encodings.as_utf8(bytes(raw))
        body, controls = _RAW_CONTROLS.subn(b"", body)
        value = json.loads(body, strict=False, parse_constant=lambda _: None)
    dropped = [""] * controls
    value = _scrubbed(value, dropped)
    if dropped:
        notes += (f"characters that are none in JSON or in no text were dropped: {len(dropped)}",)
    return value, notes


def _scrubbed(value: Any, dropped: list[str]) -> Any:
    if isinstance(value, str):
        dropped += _NO_TEXT.findall(value)
        return _NO_TEXT.sub("", value)
    if isinstance(value, list):
        return [_scrubbed(item, dropped) for item in value]
    if isinstance(value, dict):
        return {_scrubbed(key, dropped): _scrubbed(item, dropped) for key, item in value.items()}
    return value


def _written_id(raw: bytes) -> str | None:
    """The id of a record that cannot be decoded: its own, and not that of something inside of it."""
    depth = 0
    for token in _TOKENS.finditer(raw):
        if token[0] in (b"{", b"["):
            depth += 1
        elif token[0] in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and token[1] == b"id" and (found := _VALUE.match(raw, token.end())):
            text = _RAW_CONTROLS.sub(b"", found[1] or found[2]).decode("utf-8", "replace").strip()
            return text if text and len(text.encode()) <= LONGEST_ID else None
    return None


def _read_page(body: bytes) -> _Page:
    try:
        return _page.decode(body)
    except _BAD_JSON as error:
        strict = error
    # what the strict reader refuses and others send: a byte order mark, halves of surrogate pairs, one broken record
    try:
        found = json_borders.pieces(encodings.decoded(body, {}).decode("utf-8", "surrogateescape"))
    except SourceError as error:
        raise SourceError(f"{_complaint(body, strict)}: {error}") from None
    if found is None:
        raise SourceError(_complaint(body, strict))
    rest = _scrubbed(found.envelope, [])
    data = [msgspec.Raw(item.encode("utf-8", "surrogateescape")) for item in found.items]
    return _Page(data, rest.get("links"), rest.get("meta"), rest.get("errors"))


def _complaint(body: bytes, error: Exception) -> str:
    """What is wrong with a page, in the words of somebody who looked at it."""
    if not body.strip():
        return "an empty answer"
    try:
        value = _record.decode(body)
    except _BAD_JSON:
        return f"no JSON but {whole_pages.looks_like(body)} ({error})"
    if isinstance(value, dict) and value.get("errors"):
        return f"an error: {json.dumps(value['errors'])[:300]}"
    return f"JSON that is no page of JSON:API: {error}"


def _next_link(links: Any) -> str | None:
    link = links.get("next") if isinstance(links, dict) else None
    if isinstance(link, dict):
        link = link.get("href")
    return link.strip() or None if isinstance(link, str) else None


def _same_host(url: str, page_url: str, link: str) -> str | SourceError:
    """The next page's address. It stays on the host that was configured, for the key goes with the request; only http
    may become https. Any other is an error, to be raised when its page is stored."""
    try:
        whole = urljoin(page_url, link)
        whole.encode()
        here, there = urlsplit(url), urlsplit(whole)
        ports = (here.scheme, here.port), (there.scheme, there.port)
        stays = (
            "\0" not in whole
            and here.hostname == there.hostname
            and (ports[0] == ports[1] or ports == (("http", None), ("https", None)))
        )
    except ValueError:
        stays = False
    if stays:
        return whole
    return SourceError(
        f"{shown(url)}: the next page is said to be at {shown(link)}, which is another host or no address: refused",
        "if the source has moved, write its new address in url",
    )
