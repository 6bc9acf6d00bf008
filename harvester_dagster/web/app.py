"""The web application: pages and APIs on one port, put together from the routes of each area.

Belongs here: what holds for every request (headers, the guard, how it is told what went wrong). Does not belong here:
any page's content; an area is a list of routes (`access_pages.py` is the first).
"""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harvester_dagster import shown_text
from harvester_dagster.config import Web
from harvester_dagster.failures import NO_TEXT, HarvesterError, OutsideError, StorageError, is_no_text, mendable
from harvester_dagster.services.launcher import Unavailable
from harvester_dagster.store.locks import Busy
from harvester_dagster.web.api import problem_details
from harvester_dagster.web.api.problem_details import ApiProblem
from harvester_dagster.web.guard import API, WEBHOOK, WriteGuard, no_name
from harvester_dagster.web.hidden_secret import HiddenSecret
from harvester_dagster.web.page_frame import FOLDER, PageFrame
from harvester_dagster.web.sessions import Sessions, SignedIn

_LOG = logging.getLogger(__name__)
_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)

MOST_BYTES = 1024 * 1024
"""Of a request's body: what forms and JSON of ours never come near."""
NO_FRAME = PageFrame(ZoneInfo("UTC"), "")
"""Of an application that has no installation."""

_STATUS: Sequence[tuple[type[Exception], int]] = (
    (Busy, 409),
    (StorageError, 503),
    (OutsideError, 502),
    (Unavailable, 502),
    (HarvesterError, 500),
    (Exception, 503),  # the store or a disk: what `failures.mendable` knows
)
"""Of what a person can mend: the first that fits."""
_TITLES = {
    400: "This cannot be read",
    403: "This is not allowed",
    404: "There is no such page",
    405: "This cannot be asked so",
    409: "Not as things stand",
    413: "This is too long",
    429: "Not so often",
    500: "Something went wrong here",
    502: "Somebody else does not answer",
    503: "Not now",
}


def create_app(
    web: Web, routes: Sequence[BaseRoute], sessions: Sessions | None = None, frame: PageFrame = NO_FRAME
) -> Starlette:
    """The application with these routes, the static files, the headers of every answer that has none of its own, the
    guard of writing requests, and whoever has signed in. Pages that tell what went wrong have the `frame`."""
    made = Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")],
        middleware=[
            Middleware(HiddenSecret),
            Middleware(_Headers),
            Middleware(_AsWritten),
            Middleware(_Told),
            Middleware(_Readable),
            *([Middleware(SignedIn, sessions=sessions)] if sessions else []),
            Middleware(WriteGuard, web=web),
            Middleware(_Bounded),
        ],
        exception_handlers={HTTPException: _answer},
    )
    made.state.web, made.state.frame = web, frame
    return made


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A page in the frame of the application, for what has none of its own."""
    frame: PageFrame = request.app.state.frame
    return frame.page(request, template, status, **values)


def wants_json(request: Request) -> bool:
    """Whether the answer should be JSON: by the path, else by what the client prefers."""
    path, accept = request.url.path, request.headers.get("accept", "")
    html = accept.find("text/html")
    return path.startswith(WEBHOOK) or path.endswith(".json") or ("application/json" in accept and html == -1)


def problem(request: Request, status: int, message: str, mend: str = "") -> Response:
    """What went wrong, with that status: as the API tells it (RFC 9457), as JSON, or as a page that says what mends
    it."""
    title, whole = _TITLES.get(status, _TITLES[500]), f"{message}; {mend}" if mend else message
    if request.url.path.startswith(API):
        return problem_details.answer(ApiProblem(status, HTTPStatus(status).phrase, whole))
    if wants_json(request):
        return JSONResponse({"error": whole}, status)
    return page(request, "problem.html", status, title=title, code=status, message=message, mend=mend)


def _answer(request: Request, error: Exception) -> Response:
    """What is told of whatever went wrong; what nobody foresaw is told to the log."""
    if isinstance(error, HTTPException):
        answer = problem(request, error.status_code, _sentence(request, error))
        answer.headers.update(error.headers or {})  # a 405 says what is allowed
        return answer
    if is_no_text(error):
        return problem(request, 400, NO_TEXT)
    found = mendable(error)
    if not isinstance(error, HarvesterError):
        _LOG.error("%s %s", request.method, request.url.path, exc_info=error)
    if found is None:
        return problem(request, 500, "That is a mistake in this program", "its log says more; the other pages work")
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    answer = problem(request, status, found.sentence, found.mend)
    if status == 503:
        answer.headers["Retry-After"] = "10"
    return answer


def _sentence(request: Request, error: HTTPException) -> str:
    """What was raised with it; what the router says of its own is said in words."""
    path = shown_text.one_line(request.url.path[:200])
    said = {"Not Found": f"Nothing is at {path}", "Method Not Allowed": f"{path} does not take {request.method}"}
    return said.get(error.detail, error.detail)


class _Headers:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", [])
                named = {name.lower() for name, _ in own}
                message["headers"] = [*own, *(header for header in _HEADERS if header[0] not in named)]
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)


class _AsWritten:
    """The router's own redirect, to a slash more or less, keeps the address as it was written: made of the decoded one,
    a `%3F` in it would begin a query, and another page would be asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            raw = scope.get("raw_path", b"")
            if message.get("status") == 307 and raw and scope["path"].endswith("/") == raw.endswith(b"/"):
                query = b"?" + scope["query_string"] if scope["query_string"] else b""
                address = raw.rstrip(b"/") if raw.endswith(b"/") else raw + b"/"
                MutableHeaders(scope=message)["location"] = (b"/" + address.lstrip(b"/") + query).decode("latin-1")
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)


class _Told:
    """Whatever goes wrong further in, the guard's refusals too, is an answer of ours, unless one has begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        application, has_begun = scope["app"], False

        async def sent(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except ClientDisconnect:
            return  # nobody is there to be told
        except Exception as error:
            if has_begun:
                raise
            scope["app"] = application  # one that is mounted has put itself there
            await _answer(Request(scope), error)(scope, receive, send)


class _Readable:
    """What nobody can have meant is not passed on: a Host that is no name, a path that holds U+0000, as no file's name
    and no text of the store does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if reason := no_name(Request(scope)):
                scope["headers"] = [header for header in scope["headers"] if header[0] != b"host"]  # we read it too
                raise HTTPException(400, reason)
            if "\0" in scope["path"]:
                raise HTTPException(404, "Not Found")
        await self._app(scope, receive, send)


class _Bounded:
    """A body of more than MOST_BYTES is answered with 413 and not read to its end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        async def received() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MOST_BYTES:
                raise HTTPException(413, f"the body is longer than {MOST_BYTES:,} bytes")
            return message

        await self._app(scope, received if scope["type"] == "http" else receive, send)
