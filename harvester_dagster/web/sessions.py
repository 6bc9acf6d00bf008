"""Sessions: who has signed in, in a cookie that only this installation can have made.

    harvester_session     who it is, until when; `__Host-` before its name where browsers come by https
    harvester_login       what a login that has begun is held to when it comes back; a few minutes

Belongs here: what the cookies say and how long, and that a session which was left is over. Does not belong here: how
somebody signs in (`login_pages.py`), what a person may (`guard.py` and the configuration: scopes are looked up at each
request).
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from itsdangerous import BadSignature, URLSafeSerializer
from psycopg import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from harvester_dagster.config import Web, secret
from harvester_dagster.publication.audit import Doer
from harvester_dagster.store.database import Pool
from harvester_dagster.web import guard
from harvester_dagster.web.api.cursors import key_of
from harvester_dagster.web.guard import Actor

LASTS = timedelta(hours=8)
"""A session, from signing in: it is not prolonged."""
BEGUN_LASTS = timedelta(minutes=10)
_LONGEST = 4_000
"""Characters of a cookie."""
_STORE_SECONDS = 2.0
"""For the store to say whether a session was left: each request of a browser asks."""
_NO_PAGES = ("/static/", guard.API, guard.WEBHOOK)
"""Where a session is nothing."""


class Session(msgspec.Struct, frozen=True):
    """Somebody who has signed in. `values`: of the claim, those to which the configuration gave something then;
    `proof`: of who holds a token, that they knew its secret."""

    id: str
    name: str
    values: list[str]
    until: int
    proof: str = ""


class BegunLogin(msgspec.Struct, frozen=True):
    """A login that was begun in a browser: what must come back with it, and where it leads then."""

    state: str
    nonce: str
    verifier: str
    then: str
    until: int


_Cookie = TypeVar("_Cookie", Session, BegunLogin)


class Sessions:
    """The sessions of one installation."""

    def __init__(self, web: Web, pool: Pool, clock: Callable[[], datetime]) -> None:
        self.web, self._pool, self._clock, self._key = web, pool, clock, key_of(web)
        self._secure = urlsplit(web.public_url).scheme == "https"
        self._place = _digest(web.public_url, web.login.issuer, web.login.client_id, web.login.claim)
        self._session = "__Host-harvester_session" if self._secure else "harvester_session"
        self._login = "__Secure-harvester_login" if self._secure else "harvester_login"

    def begin(self, answer: Response, name: str, values: list[str], token: str = "") -> None:
        """A session of its own, whatever the browser had before; `token`: the secret with which one signed in."""
        proof = self._proof(token) if token else ""
        made = Session(secrets.token_hex(16), name, values, self._until(LASTS), proof)
        self._set(answer, self._session, made, LASTS, "/")
        self._forget(answer, self._login, "/login")

    def of(self, request: HTTPConnection) -> Session | None:
        """The session of a request, as long as it lasts and was not left."""
        found = self._read(request, self._session, Session)
        return None if found is None or self._is_ended(found) else found

    def actor(self, request: HTTPConnection) -> Actor | None:
        """Who has signed in there, with what the configuration gives them now."""
        found = self.of(request)
        if found is None:
            return None
        scopes = self._scopes_of_token(found) if found.proof else scopes_of(self.web, found.values)
        return None if scopes is None else Actor(Doer(found.name, guard.client_address(request, self.web)), scopes)

    def _scopes_of_token(self, session: Session) -> frozenset[str] | None:
        """What the token gives now; None: there is none of that name, or it has another secret since."""
        for name, variable, scopes in guard.tokens(self.web):
            if name == session.name and (known := secret(variable)):
                return scopes if hmac.compare_digest(session.proof, self._proof(known)) else None
        return None

    def _proof(self, token: str) -> str:
        """What nobody can make, or guess a token by, without the key of this installation."""
        said = b"token " + token.encode(errors="surrogateescape")
        return hmac.new(self._key.encode(), said, hashlib.sha256).hexdigest()

    def end(self, request: HTTPConnection, answer: Response) -> None:
        """The session of a request is over, in whatever browser a copy of its cookie is."""
        if found := self._read(request, self._session, Session):
            with self._pool.connection() as connection:
                connection.execute("DELETE FROM ended_login WHERE until < %s", (self._clock(),))
                connection.execute(
                    "INSERT INTO ended_login (session, until) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                    (found.id, datetime.fromtimestamp(found.until, UTC)),
                )
        self._forget(answer, self._session, "/")

    def begin_login(self, answer: Response, state: str, nonce: str, verifier: str, then: str) -> None:
        """Remember, in this browser alone, what its login is held to."""
        begun = BegunLogin(state, nonce, verifier, then, self._until(BEGUN_LASTS))
        self._set(answer, self._login, begun, BEGUN_LASTS, "/login")

    def begun_login(self, request: HTTPConnection) -> BegunLogin | None:
        """The login that was begun in this browser not long ago."""
        return self._read(request, self._login, BegunLogin)

    def forget_login(self, answer: Response) -> None:
        """It has come back: a second time it does not."""
        self._forget(answer, self._login, "/login")

    def _is_ended(self, session: Session) -> bool:
        """Whether it was left; where the store is away nobody knows, and it is not taken."""
        try:
            with self._pool.connection(timeout=_STORE_SECONDS) as connection:
                row = connection.execute(
                    "SELECT EXISTS (SELECT FROM ended_login WHERE session = %s)", (session.id,)
                ).fetchone()
        except OperationalError:  # the pool's own timeout is one
            return True
        return row == (True,)

    def _until(self, lasts: timedelta) -> int:
        return int((self._clock() + lasts).timestamp())

    def _read(self, request: HTTPConnection, name: str, kind: type[_Cookie]) -> _Cookie | None:
        try:
            said = self._serializer(name).loads(request.cookies.get(name, "")[:_LONGEST])
            found = msgspec.convert(said, kind)
        except (BadSignature, msgspec.ValidationError):
            return None
        return found if self._clock().timestamp() < found.until else None

    def _set(self, answer: Response, name: str, said: Any, lasts: timedelta, path: str) -> None:
        text = self._serializer(name).dumps(msgspec.to_builtins(said))
        assert isinstance(text, str)
        answer.set_cookie(
            name, text, round(lasts.total_seconds()), path=path, secure=self._secure, httponly=True, samesite="lax"
        )

    def _forget(self, answer: Response, name: str, path: str) -> None:
        answer.delete_cookie(name, path, secure=self._secure, httponly=True, samesite="lax")

    def _serializer(self, name: str) -> URLSafeSerializer:
        return URLSafeSerializer(self._key, salt=f"cookie {name} {self._place}")


def _digest(*said: str) -> str:
    """Of whom a cookie was made for and by whose word: another installation may have the same key."""
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def scopes_of(web: Web, values: list[str]) -> frozenset[str]:
    """What values of the claim allow."""
    table: Mapping[str, tuple[str, ...]] = web.login.scopes
    return frozenset(scope for value in values for scope in table.get(value, ()))


class SignedIn:
    """Middleware: whoever has signed in is known to all that comes after it."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        is_page = scope["type"] == "http" and not scope["path"].startswith(_NO_PAGES)
        if is_page and any(name == b"cookie" for name, _ in scope["headers"]):
            actor = await run_in_threadpool(self._sessions.actor, HTTPConnection(scope))
            if actor is not None:
                scope[guard.PERSON] = actor
        await self._app(scope, receive, send)
