"""How many dear questions are answered at once: a row for each kind, named at its route. More are answered with 429.

What holds a connection of the reading pool for long leaves some of its eight to everybody else. No statement takes
longer than that pool lets it (`store/database.py`), but for those of an export, which say so themselves. Belongs here:
the numbers, and counting. Does not belong here: what is asked.
"""

import threading
from typing import Any, NamedTuple

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from harvester_dagster.web.api.problem_details import MEDIA_TYPE, ApiProblem, ProblemDetails


class Limit(NamedTuple):
    """A kind of question: how many at once, when to come again (seconds), and by which parameters it is dear (none:
    always)."""

    name: str
    at_once: int
    retry_after: int
    by: tuple[str, ...] = ()

    def counts(self, request: Request) -> bool:
        """Whether a request is such a question."""
        return not self.by or any(name in request.query_params for name in self.by)


EXPORTS = Limit("exports", 2, 30)
MANIFESTS = Limit("manifests of exports", 4, 10)
"""One reads, the others wait for what it finds."""
SITEMAPS = Limit("sitemaps", 2, 5)
DIFFERENCES = Limit("differences of versions", 2, 5)
OLD_VERSIONS = Limit("questions about an earlier version", 3, 2, by=("version", "at"))
WAITERS = Limit("waiting for a promotion", 200, 30)
LONG_POLLS = WAITERS._replace(by=("wait",))
"""Counted together with WAITERS, by its name."""


class Bounds:
    """Counts the questions that one application answers now, by the names of their limits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[str, int] = {}

    def route(self, limit: Limit) -> dict[str, Any]:
        """What a route that keeps to a limit is added with. It counts until its answer has gone out. As a dependency it
        would cost every question, dear or not."""
        bounds = self

        class Limited(APIRoute):
            async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
                if not limit.counts(Request(scope)):
                    await super().handle(scope, receive, send)
                    return
                bounds._enter(limit)
                try:
                    await super().handle(scope, receive, send)
                finally:
                    bounds._leave(limit)

        return {"route_class_override": Limited, "responses": described(limit)}

    def _enter(self, limit: Limit) -> None:
        with self._lock:
            now = self._now.get(limit.name, 0)
            if now >= limit.at_once:
                raise ApiProblem(
                    429,
                    "Too many such questions at once",
                    f"{limit.name}: at most {limit.at_once} at once",
                    {"Retry-After": str(limit.retry_after)},
                )
            self._now[limit.name] = now + 1

    def _leave(self, limit: Limit) -> None:
        with self._lock:
            self._now[limit.name] -= 1


def described(limit: Limit) -> dict[int | str, dict[str, Any]]:
    """What the description says of a limit."""
    when = f" (with {' or '.join(limit.by)})" if limit.by else ""
    return {
        429: {
            "description": f"More than {limit.at_once} {limit.name} at once{when}",
            "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
            "content": {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}},
        }
    }
