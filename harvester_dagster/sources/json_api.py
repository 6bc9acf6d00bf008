"""The loop over a JSON:API collection: pages, the next link, what is no answer; records cut and decoded one by one.

Belongs here: what JSON:API says, whoever speaks it. Does not belong here: addresses, parameters and the mapping of a
source (`sharekit.py`), retries of failed calls and politeness (`outside/`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import msgspec

from harvester_dagster.outside.outside import shown
from harvester_dagster.sources import asking
from harvester_dagster.sources.source import LONGEST_ID, Record, Request, SourceError, Unreadable

if TYPE_CHECKING:
    from harvester_dagster.outside.outside import Outside

Read = Callable[[str, Mapping[str, Any], Request], Record | Unreadable]
"""A record from its id and its decoded resource object."""


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    links: Any = None


class _Lenient(msgspec.Struct):
    data: list[Any]
    links: Any = None


_page = msgspec.json.Decoder(_Page)
_record = msgspec.json.Decoder()
_BAD_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def pages(
    outside: "Outside", url: str, params: Mapping[str, str], headers: Mapping[str, str], mend: str
) -> Iterator[bytes]:
    """The raw pages from `url` on, along `links.next`, each checked to be whole."""
    loops = asking.Loops(shown(url))
    next_url, next_params = url, params
    while True:
        answer, page = asking.whole(outside, next_url, next_params, _read_page, mend, headers)
        loops.content(page.data)
        yield answer.body
        link = _next_link(page.links)
        if link is None:
            return
        next_url, next_params = _same_host(url, answer.url, link), {}
        loops.token(next_url)


def cut(page: bytes) -> Sequence[bytes]:
    return [bytes(raw) for raw in _read_page(page).data]


def extract(page: bytes, indices: Sequence[int], request: Request, read: Read) -> Iterator[Record | Unreadable]:
    records, decode = _read_page(page).data, _decode_without_nul if b"\\u0000" in page else _decode
    for index in indices:
        yield _extract(records[index], decode, request, read)


def _extract(
    raw: msgspec.Raw, decode: Callable[[msgspec.Raw], Any], request: Request, read: Read
) -> Record | Unreadable:
    try:
        resource = decode(raw)
    except _BAD_JSON as error:
        return Unreadable(None, f"not valid JSON: {error}")
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
    except asking.STUMBLES as error:
        return Unreadable(external_id.strip(), f"its mapping failed: {error!r:.300}")


def _decode(raw: msgspec.Raw) -> Any:
    """Bytes that are no UTF-8 cost themselves and not the record."""
    try:
        return _record.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _record.decode(bytes(raw).decode("utf-8", "replace"))


def _decode_without_nul(raw: msgspec.Raw) -> Any:
    """No store takes NUL characters in texts."""
    return _scrubbed(_decode(raw))


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, dict):
        return {_scrubbed(key): _scrubbed(item) for key, item in value.items()}
    return value


def _read_page(body: bytes) -> _Page:
    try:
        return _page.decode(body)
    except _BAD_JSON as error:
        complaint = _complaint(body, error)
    try:  # what the strict reader refuses and others send: a byte order mark, halves of surrogate pairs
        page = msgspec.convert(_scrubbed(json.loads(body)), _Lenient)
        return _Page([msgspec.Raw(msgspec.json.encode(record)) for record in page.data], page.links)
    except (*_BAD_JSON, ValueError):
        raise SourceError(complaint) from None


def _complaint(body: bytes, error: Exception) -> str:
    """What is wrong with a page, in the words of somebody who looked at it."""
    if not body.strip():
        return "an empty answer"
    try:
        value = _record.decode(body)
    except _BAD_JSON:
        return f"no JSON but {asking.looks_like(body)} ({error})"
    if isinstance(value, dict) and value.get("errors"):
        return f"an error: {json.dumps(value['errors'])[:300]}"
    return f"JSON that is no page of JSON:API: {error}"


def _next_link(links: Any) -> str | None:
    link = links.get("next") if isinstance(links, dict) else None
    if isinstance(link, dict):
        link = link.get("href")
    return link.strip() or None if isinstance(link, str) else None


def _same_host(url: str, page_url: str, link: str) -> str:
    """The next page's address. It stays on the host that was configured, for the key goes with the request; only http
    may become https."""
    try:
        whole = urljoin(page_url, link)
        here, there = urlsplit(url), urlsplit(whole)
        ports = (here.scheme, here.port), (there.scheme, there.port)
        stays = here.hostname == there.hostname and (ports[0] == ports[1] or ports == (("http", None), ("https", None)))
    except ValueError:
        stays = False
    if not stays:
        raise SourceError(
            f"{shown(url)}: the next page is said to be at {shown(link)}, which is another host: refused; "
            "if the source has moved, write its new address in url"
        )
    return whole
