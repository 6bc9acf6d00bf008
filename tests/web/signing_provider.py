"""A provider of OpenID Connect, as small as can be: somebody else's system, which tests have lie as they need."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.served import served

CLIENT, SECRET = "harvester", "s3cret é"
KEY = RSAKey.generate_key(2048, {"kid": "one"})
OTHER = RSAKey.generate_key(2048, {"kid": "one"})
"""Another key under the same name."""
UNKNOWN = RSAKey.generate_key(2048, {"kid": "two"})


@dataclass
class SigningProvider:
    """What it says of the person who signs in. `claims` take the place of its own, or (None) leave them out."""

    clock: Callable[[], datetime]
    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    token: Callable[[dict[str, Any]], str] | None = None
    """How the claims become a token; None: signed with its key."""
    keys: list[RSAKey] = field(default_factory=lambda: [KEY])
    is_away: bool = False
    asks_for: int = 0
    """Seconds for which it wants to be left alone, whatever it is asked."""
    held: threading.Event | None = None
    """Codes are answered when it is set."""
    shown: list[str] = field(default_factory=list)
    """The codes that came."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    left: list[dict[str, str]] = field(default_factory=list)
    """What came with those who wanted to leave: at `/leave`, which it announces where `document` says so."""

    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/openid-configuration", self.described),
            Route("/authorize", self.authorize),
            Route("/token", self.exchange, methods=["POST"]),
            Route("/keys", self.published),
            Route("/leave", self.leave),
        ]

    def described(self, _request: Request) -> Response:
        if self.is_away:
            return Response(status_code=404)
        if self.asks_for:
            return self._busy()
        own = {"issuer": self.url, "jwks_uri": f"{self.url}/keys", "token_endpoint": f"{self.url}/token"}
        return JSONResponse({**own, "authorization_endpoint": f"{self.url}/authorize", **self.document})

    def authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert (asked["response_type"], asked["client_id"], asked["code_challenge_method"]) == ("code", CLIENT, "S256")
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        back = f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(f"<p>Who are you?</p><a href='{back}'>I am Anna</a>")
        return RedirectResponse(back, 303)

    def leave(self, request: Request) -> Response:
        self.left.append(dict(request.query_params))
        return HTMLResponse(f"<p>Leave?</p><a href='{self.left[-1]['post_logout_redirect_uri']}'>I leave</a>")

    def _busy(self) -> Response:
        return Response(status_code=429, headers={"Retry-After": str(self.asks_for)})

    async def exchange(self, request: Request) -> Response:
        async with request.form() as form:
            given = {name: str(value) for name, value in form.items()}
        self.shown.append(given["code"])
        if self.held:
            await run_in_threadpool(self.held.wait, 60)
        if self.asks_for:
            return self._busy()
        asked = self.codes.pop(given["code"], None)
        pair = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(given["code_verifier"].encode()).digest()).rstrip(b"=")
        if asked is None or challenge.decode() != asked["code_challenge"] or pair != f"{CLIENT}:s3cret%20%C3%A9":
            return JSONResponse({"error": "invalid_grant"}, 400)
        assert given["redirect_uri"] == asked["redirect_uri"]
        now = int(self.clock().timestamp())
        said = {"iss": self.url, "aud": CLIENT, "sub": "u-1", "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        said |= {"preferred_username": "anna", "groups": ["operators", "others"], **self.claims}
        said = {name: value for name, value in said.items() if value is not None}
        return JSONResponse({"id_token": (self.token or signed)(said), "token_type": "Bearer", "access_token": "a"})

    def published(self, _request: Request) -> Response:
        return JSONResponse({"keys": [key.as_dict(private=False) for key in self.keys]})


def signed(claims: dict[str, Any], key: RSAKey = KEY) -> str:
    return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)


def by_another_key(claims: dict[str, Any]) -> str:
    return signed(claims, OTHER)


def by_an_unknown_key(claims: dict[str, Any]) -> str:
    return signed(claims, UNKNOWN)


def unsigned(claims: dict[str, Any]) -> str:
    parts = [_packed(json.dumps(part).encode()) for part in ({"alg": "none", "kid": "one"}, claims)]
    return ".".join([*parts, ""])


def by_the_public_key_as_a_secret(claims: dict[str, Any]) -> str:
    parts = [_packed(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "one"}, claims)]
    mark = hmac.digest(KEY.as_pem(private=False), ".".join(parts).encode(), "sha256")
    return ".".join([*parts, _packed(mark)])


def altered(claims: dict[str, Any]) -> str:
    head, _, mark = signed(claims).split(".")
    body = json.dumps({**claims, "groups": ["operators"], "sub": "boss"}).encode()
    return f"{head}.{_packed(body)}.{mark}"


def _packed(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


@contextmanager
def signing(clock: Callable[[], datetime]) -> Iterator[SigningProvider]:
    """It listens while the block lasts."""
    provider = SigningProvider(clock)
    with served(Starlette(routes=provider.routes())) as url:
        provider.url = url
        yield provider
