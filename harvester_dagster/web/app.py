"""The web application: pages and APIs on one port, put together from the routes of each area.

Belongs here: what holds for every request (headers, errors, the guard). Does not belong here: any page's content; an
area is a list of routes (`access.py` is the first).
"""

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

from harvester_dagster.config import Web
from harvester_dagster.web.guard import Guard

_FOLDER = Path(__file__).parent
_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)

templates = Environment(
    loader=FileSystemLoader(_FOLDER / "templates"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    trim_blocks=True,
    lstrip_blocks=True,
)


def create_app(web: Web, routes: Sequence[BaseRoute]) -> Starlette:
    return Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")],
        middleware=[Middleware(_Headers), Middleware(Guard, web=web)],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A page of this application; every value is escaped by the template."""
    text = templates.get_template(template).render(path=request.url.path, **values)
    return HTMLResponse(text, status)


def wants_json(request: Request) -> bool:
    """By the path's ending, else by what the client prefers."""
    accept = request.headers.get("accept", "")
    html = accept.find("text/html")
    return request.url.path.endswith(".json") or ("application/json" in accept and html == -1)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(request, error.status_code, error.detail)


def _failed(request: Request, error: Exception) -> Response:
    return problem(request, 500, f"something went wrong here: {type(error).__name__}")


def problem(request: Request, status: int, message: str) -> Response:
    if wants_json(request):
        return JSONResponse({"error": message}, status)
    return page(request, "problem.html", status, title=str(status), message=message)


class _Headers:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)
