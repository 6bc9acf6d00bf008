"""The web application: pages and APIs on one port, put together from the routes of each area.

Belongs here: what holds for every request (headers, errors, the guard). Does not belong here: any page's content; an
area is a list of routes (`access_pages.py` is the first).
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harvester_dagster import page_addresses
from harvester_dagster.config import Web
from harvester_dagster.web import guard
from harvester_dagster.web.guard import WriteGuard
from harvester_dagster.web.hidden_secret import HiddenSecret
from harvester_dagster.web.sessions import Sessions, SignedIn

_FOLDER = Path(__file__).parent
_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)

MOST_BYTES = 1024 * 1024
"""Of a request's body: what forms and JSON of ours never come near."""

templates = Environment(
    loader=FileSystemLoader(_FOLDER / "templates"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.filters["shell"] = shlex.quote  # a word of a command line that a person may copy
templates.filters["set_page"] = page_addresses.set_page
templates.filters["run_page"] = page_addresses.run_page


def create_app(web: Web, routes: Sequence[BaseRoute], sessions: Sessions | None = None) -> Starlette:
    """The application with these routes, the static files, the headers of every answer that has none of its own, the
    guard of writing requests, and whoever has signed in."""
    made = Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")],
        middleware=[
            Middleware(HiddenSecret),
            Middleware(_Headers),
            *([Middleware(SignedIn, sessions=sessions)] if sessions else []),
            Middleware(WriteGuard, web=web),
            Middleware(_Bounded),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    made.state.web = web
    return made


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A page made from a template; every value is escaped there. It shows the buttons that whoever looks may press."""
    web: Web = request.app.state.web
    person = guard.signed_in(request)
    shown = {"may": guard.may(request, web), "person": person.doer.name if person else "", "login": web.login.issuer}
    asked = request.url
    shown["here"] = (f"{asked.path}?{asked.query}" if asked.query else asked.path) if request.method == "GET" else "/"
    text = templates.get_template(template).render(path=request.url.path, **shown, **values)
    return HTMLResponse(text, status)


def wants_json(request: Request) -> bool:
    """Whether the answer should be JSON: by the path's ending, else by what the client prefers."""
    accept = request.headers.get("accept", "")
    html = accept.find("text/html")
    return request.url.path.endswith(".json") or ("application/json" in accept and html == -1)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(request, error.status_code, error.detail)


def _failed(request: Request, error: Exception) -> Response:
    return problem(request, 500, f"something went wrong here: {type(error).__name__}")


def problem(request: Request, status: int, message: str) -> Response:
    """What went wrong, as JSON or as a page, with that status."""
    if wants_json(request):
        return JSONResponse({"error": message}, status)
    return page(request, "problem.html", status, title=str(status), message=message)


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
