"""Who asks, what they may, and whether it is a page of somebody else that asks in their browser.

    a named token       the scopes that `[web.tokens.NAME]` gives it
    HARVESTER_TOKEN     all scopes but `takedown`
    who has signed in   on pages, in Dagster's UI: the scopes that `[web.login.scopes]` gives what is said of them; on
                        pages: those of the token that they signed in with
    at this machine     `local`, all scopes: on pages; the API and what is raw always need a token

Belongs here: what is known of whoever made a request: the address, the token, the site. Three ask it: our pages, where
reading is free and writing is not (`WriteGuard`), routes that need a scope (`admitted`), the door before Dagster's UI
(`door.py`). Does not belong here: pages, and which scope a route of the API needs.
"""

import base64
import hashlib
import hmac
import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from harvester_dagster.config import LOOPBACK, SCOPES, Web, secret
from harvester_dagster.publication import audit
from harvester_dagster.publication.audit import Doer

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_TOKEN_HEADER = "x-harvester-token"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d{1,5})?", re.ASCII | re.IGNORECASE)
_OTHER_SITES = frozenset({"cross-site", "same-site"})
"""Another port of this machine is the same *site*, and another origin."""


OPERATE = "operate"
OVERWRITE, TAKEDOWN, PUSH = "/document/overwrite", "/document/takedown", "/push"
"""There and below it a page overwrites (`document_pages.py`), takes down (`takedown_pages.py`), pushes
(`push_pages.py`)."""
_OTHER_SCOPES = {OVERWRITE: "overwrite", TAKEDOWN: "takedown", PUSH: "push"}
"""What these take, and no other scope."""
API = "/api/"
"""Below it nothing is written without a token, wherever it comes from."""
LOGOUT = "/logout"
"""Whoever has signed in may leave, whatever their scopes (`login_pages.py`)."""
LOGIN, TOKEN_LOGIN = "/login", "/login/token"
"""Where people sign in: at the provider (`login_pages.py`), or with a token (`token_login.py`)."""
PERSON = "harvester.person"
"""Where the Actor who has signed in is, in the request's scope (`sessions.py`)."""
WEBHOOK = "/webhook/"
"""Below it sources push: who may is a matter of each set (`webhook.py`)."""
_ALL = frozenset(SCOPES)


class Token(NamedTuple):
    """What somebody may hold. `variable`: of the environment, which has its secret."""

    name: str
    variable: str
    scopes: frozenset[str]


class Actor(NamedTuple):
    """Who has made a request, and what they may."""

    doer: Doer
    scopes: frozenset[str]


class WriteGuard:
    """Middleware that refuses (HTTPException, 403 with the reason) every writing request that may not change something;
    what the others do is done by whom they came from."""

    def __init__(self, app: ASGIApp, web: Web) -> None:
        self._app = app
        self._web = web

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or say why it may not change anything."""
        if scope["type"] == "http" and scope["method"] not in _READING and not _is_elsewhere(scope["path"]):
            is_api = scope["path"].startswith(API)
            found = admitted(Request(scope), self._web, None if is_api else _scope(scope["path"]), by_token=is_api)
            if isinstance(found, str):
                raise HTTPException(403, found)
            with audit.acting(found.doer):
                await self._app(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _scope(path: str) -> str:
    """What a button of a page needs."""
    return next((scope for place, scope in _OTHER_SCOPES.items() if path.startswith(place)), OPERATE)


def _is_elsewhere(path: str) -> bool:
    """Whether who may write there is asked by the route itself."""
    return path.startswith(WEBHOOK) or path in (LOGOUT, TOKEN_LOGIN)


def admitted(request: Request, web: Web, scope: str | None, *, by_token: bool = False) -> Actor | str:
    """Who has made a request that needs a scope (None: any), or why it may not pass. `by_token`: at this machine too.

    From loopback no token is asked for, but a page of another site, opened in a browser here, must not act: neither
    across origins, nor under a name of its own that it lets point to loopback.
    """
    actor = bearer(request, web)
    if actor is None:
        person = None if by_token else signed_in(request)
        if person is None and (by_token or not is_here(request, web)):
            where = "this" if by_token else "an action from beyond this machine"
            instead = "" if by_token or not login_page(web) else f", or that you sign in ({login_page(web)})"
            return f"{where} needs a token, such as that of {web.token_env} (Authorization: Bearer ...){instead}"
        if reason := not_by_our_name(request, web) or not_from_our_page(request):
            return reason
        actor = person or local(request, web)
    return actor if scope is None or scope in actor.scopes else f"{actor.doer.name} has not the scope {scope!r}"


def signed_in(request: HTTPConnection) -> Actor | None:
    """Who has signed in, in this browser; None: nobody."""
    person: Actor | None = request.scope.get(PERSON)
    return person


def may(request: HTTPConnection, web: Web) -> frozenset[str]:
    """The scopes of whoever looks at a page: what they would be admitted to, were the page to ask."""
    found = bearer(request, web) or signed_in(request)
    if found is None and is_here(request, web) and not not_by_our_name(request, web):
        found = local(request, web)
    return found.scopes if found else frozenset()


def local(request: HTTPConnection, web: Web) -> Actor:
    """Whoever sits at this machine."""
    return Actor(Doer("local", client_address(request, web)), _ALL)


def no_name(request: HTTPConnection) -> str | None:
    """Why the name that was asked for is none, ours or anybody's; None: it is one, or there is none. Whoever reads the
    address of a request would fail by it."""
    asked = request.headers.get("host", "")
    return f"{asked[:200]!r} in the header Host is no name of a machine" if asked and _hostname(asked) is None else None


def _hostname(asked: str) -> str | None:
    """The name in a Host; None: it is none."""
    try:
        parts = urlsplit(f"//{asked}")
        return parts.hostname if _HOST.fullmatch(asked) and parts.port != -1 else None
    except ValueError:  # what is no address between brackets; a port that there cannot be
        return None


def not_by_our_name(request: HTTPConnection, web: Web) -> str | None:
    """Why the name that was asked for is not ours: a site that lets its own name point here may read and act as if it
    were us, but for that. None: it is ours."""
    asked = request.headers.get("host", "")
    host = _hostname(asked)
    if host and host in LOOPBACK | {web.host, *(urlsplit(ours).hostname for ours in (web.public_url, web.dagster_url))}:
        return None
    mend = "use localhost, or name it as public_url or dagster_url of [web]"
    return f"{asked[:200]!r} is not a name of this machine; {mend}"


def not_from_our_page(request: HTTPConnection) -> str | None:
    """Why a request was not made by a page of this origin, nor typed, nor by a program; None: it was."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    if origin is not None and _place(origin) != request.headers.get("host", "").lower():
        return "an action must come from a page of this application"
    if site in _OTHER_SITES:
        return "a page of another origin may not ask this"
    return None


def _place(origin: str) -> str:
    """Host and port of an Origin; empty for `null` and for what is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _bearer(request: HTTPConnection) -> str:
    """A token that a program sent: no browser does so for a page of another site."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    given = given if scheme.lower() == "bearer" else request.headers.get(_TOKEN_HEADER, "")
    return given.encode("latin-1").decode(errors="surrogateescape")  # headers are read as Latin-1


def _password(request: HTTPConnection) -> str:
    """A token that a person typed into the browser's own dialogue; it goes with all that the browser then asks."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except ValueError:  # no Base64, or nothing that is text
        return ""


def bearer(request: HTTPConnection, web: Web) -> Actor | None:
    """Who holds the token that a program sent along; None: nobody, or there is none."""
    return holder(_bearer(request), request, web)


def holder_in_browser(request: HTTPConnection, web: Web) -> Actor | None:
    """Who holds the token that came along, from a program or typed as a password."""
    return holder(_bearer(request) or _password(request), request, web)


def holder(given: str, request: HTTPConnection, web: Web) -> Actor | None:
    """Who holds a token; None: nobody. It takes as long whichever token it is, and however much of one is right."""
    digest, found = _digest(given), None
    for name, variable, scopes in tokens(web):
        expected = secret(variable)
        is_it = hmac.compare_digest(digest, _digest(expected or ""))
        if is_it and expected and found is None:
            found = Actor(Doer(name, client_address(request, web)), scopes)
    return found


def tokens(web: Web) -> list[Token]:
    """All that there are, whether their secrets are set or not."""
    named = [Token(f"token:{name}", one.token_env, frozenset(one.scopes)) for name, one in web.tokens.items()]
    return [Token(web.token_env, web.token_env, _ALL - {"takedown"}), *named]


def login_page(web: Web) -> str:
    """Where somebody signs in who reads pages beyond this machine; empty: nobody can."""
    if web.login.issuer:
        return LOGIN
    return TOKEN_LOGIN if takes_tokens(web) else ""


def takes_tokens(web: Web) -> bool:
    """Whether a token may be typed into a page: there is one, and nobody can read it on its way."""
    parts = urlsplit(web.public_url)
    is_safe = parts.scheme == "https" or parts.hostname in LOOPBACK
    return is_safe and any(secret(token.variable) for token in tokens(web))


def is_secret(given: str, expected: str | None) -> bool:
    """Whether somebody knows a secret, in a time that says nothing of it; nobody knows one that is not set."""
    is_it = hmac.compare_digest(_digest(given), _digest(expected or ""))
    return is_it and bool(expected)


def _digest(token: str) -> bytes:
    """Of one length, whatever was given."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def client_address(request: HTTPConnection, web: Web) -> str:
    """The address of whoever made the request: what a trusted proxy says, else whoever is connected."""
    address = request.client.host if request.client else ""
    forwarded = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    while _is_trusted(address, web) and forwarded:
        address = forwarded.pop()
    return address


def _is_trusted(address: str, web: Web) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in ipaddress.ip_network(network) for network in web.trusted_proxies)


def is_here(request: HTTPConnection, web: Web) -> bool:
    """Whether it was made at this machine. What a proxy passes on that nobody has named as trusted was not, nor what a
    trusted one passes on without saying for whom (`X-Forwarded-For`)."""
    peer = request.client.host if request.client else ""
    says_for_whom = _is_trusted(peer, web) and "x-forwarded-for" in request.headers
    if not says_for_whom and any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(client_address(request, web)).is_loopback
    except ValueError:
        return False
