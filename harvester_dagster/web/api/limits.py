"""How many dear questions are answered at once: a row for each kind, named at its route. More are answered with 429.

What holds a connection of the reading pool for long leaves some of its eight to everybody else. No statement takes
longer than that pool lets it (`store/database.py`), but for those of an export, which say so themselves. Belongs here:
the numbers, and counting. Does not belong here: what is asked.
"""

import threading
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from fastapi import Depends
from starlette.requests import Request

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

    def within(self, limit: Limit) -> Any:
        """The dependency of a route that keeps to a limit, until its answer has gone out."""

        async def bounded(request: Request) -> AsyncIterator[None]:
            if not limit.counts(request):
                yield
                return
            self._enter(limit)
            try:
                yield
            finally:
                self._leave(limit)

        return Depends(bounded)

    def route(self, *limits: Limit) -> dict[str, Any]:
        """What a route that keeps to limits is added with."""
        responses = {status: said for limit in limits for status, said in described(limit).items()}
        return {"dependencies": [self.within(limit) for limit in limits], "responses": responses}

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
