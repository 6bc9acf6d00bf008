"""The way to Dagster's UI for whoever has signed in at the pages: middleware before its door.

A page that is asked for without a session, from beyond this machine, leads to the pages, and back with a ticket
(`tickets.py`). Belongs here: who somebody is, as the door sees it. Does not belong here: what they may (`door.py`).
"""

import asyncio
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from harvester_dagster.config import Web
from harvester_dagster.store.database import Pool
from harvester_dagster.web import guard, tickets
from harvester_dagster.web.door import OWN_HEADERS, TOKEN, is_link
from harvester_dagster.web.own_path import own_path
from harvester_dagster.web.sessions import Sessions
from harvester_dagster.web.tickets import Tickets

_BEGUN = "harvester_door_begun"
_BEGUN_LASTS = timedelta(minutes=10)
"""Somebody signs in meanwhile."""
_NOT_KEPT = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", **OWN_HEADERS}


class _Begun(msgspec.Struct, frozen=True):
    """What was asked for in this browser, and what a ticket must fit that comes back."""

    verifier: str
    then: str
    until: int


class DoorLogin:
    """The door `app`, which is told who has signed in. A WebSocket ends with its session, of which the store is
    asked every `looks` seconds."""

    def __init__(self, app: ASGIApp, web: Web, pool: Pool, clock: Callable[[], datetime], *, looks: float = 10) -> None:
        self._app, self._web, self._looks = app, web, looks
        self._sessions = Sessions(web, pool, clock, at_door=True)
        self._tickets = Tickets(web, self._sessions, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on to the door, or lead it to where one signs in."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = await run_in_threadpool(self._answer, scope)
        if answer is not None:
            await answer(scope, receive, send)
        elif scope["type"] == "websocket" and guard.PERSON in scope:
            await self._until_left(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        """None: it is for the door."""
        asked = HTTPConnection(scope)
        if person := self._sessions.actor(asked):
            scope[guard.PERSON] = person
        if not is_link(asked):
            return None
        if scope["path"] == tickets.BACK:
            return self._back(Request(scope))
        is_known = bool(person or guard.holder_in_browser(asked, self._web) or guard.is_here(asked, self._web))
        if scope["path"] == TOKEN:
            return RedirectResponse("/", 303, _NOT_KEPT) if is_known else None
        return None if is_known else self._begin(asked)

    def _begin(self, asked: HTTPConnection) -> Response:
        verifier, cookies = secrets.token_urlsafe(32), self._sessions.cookies
        challenge = tickets.challenge_of(verifier)
        answer = RedirectResponse(
            f"{self._web.public_url}{tickets.ASKED_FOR}?challenge={challenge}", 303, headers=_NOT_KEPT
        )
        cookies.set(answer, _BEGUN, _Begun(verifier, own_path(_path(asked)), cookies.until(_BEGUN_LASTS)))
        return answer

    def _back(self, asked: Request) -> Response:
        """With a ticket: the session begins here, or it is said what to do."""
        cookies = self._sessions.cookies
        begun = cookies.read(asked, _BEGUN, _Begun)
        session = self._tickets.taken(asked.query_params.get("ticket", ""), begun.verifier) if begun else None
        if begun is None or session is None:
            said = f"this way in was not begun in this browser, or is over; open {self._web.dagster_url} again\n"
            return PlainTextResponse(said, 400, _NOT_KEPT)
        answer = RedirectResponse(begun.then, 303, _NOT_KEPT)
        self._sessions.take_up(answer, session)
        cookies.forget(answer, _BEGUN)
        return answer

    async def _until_left(self, scope: Scope, receive: Receive, send: Send) -> None:
        serving = asyncio.ensure_future(self._app(scope, receive, send))
        try:
            while not (await asyncio.wait({serving}, timeout=self._looks))[0]:
                if await run_in_threadpool(self._sessions.actor, HTTPConnection(scope)) is None:
                    serving.cancel()
                    await asyncio.wait({serving})
                    if serving.cancelled():
                        await send({"type": "websocket.close", "code": 1008, "reason": "the session is over"})
                    return
            await serving
        finally:
            serving.cancel()


def _path(asked: HTTPConnection) -> str:
    """As the browser wrote it, with its query."""
    raw: bytes = asked.scope["raw_path"]
    query: bytes = asked.scope["query_string"]
    return (raw + b"?" + query if query else raw).decode("latin-1")
