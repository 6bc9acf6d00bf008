"""Cookies that only this installation can have made, for one of its addresses.

`HttpOnly`, `SameSite=Lax`; where browsers come by https `Secure` too, and `__Host-` before the name: no other host,
a subdomain neither, can have set one. Belongs here: signing and reading. Does not belong here: what a cookie says.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
from itsdangerous import BadSignature, URLSafeSerializer
from starlette.requests import HTTPConnection
from starlette.responses import Response

from harvester_dagster.config import Web
from harvester_dagster.web.api.cursors import key_of

_LONGEST = 4_000
"""Characters of a cookie."""


class Lasting(Protocol):
    """What a cookie says, a msgspec.Struct; it holds until then, in seconds of POSIX time."""

    @property
    def until(self) -> int:
        """The first second in which it does not."""


_Said = TypeVar("_Said", bound=Lasting)


class SignedCookies:
    """The cookies of what an installation has at `url`."""

    def __init__(self, web: Web, url: str, clock: Callable[[], datetime]) -> None:
        self._key, self._clock = key_of(web), clock
        self._secure = urlsplit(url).scheme == "https"
        self._place = place(web, url)

    def until(self, lasts: timedelta) -> int:
        """When something that begins now ends."""
        return int((self._clock() + lasts).timestamp())

    def read(self, request: HTTPConnection, name: str, kind: type[_Said]) -> _Said | None:
        """What a cookie says, as long as that holds; None for one that was not made here."""
        try:
            said = self._serializer(name).loads(request.cookies.get(self._named(name), "")[:_LONGEST])
            found = msgspec.convert(said, kind)
        except (BadSignature, msgspec.ValidationError):
            return None
        return found if self._clock().timestamp() < found.until else None

    def set(self, answer: Response, name: str, said: Lasting) -> None:
        """Give a cookie to the browser that gets this answer."""
        text: Any = self._serializer(name).dumps(msgspec.to_builtins(said))
        seconds = said.until - int(self._clock().timestamp())
        answer.set_cookie(self._named(name), text, seconds, secure=self._secure, httponly=True, samesite="lax")

    def forget(self, answer: Response, name: str) -> None:
        """Take it away from that browser."""
        answer.delete_cookie(self._named(name), secure=self._secure, httponly=True, samesite="lax")

    def _named(self, name: str) -> str:
        return f"__Host-{name}" if self._secure else name

    def _serializer(self, name: str) -> URLSafeSerializer:
        return URLSafeSerializer(self._key, salt=f"cookie {self._named(name)} {self._place}")


def place(web: Web, url: str) -> str:
    """For whom something is signed and by whose word: another installation may have the same key."""
    said = (url, web.login.issuer, web.login.client_id, web.login.claim)
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()
