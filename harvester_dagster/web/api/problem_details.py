"""What went wrong, as RFC 9457 has it (`application/problem+json`): for every failure of the API, by one table.

Belongs here: failures as problems. Does not belong here: finding them.
"""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from psycopg import Error as PostgresError
from psycopg.errors import QueryCanceled
from psycopg_pool import PoolTimeout
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster import shown_text
from harvester_dagster.consumers.snapshots import NoLongerKept, NoSuchVersion, NothingPublished
from harvester_dagster.failures import NO_TEXT, is_no_text, without_secrets

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger(__name__)


class ProblemDetails(BaseModel):
    """The body of every failure."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""


class ApiProblem(Exception):
    """A request that cannot be answered: the status, a title that is the same for its kind, and what to do."""

    def __init__(self, status: int, title: str, detail: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(title)
        self.status, self.title, self.detail, self.headers = status, title, detail, headers or {}


def described(status: int, said: str) -> dict[int | str, dict[str, Any]]:
    """A failure for the description."""
    return {status: {"description": said, "content": {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}}}}


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": said, "content": {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}}}
    for status, said in (
        (400, "A parameter that is unknown or cannot be read"),
        (404, "There is no such document, or no such version"),
        (410, "What was asked for is not kept any more"),
        (417, "Nothing is published yet"),
        (429, "Too many such questions at once"),
        (503, "The store does not answer now"),
    )
}
"""What any path may answer beside its own, for the description."""


def handle(app: FastAPI) -> None:
    """Let every failure of an application be answered with a problem."""
    ours = (ApiProblem, NothingPublished, NoSuchVersion, NoLongerKept)
    for error in (*ours, HTTPException, RequestValidationError, PostgresError, UnicodeEncodeError):
        app.add_exception_handler(error, _answer)
    app.add_exception_handler(PoolTimeout, _answer)
    app.add_exception_handler(Exception, _answer)


def answer(problem: ApiProblem) -> Response:
    """A problem as it is sent."""
    body = {"type": "about:blank", "title": problem.title, "status": problem.status}
    if problem.detail:
        body["detail"] = without_secrets(shown_text.one_line(problem.detail))
    return Response(msgspec.json.encode(body), problem.status, problem.headers, MEDIA_TYPE)


def _answer(request: Request, error: Exception) -> Response:
    return answer(_problem(request, error))


def _problem(request: Request, error: Exception) -> ApiProblem:
    if is_no_text(error):
        return ApiProblem(400, "This cannot be read", NO_TEXT)
    match error:
        case ApiProblem():
            return error
        case NothingPublished():
            return ApiProblem(417, "Nothing is published yet", error.mend or error.sentence)
        case NoSuchVersion():
            return ApiProblem(404, "There is no such version", str(error))
        case NoLongerKept():
            return ApiProblem(410, "Not kept any more", str(error))
        case RequestValidationError():
            return ApiProblem(400, "A parameter cannot be read", _unread(request, error))
        case HTTPException() if error.status_code == 405:
            return ApiProblem(405, error.detail, headers={"Allow": ", ".join(_methods(request))})
        case HTTPException():
            return ApiProblem(error.status_code, error.detail, headers=error.headers)
        case QueryCanceled():
            return ApiProblem(503, "The answer would take too long", "ask for less at once", {"Retry-After": "10"})
        case PoolTimeout() | PostgresError():
            _LOG.error("%s %s", request.method, request.url.path, exc_info=error)
            return ApiProblem(503, "The store does not answer now", headers={"Retry-After": "10"})
    _LOG.exception("%s %s", request.method, request.url.path, exc_info=error)
    return ApiProblem(500, "A mistake in this program", "its log says more")


def _unread(request: Request, error: RequestValidationError) -> str:
    """Which parameters, and what there is instead of an unknown one."""
    said = []
    for each in error.errors():
        name = ".".join(str(part) for part in each["loc"][1:])
        said.append(
            "there is none of this name: " + name if each["type"] == "extra_forbidden" else f"{name}: {each['msg']}"
        )
    known = [parameter["name"] for parameter in _parameters(request)]
    return "; ".join(said) + (f"; known are: {', '.join(known)}" if known else "; it takes none")


def _methods(request: Request) -> list[str]:
    """What a path is described with; the router names those of its first route only."""
    route = request.scope.get("route")
    described: dict[str, Any] = request.app.openapi()["paths"].get(getattr(route, "path_format", ""), {})
    return sorted(method.upper() for method in described)


def _parameters(request: Request) -> list[dict[str, Any]]:
    """The query parameters of a request's path and method, as the description lists them."""
    route = request.scope.get("route")
    described = request.app.openapi()["paths"].get(getattr(route, "path_format", ""), {})
    return [each for each in described.get(request.method.lower(), {}).get("parameters", []) if each["in"] == "query"]
