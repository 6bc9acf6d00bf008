"""Who may act: a token for every writing request that does not come from a person at this machine.

Belongs here: the rule for requests that change something. Reading is free; who may reach the port is the operator's
choice. Does not belong here: pages.
"""

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from harvester_dagster.config import Web, secret

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_TOKEN_HEADER = "x-harvester-token"


class Guard:
    def __init__(self, app: ASGIApp, web: Web) -> None:
        self._app = app
        self._web = web

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING:
            reason = why_not(Request(scope), self._web)
            if reason is not None:
                await PlainTextResponse(reason + "\n", 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def why_not(request: Request, web: Web) -> str | None:
    """None: this request may change something; else why not.

    From loopback no token is asked for, but a page of another site, opened in a browser here, must not act: neither
    across origins, nor under a name of its own that it lets point to loopback.
    """
    if _holds_token(request, web):
        return None
    if not _is_here(client_address(request, web)):
        return f"an action from beyond this machine needs the token of {web.token_env} (Authorization: Bearer ...)"
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if host not in _HERE | {web.host}:
        return f"{host!r} is not a name of this machine; use localhost, or the token"
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        return "an action must come from a page of this application"
    return None


def _holds_token(request: Request, web: Web) -> bool:
    expected = secret(web.token_env)
    given = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get(_TOKEN_HEADER, "")
    return bool(expected) and hmac.compare_digest(given.encode(), (expected or "").encode())


def client_address(request: Request, web: Web) -> str:
    """Whose request it is: what a trusted proxy says, else whoever is connected."""
    address = request.client.host if request.client else ""
    forwarded = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    while address in web.trusted_proxies and forwarded:
        address = forwarded.pop()
    return address


def _is_here(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
