"""How a run goes that a button has begun, while it goes; then what came of it, and what to do next.

Belongs here: requests, the stream of events that a page listens to (Server-Sent Events), and how often a run is looked
at, however many listen. Without a script a reload shows the same. Does not belong here: runs (`acts.py`).
"""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harvester_dagster.explain import status
from harvester_dagster.explain.status import SetLine
from harvester_dagster.failures import mendable
from harvester_dagster.installation import Installation
from harvester_dagster.sets import sets, versions
from harvester_dagster.sets.sets import UnknownSet
from harvester_dagster.web.acts import Acts, RunSeen
from harvester_dagster.web.page_frame import PageFrame

LOOK_SECONDS = 1.0
LONGEST_SECONDS = 3_600
"""Then a stream ends, and a browser asks for it again by itself."""
SLOWEST_SECONDS = 30
"""In which a browser takes what it is sent."""
MOST_LISTENERS = 100
_OF_SETS = frozenset({"harvest", "look", "accept"})


class RunPages:
    """The pages on which the runs of one installation are followed."""

    def __init__(
        self, installation: Installation, acts: Acts, dagster: str, most_listeners: int = MOST_LISTENERS
    ) -> None:
        self._installation, self._acts, self._most_listeners = installation, acts, most_listeners
        self._frame = PageFrame(installation.config.zone, dagster)
        self._looks = _Looks(acts)
        self._listeners = 0

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [Route("/run/{run_id}/", self.run), Route("/run/{run_id}/events", self.events)]

    def run(self, request: Request) -> Response:
        """How it goes now; once it is over, what came of it and what to do next."""
        seen = self._seen(request)
        values: dict[str, Any] = {"line": None, "hold": None, "version": None}
        if seen.is_over:
            line = self._line(seen)
            with self._installation.pool.connection() as connection:
                current = versions.current(connection)
                version = current.version_id if current else None
                values = {"line": line, "hold": versions.holding(connection), "version": version}
        return self._frame.page(request, "run.html", seen=seen, **values)

    async def events(self, request: Request) -> Response:
        """The same as a stream of JSON, an event for each change, the last when it is over."""
        seen = await run_in_threadpool(self._seen, request)
        if self._listeners >= self._most_listeners:
            raise HTTPException(429, "too many pages listen already: reload this one to see how it goes")
        return EventSourceResponse(self._progress(seen.run_id), send_timeout=SLOWEST_SECONDS)

    async def _progress(self, run_id: str) -> AsyncIterator[ServerSentEvent]:
        self._listeners += 1
        try:
            told, until = None, time.monotonic() + LONGEST_SECONDS
            while time.monotonic() < until:
                seen = await self._looks.look(run_id)
                if seen is not None and seen != told:
                    told = seen
                    yield ServerSentEvent(self._told(seen), event="progress")
                if seen is not None and seen.is_over:
                    return
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._listeners -= 1

    def _told(self, seen: RunSeen) -> str:
        said = [(self._frame.local(line.at), line.text) for line in seen.said]
        return msgspec.json.encode({"state": seen.state, "over": seen.is_over, "said": said}).decode()

    def _seen(self, request: Request) -> RunSeen:
        run_id = request.path_params["run_id"]
        if seen := self._acts.seen(run_id):
            return seen
        raise HTTPException(404, f"Dagster knows no run {run_id[:100]!r}, or no longer")

    def _line(self, seen: RunSeen) -> SetLine | None:
        """How the set stands that the run was for."""
        if seen.act not in _OF_SETS:
            return None
        try:
            with self._installation.pool.connection() as connection:
                state = sets.find(connection, seen.subject)
        except UnknownSet:
            return None
        return status.set_line(self._installation, state)


class _Looks:
    """Looks at each run once a second, however many pages follow it, and one after the other: a store that is slow
    takes no thread from other pages."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="looks")
        self._seen: dict[str, tuple[float, RunSeen | None]] = {}

    async def look(self, run_id: str) -> RunSeen | None:
        """How it goes, or went a moment ago; None: it cannot be seen now."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._look, run_id)

    def _look(self, run_id: str) -> RunSeen | None:
        now = time.monotonic()
        self._seen = {one: found for one, found in self._seen.items() if now - found[0] < LOOK_SECONDS}
        if run_id not in self._seen:
            self._seen[run_id] = now, self._looked(run_id)
        return self._seen[run_id][1]

    def _looked(self, run_id: str) -> RunSeen | None:
        try:
            return self._acts.seen(run_id)
        except Exception as error:
            if mendable(error) is None:
                raise
            return None  # the store is away for a moment
