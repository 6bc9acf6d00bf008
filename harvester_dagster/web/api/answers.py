"""How answers of the API go out: the envelope of a page, a document as it is stored, ETags, "not modified".

Belongs here: bytes and headers. Does not belong here: what is asked for.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.config import Web
from harvester_dagster.consumers.snapshots import Snapshot

JSON = "application/json"
CACHING = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
"""An answer may be kept, and is asked for again by its ETag each time."""


def moment(at: datetime) -> str:
    """A time as `as_of` has it, to the microsecond: what comes back in `modified_since` must be the same."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def envelope(results: Iterable[bytes], following: str | None, found: Snapshot | None) -> bytes:
    """A page: results as they are stored, the address of the next page, and what they were read at."""
    after = b'],"next":%b,"version":%b,"seq":%b,"as_of":%b}' % (
        msgspec.json.encode(following),
        msgspec.json.encode(found.version_id if found else None),
        msgspec.json.encode(found.seq if found else 0),
        msgspec.json.encode(moment(found.as_of) if found else None),
    )
    parts = list(results) or [b""]
    parts[0] = b'{"results":[' + parts[0]
    parts[-1] += after
    return b",".join(parts)  # once: a page has megabytes


def address(request: Request, web: Web, **parameters: str | int | None) -> str:
    """This path with other parameters; those that are None are left out."""
    base = web.public_url.rstrip("/") or f"{request.url.scheme}://{request.url.netloc}"
    asked = {name: value for name, value in parameters.items() if value is not None}
    return f"{base}{request.url.path}?{urlencode(asked)}"


def tag_of(*parts: object) -> str:
    """An ETag of what an answer is made from."""
    return f'"{blake2b(repr(parts).encode(), digest_size=16).hexdigest()}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether who asks has this answer already."""
    return bool({tag, "*"} & set(re.findall(r'"[^"]*"|\*', request.headers.get("if-none-match", ""))))


def not_modified(tag: str) -> Response:
    """The answer to who has it already."""
    return Response(status_code=304, headers={"ETag": tag, **CACHING})


def sent(body: bytes, tag: str) -> Response:
    """A body of JSON."""
    return Response(body, media_type=JSON, headers={"ETag": tag, **CACHING})
