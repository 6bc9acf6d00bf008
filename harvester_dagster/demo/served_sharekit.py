"""JSON:API as Sharekit speaks it, over the catalogue's items: pages, `filter[modified][GE]`, the token, errors.

Belongs here: the protocol, and the lies about what a listing holds. Does not belong here: the wire (`server.py`).
"""

import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from harvester_dagster.demo.lies import UNFILTERED, Liar, SampleAnswer
from harvester_dagster.demo.records import Catalogue, RepoItem, stamp

SETS: Final = ("edusources",)
MAX_PAGE_SIZE: Final = 10  # larger wishes get this, as servers do, so that a small catalogue has several pages
_SINCE: Final = "filter[modified][GE]"


class ApiError(Exception):
    """An error of the API, with the status that it is answered with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def answer(
    catalogue: Catalogue,
    spec: str,
    name: str,
    arguments: Mapping[str, Sequence[str]],
    authorization: str,
    token: str | None,
    liar: Liar,
) -> SampleAnswer:
    """The answer to a request for the channel `spec`, or its item of that name; with a `token`, only who brings it gets
    one."""
    try:
        if token and not hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise ApiError(401, "Unauthorized: a bearer token is needed")
        if spec not in SETS:
            raise ApiError(404, f"There is no channel {spec}")
        if name:
            item = next((item for item in catalogue.items(spec) if item.id == name), None)
            if item is None:
                raise ApiError(404, f"There is no item {name}")
            return _json({"data": _item(item)})
        return _json(_listing(catalogue, spec, {name: values[0] for name, values in arguments.items()}, liar))
    except ApiError as error:
        errors = [{"status": str(error.status), "title": str(error)}]
        return _json({"errors": errors})._replace(status=error.status)


def _listing(catalogue: Catalogue, spec: str, arguments: Mapping[str, str], liar: Liar) -> dict[str, Any]:
    lie = liar.of("sharekit")
    size = min(_number(arguments, "page[size]", MAX_PAGE_SIZE), MAX_PAGE_SIZE)
    number = _number(arguments, "page[number]", 1)
    since = _since(arguments.get(_SINCE, ""))
    everything = catalogue.items(spec)
    items = everything if since is None or lie in UNFILTERED else [i for i in everything if i.modified >= since]
    total = len(items)
    if lie == "half":
        items = items[: total // 2]
    elif lie == "empty":
        items = []
    page = items[(number - 1) * size : number * size]
    written: list[Any] = [_item(item) for item in page]
    if lie == "mess":
        written = [_messy(item, n) for n, item in enumerate(written, (number - 1) * size)]
        written += [{"type": "repoItem", "attributes": []}, "repoItem"]
    last = max(1, -(-len(items) // size))
    numbers = {"first": 1, "self": number, "prev": number - 1, "next": number + 1, "last": last}
    links = {
        name: _link(spec, arguments.get(_SINCE, ""), size, to)
        for name, to in numbers.items()
        if 1 <= to <= last or name == "self"
    }
    return {"meta": {"totalCount": total}, "links": links, "data": written}


def _number(arguments: Mapping[str, str], name: str, default: int) -> int:
    text = arguments.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1_000_000):
        raise ApiError(400, f"{name} must be a positive number")
    return int(text)


def _since(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ApiError(400, f"{_SINCE} must be a time such as 2020-01-01T00:00:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _link(spec: str, since: str, size: int, number: int) -> str:
    """Relative to the server, brackets as they are: as in the recordings."""
    window = f"{_SINCE}={quote(since)}&" if since else ""
    return f"/sharekit/jsonapi/channel/v1/{spec}/repoItems?{window}page[size]={size}&page[number]={number}"


def _item(item: RepoItem) -> dict[str, Any]:
    if item.attributes is None:
        meta = {"status": "deleted", "deletedAt": stamp(item.modified)}
        return {"type": "repoItem", "id": item.id, "meta": meta, "attributes": []}
    if item.recorded:
        return {"type": "repoItem", "id": item.id, "attributes": item.attributes}
    return {"type": "repoItem", "id": item.id, "meta": {"status": "active"}, "attributes": item.attributes}


def _messy(item: dict[str, Any], number: int) -> dict[str, Any]:
    """JSON, and yet no item: every third one, each in another way."""
    if number % 3:
        return item
    match number // 3 % 4:
        case 0:
            return {**item, "attributes": "see the old system"}
        case 1:
            return {**item, "attributes": {"title": {"en": "What title?"}, "files": 17, "modifiedAt": 0}}
        case 2:
            return {**item, "attributes": None}
        case _:
            return {"type": "repoItem", "id": item["id"]}


def _json(content: object) -> SampleAnswer:
    return SampleAnswer(json.dumps(content, indent=4).encode(), content_type="application/vnd.api+json")
