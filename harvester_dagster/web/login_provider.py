"""The provider of OpenID Connect at which people sign in: where it is asked, and what it says of a person, proved.

The authorization code flow with PKCE (RFC 7636), `state` and `nonce`; the ID token is checked as OpenID Connect Core
3.1.3.7 says: signature by the provider's keys, issuer, audience, times, nonce. Signing out there is begun by us where
it announces a way (OpenID Connect RP-Initiated Logout 1.0), by the name of this client: an ID token, as its
`id_token_hint`, would have to be kept, and would tell of a person in an address. Belongs here: calls to the provider,
each through the way out with its bounds. Does not belong here: cookies (`signed_cookies.py`), pages
(`login_pages.py`).
"""

import base64
import hmac
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from authlib.common.errors import AuthlibBaseError
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from harvester_dagster.config import LOOPBACK, Web, secret
from harvester_dagster.failures import HarvesterError, OutsideError, TransientError
from harvester_dagster.outside.http import MIB, Answer, Outside
from harvester_dagster.shown_text import one_line
from harvester_dagster.web.guard import LOGOUT

CALLBACK = "/login/callback"
SKEW_SECONDS = 60
"""By which its clock and ours may differ."""
_MEND = "try again in a while; a token needs no provider"
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures by a key that only the provider has: neither none, nor a secret that is shared."""
_KNOWN_SECONDS = 3600.0
_SECONDS = 5
_WAIT_SECONDS = 2.0
"""For others who ask the provider."""
_AT_ONCE = 4
"""Codes that are shown to the provider: whoever sends one would keep a thread of the pages."""
_AWAY_SECONDS = 5.0
"""So long after it did not answer it is not asked again: whoever asks for a login would keep a thread of the pages.
So long at most it is left alone where it asks for that (`Retry-After`): an answer may ask for a day, and may have been
one to whoever shows codes that are none, or to what else is asked of its host."""
_HELD_SECONDS = math.inf
"""However long its host asked earlier to be left alone, it is asked all the same: once, so that nobody waits."""
_Read = TypeVar("_Read")
_NAME = 100
"""Characters of what a person is called."""


class NotSignedIn(HarvesterError):
    """A person's login came to nothing; the message says why and what to do."""


class LoginAsked(NamedTuple):
    """A login that is begun: where the browser goes, and what is held against what comes back."""

    address: str
    state: str
    nonce: str
    verifier: str


class Person(NamedTuple):
    """Somebody of whom the provider has told. `values`: of the configured claim."""

    name: str
    values: list[str]


class _Known(NamedTuple):
    authorization: str
    token: str
    keys: str
    way_out: str
    until: float


class _Document(msgspec.Struct):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None = None


class _Keys(msgspec.Struct):
    keys: list[dict[str, Any]]


class _Tokens(msgspec.Struct):
    id_token: str
    access_token: str = ""


class Provider:
    """The provider of one installation. What it says of itself is asked once an hour; for a key that is not known it is
    asked again, at most every `keys_again` seconds."""

    def __init__(self, web: Web, outside: Outside, clock: Callable[[], datetime], *, keys_again: float = 30.0) -> None:
        self._login, self._outside, self._clock, self._keys_again = web.login, outside, clock, keys_again
        self._back, self._left = f"{web.public_url}{CALLBACK}", f"{web.public_url}{LOGOUT}"
        self._lock, self._turns = threading.Lock(), threading.BoundedSemaphore(_AT_ONCE)
        self._known: _Known | None = None
        self._away: tuple[float, NotSignedIn] | None = None
        self._keys: KeySet | None = None
        self._keys_at = 0.0

    def asked(self) -> LoginAsked:
        """Begin a login. Raises NotSignedIn."""
        known = self._endpoints()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        address: str = prepare_grant_uri(
            known.authorization,
            self._login.client_id,
            "code",
            self._back,
            "openid profile email",
            state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return LoginAsked(address, state, nonce, verifier)

    def way_out(self) -> str:
        """Where whoever has left us leaves the provider too, and comes back from; empty where it has no such place,
        or does not say."""
        try:
            known = self._endpoints()
        except NotSignedIn:
            return ""
        back = {"client_id": self._login.client_id, "post_logout_redirect_uri": self._left}
        made: str = add_params_to_uri(known.way_out, back) if known.way_out else ""
        return made

    def person(self, code: str, nonce: str, verifier: str) -> Person:
        """Whom a code that came back stands for. Raises NotSignedIn."""
        known = self._endpoints()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._back}
        form |= {"code_verifier": verifier, "client_id": self._login.client_id}
        headers = {"Accept": "application/json", **self._credentials()}
        with self._turn():
            answer = self._call(
                lambda: self._outside.post(
                    known.token,
                    data=form,
                    headers=headers,
                    timeout=_SECONDS,
                    max_bytes=MIB,
                    attempts=1,
                    patience=_HELD_SECONDS,
                )
            )
        tokens = _read(answer.body, _Tokens)
        return self._person(self._claims(known, tokens, nonce))

    def _credentials(self) -> dict[str, str]:
        """As RFC 6749 2.3.1 has them; none for a public client."""
        found = secret(self._login.client_secret_env)
        if not self._login.client_secret_env:
            return {}
        if found is None:
            raise NotSignedIn(f"the variable {self._login.client_secret_env} is not set", "set it, and start anew")
        pair = f"{quote(self._login.client_id, safe='')}:{quote(found, safe='')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def _claims(self, known: _Known, tokens: _Tokens, nonce: str) -> Mapping[str, Any]:
        login = self._login
        try:
            token = self._decoded(known, tokens.id_token)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": login.issuer},
                    "aud": {"essential": True, "value": login.client_id},
                },
                {"client_id": login.client_id, "access_token": tokens.access_token, "nonce": nonce},
            )
            claims.validate(int(self._clock().timestamp()), SKEW_SECONDS)
        except (JoseError, AuthlibBaseError, ValueError, TypeError, KeyError) as error:
            raise _unproved(error) from error
        if not (isinstance(claims.get("nonce"), str) and hmac.compare_digest(claims["nonce"].encode(), nonce.encode())):
            raise _unproved("nonce")
        found: Mapping[str, Any] = claims
        return found

    def _decoded(self, known: _Known, text: str) -> jwt.Token:
        """By the keys that are known; where its key is none of these, by those that the provider has now."""
        registry = JWSRegistry(algorithms=list(_ALGORITHMS), strict_check_header=False)
        try:
            return jwt.decode(text, self._key_set(known), registry=registry)
        except InvalidKeyIdError:
            return jwt.decode(text, self._key_set(known, anew=True), registry=registry)

    def _person(self, claims: Mapping[str, Any]) -> Person:
        subject = str(claims["sub"])
        called = claims.get("preferred_username") or claims.get("email")
        plain = one_line(called if isinstance(called, str) else "")[:_NAME]
        name = f"{plain} ({one_line(subject)[:_NAME]})" if plain else one_line(subject)[:_NAME]
        said = claims.get(self._login.claim, [])
        given = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        values = [value for value in self._login.scopes if value in given]
        if not values:
            raise NotSignedIn(
                f"{name} may nothing here: none of their {self._login.claim} is named in [web.login.scopes]",
                "ask whoever runs this installation",
            )
        return Person(f"person:{name}", values)

    def _endpoints(self) -> _Known:
        with self._alone():
            if self._known is None or self._known.until < time.monotonic():
                self._known = self._discovered()
            return self._known

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """A few at a time. Raises NotSignedIn where no turn comes soon."""
        if not self._turns.acquire(timeout=_WAIT_SECONDS):
            raise NotSignedIn("many sign in just now", _MEND)
        try:
            yield
        finally:
            self._turns.release()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time asks the provider what it says of itself. Raises NotSignedIn where that takes too long, and for
        a while after it was away."""
        if not self._lock.acquire(timeout=_WAIT_SECONDS):
            raise NotSignedIn("the login provider is slow to answer", _MEND)
        try:
            if self._away and time.monotonic() < self._away[0]:
                raise NotSignedIn(*self._away[1].args)
            self._away = None
            yield
        except NotSignedIn as error:
            self._away = self._away or (time.monotonic() + _AWAY_SECONDS, error)
            raise
        finally:
            self._lock.release()

    def _discovered(self) -> _Known:
        issuer = self._login.issuer
        said = self._got(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        found = _read(said.body, _Document)
        if found.issuer != issuer:
            raise NotSignedIn(
                f"the login provider calls itself {one_line(found.issuer)[:200]}, not {issuer}",
                "write issuer of [web.login] exactly as the provider does",
            )
        way_out = found.end_session_endpoint or ""
        called = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri)
        for url in (*called, way_out) if way_out else called:
            parts = urlsplit(url)
            if parts.scheme != "https" and parts.hostname not in LOOPBACK:
                raise NotSignedIn(f"the login provider names an address without https: {one_line(url)[:200]}")
        until = time.monotonic() + _KNOWN_SECONDS
        return _Known(*called, way_out, until)

    def _key_set(self, known: _Known, *, anew: bool = False) -> KeySet:
        with self._alone():
            age = time.monotonic() - self._keys_at
            if self._keys is None or age > _KNOWN_SECONDS or (anew and age >= self._keys_again):
                said = self._got(known.keys)
                self._keys = KeySet.import_key_set({"keys": _read(said.body, _Keys).keys})
                self._keys_at = time.monotonic()
            return self._keys

    def _got(self, url: str) -> Answer:
        return self._call(
            lambda: self._outside.get(
                url,
                max_bytes=MIB,
                timeout=_SECONDS,
                attempts=1,
                patience=_HELD_SECONDS,
                follows=lambda _url: False,
            )
        )

    def _call(self, ask: Callable[[], Answer]) -> Answer:
        try:
            return ask()
        except OutsideError as error:
            provider = f"the login provider {urlsplit(self._login.issuer).hostname}"
            seconds = (error.retry_after or 0.0) if isinstance(error, TransientError) else 0.0
            if not seconds:
                raise NotSignedIn(f"{provider} did not answer as it should: {error.sentence}", _MEND) from error
            told = NotSignedIn(f"{provider} asks to be left alone for {seconds:.0f} seconds", _MEND)
            self._away = time.monotonic() + min(seconds, _AWAY_SECONDS), told
            raise told from error


def _read(body: bytes, kind: type[_Read]) -> _Read:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotSignedIn(
            f"the login provider did not answer as it should: {one_line(str(error))[:200]}",
            _MEND,
        ) from error


def _unproved(error: object) -> NotSignedIn:
    said = one_line(str(error))[:200] or type(error).__name__
    return NotSignedIn(f"what the login provider says of you is not proved: {said}", "sign in again")
