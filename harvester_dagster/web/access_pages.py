"""The enricher's pages, path by path as its users know them: start, stop, status, log, debug, journals.

Belongs here: requests, status codes, what a page shows. Does not belong here: the answers themselves (`access/`).
An `endpoint` is the name or the URL of one that the installation names; any other is refused with 400.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from harvester_dagster import shown_text
from harvester_dagster.access.runs import access_why, endpoints, journal_store
from harvester_dagster.access.runs import run_rows as runs
from harvester_dagster.access.runs.enricher import Enricher, refresh_journals
from harvester_dagster.access.runs.modes import MODES
from harvester_dagster.access.runs.run_rows import InProgress, RunRow
from harvester_dagster.config import Config
from harvester_dagster.failures import OutsideError
from harvester_dagster.publication import audit
from harvester_dagster.services.launcher import Unavailable
from harvester_dagster.store.database import Pool
from harvester_dagster.web.access_run_pages import shown
from harvester_dagster.web.app import problem, wants_json
from harvester_dagster.web.launching import NotStarted, Runs
from harvester_dagster.web.page_frame import PageFrame, form_pairs

_MESSAGES = 200
_MAX_ID = 500
_INVALID = 200
"""Journals to mend on the page; the command lists all."""


@dataclass(frozen=True)
class AccessPages:
    """The pages and JSON answers of the enricher. `clock` answers in UTC; `dagster` is the address of its UI."""

    config: Config
    pool: Pool
    clock: Callable[[], datetime]
    runs: Runs
    dagster: str = ""

    def routes(self) -> list[Route]:
        """The paths that existing scripts of libraries call."""
        return [
            Route("/harvest/create", self.create, methods=["POST"]),
            Route("/harvest/stop", self.stop, methods=["POST"]),
            Route("/harvest/status", self.status),
            Route("/harvest/status.json", self.status),
            Route("/harvest/log", self.log),
            Route("/debug/article", self.article),
            Route("/cache/update", self.journals),
            Route("/cache/update", self.update_journals, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Start a run of a `mode` at an `endpoint`: 202; 503 while one is in progress, 502 when it could not be
        started. A browser is led to the page of the run: a reload starts nothing again."""
        given = await _given(request)
        mode, endpoint = given.get("mode", ""), given.get("endpoint", "")
        if mode not in MODES:
            return problem(request, 400, f"mode: one of {', '.join(MODES)} is needed")
        name = self._named(endpoint)
        try:
            run = await _in_thread(self.runs.start, name, mode)
        except InProgress:
            return problem(request, 503, "already in progress")
        except NotStarted as error:
            return problem(request, 502, str(error))
        if wants_json(request):
            return JSONResponse({"state": "started", "mode": mode, "endpoint": name}, 202)
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"/access/runs/{run}/", 303)
        return self._frame.page(request, "started.html", 202, mode=mode, endpoint=name, run=run)

    async def stop(self, request: Request) -> Response:
        """Ask the run of an `endpoint`, or without one every run, to stop: 204, whether there was any or not."""
        given = await _given(request)
        endpoint = given.get("endpoint")
        await _in_thread(self.runs.stop, self._named(endpoint) if endpoint else None)
        return Response(status_code=204)

    def status(self, request: Request) -> Response:
        """The run in progress (202), else the newest one (200); a page shows that of each endpoint."""
        run = self._newest()
        code = 202 if run is not None and run.in_progress else 200
        if wants_json(request):
            return JSONResponse(shown(run), code)
        found = {name: shown(self._newest(name)) for name in self.config.metastore}
        return self._frame.page(request, "status.html", code, runs=found, modes=MODES.values())

    def log(self, request: Request) -> Response:
        """The last 200 messages of all runs, as a page, JSON or text."""
        found = runs.messages(self.pool, count=_MESSAGES)
        if wants_json(request):
            plain = [{"at": at.isoformat(), "run": run, "text": text} for at, run, text in found]
            return JSONResponse({"messages": plain})
        if "text/html" not in request.headers.get("accept", "text/html"):
            return PlainTextResponse(
                "".join(f"{self._frame.local(at)} {run} {shown_text.one_line(text)}\n" for at, run, text in found)
            )
        return self._frame.page(request, "log.html", messages=found)

    def article(self, request: Request) -> Response:
        """Why the documents with an `id` (of Solr or of a cluster) may be read by whom; 404 when there is none, 502
        when Solr does not answer."""
        identifier, endpoint = (request.query_params.get(name, "").strip() for name in ("id", "endpoint"))
        names = list(self.config.metastore)
        if not identifier and not endpoint:
            return self._frame.page(request, "article.html", endpoints=names, found=None)
        if not identifier or len(identifier) > _MAX_ID:
            return problem(request, 400, "id: a Solr id or a cluster id is needed")
        with self._opened(endpoint) as job:
            found = access_why.why(job, identifier)
        if wants_json(request):
            return JSONResponse([access_why.as_json(each) for each in found], 200 if found else 404)
        return self._frame.page(
            request,
            "article.html",
            200 if found else 404,
            endpoints=names,
            endpoint=endpoint,
            identifier=identifier,
            found=found,
        )

    def journals(self, request: Request) -> Response:
        """Of each endpoint, how old its copy of the journals is and which of them the library should mend."""
        shelves, now = [], self.clock()
        for name in self.config.metastore:
            age, bad = journal_store.age(self.pool, name, now), journal_store.invalid(self.pool, name, _INVALID)
            shelves.append((name, now - age if age is not None else None, bad))
        return self._frame.page(request, "journals.html", shelves=shelves, most=_INVALID)

    async def update_journals(self, request: Request) -> Response:
        """Read the journals of an `endpoint` now: 201, with counts; 502 when Solr does not answer."""
        given = await _given(request)
        name = self._named(given.get("endpoint", ""))
        read = await _in_thread(self._refresh, name)
        if wants_json(request):
            return JSONResponse(read, 201)
        return self._frame.page(request, "journals_read.html", 201, endpoint=name, read=read)

    def _newest(self, endpoint: str | None = None) -> RunRow | None:
        """The run in progress, else the newest one, of an endpoint or of all."""
        running = runs.in_progress(self.pool, self.clock(), endpoint)
        return running or next(iter(runs.latest(self.pool, endpoint)), None)

    @property
    def _frame(self) -> PageFrame:
        return PageFrame(self.config.zone, self.dagster)

    def _refresh(self, name: str) -> dict[str, int]:
        with self._opened(name) as job:
            read = refresh_journals(job)
            assert read is not None
            audit.told(job.pool, "read journals", name, job.clock(), journals=read.journals)
        return read._asdict()

    def _named(self, endpoint: str) -> str:
        try:
            return endpoints.named(self.config, endpoint)
        except endpoints.UnknownEndpoint as error:
            raise HTTPException(400, str(error)) from None

    def _opened(self, endpoint: str) -> "_Opened":
        return _Opened(self, self._named(endpoint))


class _Opened:
    """An endpoint for one request; what goes wrong there is a 502 with its sentence."""

    def __init__(self, pages: AccessPages, name: str) -> None:
        self._opening = endpoints.opened(pages.config, name, pages.pool, pages.clock)

    def __enter__(self) -> Enricher:
        try:
            return self._opening.__enter__()
        except Unavailable as error:
            raise HTTPException(502, str(error)) from error

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._opening.__exit__(kind, error, trace)
        if isinstance(error, OutsideError):
            raise HTTPException(502, error.sentence) from error


async def _given(request: Request) -> Mapping[str, str]:
    """What a form or a JSON object says; values that are no text count as absent."""
    if "json" in request.headers.get("content-type", ""):
        try:
            found = await request.json()
        except (ValueError, RecursionError):  # deeper than any of ours
            raise HTTPException(400, "the body is not JSON, or nested too deep") from None
        items: list[tuple[str, object]] = list(found.items()) if isinstance(found, dict) else []
    else:
        items = list[tuple[str, object]](await form_pairs(request))
    return {**request.query_params, **{key: value for key, value in items if isinstance(value, str)}}


async def _in_thread(work: Callable[..., Any], *given: Any) -> Any:
    from starlette.concurrency import run_in_threadpool

    return await run_in_threadpool(work, *given)
