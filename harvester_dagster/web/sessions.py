"""Sessions: who has signed in, in a cookie that only this installation can have made.

    harvester_session     who it is, until when: of the pages
    harvester_door        the same session, taken along to Dagster's UI (`tickets.py`): of the door before it

Belongs here: what the cookies say and how long, and that a session which was left is over, wherever a cookie of it
is. Does not belong here: how somebody signs in (`login_pages.py`), what a person may (`guard.py` and the configuration:
scopes are looked up at each request).
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
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
from harvester_dagster.web.signed_cookies import SignedCookies

LASTS = timedelta(hours=8)
"""A session, from signing in: it is not prolonged."""
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


class Sessions:
    """The sessions of one installation, as its pages know them, or (`at_door`) the door before Dagster's UI."""

    def __init__(self, web: Web, pool: Pool, clock: Callable[[], datetime], *, at_door: bool = False) -> None:
        self.web, self._pool, self._clock = web, pool, clock
        self.cookies = SignedCookies(web, web.dagster_url if at_door else web.public_url, clock)
        self._name = "harvester_door" if at_door else "harvester_session"

    def begin(self, answer: Response, name: str, values: list[str], token: str = "") -> None:
        """A session of its own, whatever the browser had before; `token`: the secret with which one signed in."""
        proof = self._proof(token) if token else ""
        self.take_up(answer, Session(secrets.token_hex(16), name, values, self.cookies.until(LASTS), proof))

    def take_up(self, answer: Response, session: Session) -> None:
        """The browser that gets this answer has that session, too."""
        self.cookies.set(answer, self._name, session)

    def of(self, request: HTTPConnection) -> Session | None:
        """The session of a request, as long as it lasts and was not left."""
        found = self.cookies.read(request, self._name, Session)
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
        return hmac.new(key_of(self.web).encode(), said, hashlib.sha256).hexdigest()

    def end(self, request: HTTPConnection) -> None:
        """The session of a request is over, in whatever browser a copy of its cookie is."""
        if found := self.cookies.read(request, self._name, Session):
            self.end_once(found.id, found.until)

    def forget(self, answer: Response) -> None:
        """The browser that gets this answer has none."""
        self.cookies.forget(answer, self._name)

    def end_once(self, id: str, until: int) -> bool:
        """What has this id, and would have ended then, is over; whether it was not before."""
        with self._pool.connection(timeout=_STORE_SECONDS) as connection:
            connection.execute("DELETE FROM ended_login WHERE until < %s", (self._clock(),))
            done = connection.execute(
                "INSERT INTO ended_login (session, until) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (id, datetime.fromtimestamp(until, UTC)),
            )
        return done.rowcount == 1

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


def scopes_of(web: Web, values: list[str]) -> frozenset[str]:
    """What values of the claim allow."""
    table: Mapping[str, tuple[str, ...]] = web.login.scopes
    return frozenset(scope for value in values for scope in table.get(value, ()))


class SignedIn:
    """Middleware: whoever has signed in is known to all pages that come after it."""

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
