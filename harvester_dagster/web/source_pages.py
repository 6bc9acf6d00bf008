"""The pages of sources: what there is, what the last harvests cost, and asking a server what it offers.

Belongs here: requests, and that one check goes on at a time. Does not belong here: the check itself and its bounds
(`explain/source_check.py`), the configuration's file: a page shows the block, a person writes it.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harvester_dagster.config import Source, source_of
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.explain import source_check, source_costs
from harvester_dagster.explain.source_check import Offer, UnknownKind
from harvester_dagster.explain.source_costs import Cost
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.outside import http
from harvester_dagster.publication import audit
from harvester_dagster.sets import problems
from harvester_dagster.web.page_frame import PageFrame, form_pairs

_HARVESTS = 5
"""Of each set, on the page of its source."""
_PROBLEMS = 10
_LONGEST = 2_000


class SourceLine(NamedTuple):
    """A source and what the newest harvests of its sets cost together. `begun`: how many sets have been harvested."""

    name: str
    source: Source
    begun: int
    requests: int
    bytes: int
    seconds: float
    records: int
    failed: int


class SourcePages:
    """The pages of one installation's sources. `dagster` is where the Dagster UI is."""

    def __init__(self, installation: Installation, dagster: str) -> None:
        self._installation, self._page = installation, PageFrame(installation.config.zone, dagster).page
        self._checking = threading.Lock()

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/sources/", self.sources),
            Route("/sources/check", self.check_typed, methods=["POST"]),
            Route("/source/{name}/", self.source),
            Route("/source/{name}/check", self.check, methods=["POST"]),
        ]

    def sources(self, request: Request) -> Response:
        """Every source that is configured, and a place to type the address of another."""
        config = self._installation.config
        with self._installation.pool.connection() as connection:
            newest = source_costs.costs(connection, 1)
        lines = [_line(name, source, newest) for name, source in config.sources.items()]
        kinds = list(self._installation.catalog.kinds)
        return self._page(request, "sources.html", lines=lines, kinds=kinds, shown=http.shown)

    def source(self, request: Request) -> Response:
        """One source: what the last harvests of its sets cost, and records of theirs that were unreadable or odd."""
        name, source = self._source(request)
        with self._installation.pool.connection() as connection:
            found = source_costs.costs(connection, _HARVESTS, name)
            newest = list({cost.key: cost.attempt_id for cost in reversed(found)}.values())
            odd, counts = problems.of_attempts(connection, newest, _PROBLEMS), problems.counted(connection, newest)
        troubled = [
            (cost.key, counts[cost.attempt_id], odd.get(cost.attempt_id, []))
            for cost in found
            if cost.attempt_id in newest and cost.attempt_id in counts
        ]
        values: dict[str, Any] = {
            "name": name,
            "source": source,
            "costs": found,
            "troubled": troubled,
            "shown": http.shown,
        }
        return self._page(request, "source.html", **values)

    def check(self, request: Request) -> Response:
        """Ask a source that is configured what it offers now."""
        name, source = self._source(request)
        config, kinds = self._installation.config, self._installation.catalog.kinds
        return self._checked(
            request, name, source.url, lambda: source_check.ask_configured(config, kinds, source), source.kind
        )

    async def check_typed(self, request: Request) -> Response:
        """Ask the server at a typed address what it offers."""
        given = {name: text.strip() for name, text in await form_pairs(request, max_fields=5)}
        return await run_in_threadpool(self._check_typed, request, given.get("kind", ""), given.get("url", ""))

    def _check_typed(self, request: Request, kind: str, url: str) -> Response:
        if len(kind) > _LONGEST or len(url) > _LONGEST:
            raise HTTPException(
                400, f"An address of more than {_LONGEST:,} characters is asked from the command line only."
            )
        config, kinds = self._installation.config, self._installation.catalog.kinds
        try:
            settings = source_check.settings_of(kinds, kind, url)
        except (UnknownKind, ConfigError) as error:
            raise HTTPException(400, str(error)) from error
        return self._checked(request, "", url, lambda: source_check.ask_typed(config, kinds, settings), kind)

    def _checked(self, request: Request, name: str, url: str, ask: Callable[[], Offer], kind: str) -> Response:
        """What a server offers, or why it does not say; a second question meanwhile is refused."""
        if not self._checking.acquire(blocking=False):
            raise HTTPException(429, "A server is being asked already, and one at a time is: try again in a minute.")
        pool, clock, shown = self._installation.pool, self._installation.clock, http.shown(url)
        try:
            with audit.trying(pool, "source-check", shown, clock):
                offer = ask()
        except HarvesterError as error:
            values = {"name": name, "url": url, "kind": kind, "offer": None, "failed": error}
            return self._page(request, "source_check.html", 502, **values)
        finally:
            self._checking.release()
        audit.told(pool, "source-check", shown, clock(), "done")
        return self._page(request, "source_check.html", name=name, url=url, kind=kind, offer=offer)

    def _source(self, request: Request) -> tuple[str, Source]:
        name = request.path_params["name"]
        if found := self._installation.config.sources.get(name):
            return name, found
        raise HTTPException(404, f"No source is configured as {name[:100]}")


def _line(name: str, source: Source, newest: Iterable[Cost]) -> SourceLine:
    own: Sequence[Cost] = [cost for cost in newest if source_of(cost.key) == name]
    return SourceLine(
        name,
        source,
        begun=len(own),
        requests=sum(cost.requests or 0 for cost in own),
        bytes=sum(cost.bytes or 0 for cost in own),
        seconds=sum(cost.seconds or 0.0 for cost in own),
        records=sum(cost.records for cost in own),
        failed=sum(cost.state == "failed" for cost in own),
    )
