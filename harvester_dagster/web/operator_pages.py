"""The pages of the morning: the night, a set, versions, what was done; and the buttons on them.

Belongs here: requests, and which answers of `explain/` a page shows. Does not belong here: any answer, and what a
button's run does. Reading is free; who may press is asked by the guard, and each press is written to the audit.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from harvester_dagster.config import source_of
from harvester_dagster.consumers import changes
from harvester_dagster.consumers.field_differences import DocumentDifference, described
from harvester_dagster.explain import news, night_progress, night_report, status
from harvester_dagster.explain.night_report import Harvest, Usual
from harvester_dagster.explain.status import SetLine
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.page_addresses import set_page
from harvester_dagster.publication import audit, log
from harvester_dagster.releases import nights
from harvester_dagster.sets import attempts, sets, steps, versions
from harvester_dagster.sets.sets import SetState, UnknownSet
from harvester_dagster.web import push_pages, set_plots
from harvester_dagster.web.acts import Acts
from harvester_dagster.web.launching import NotStarted
from harvester_dagster.web.page_frame import PageFrame

_NIGHTS = 14
_HARVESTS = 60
_ROWS = 200
_DIFFERENCES = 20
_KEPT = timedelta(minutes=1)
"""What is usual: an attempt that ended before another may be committed after it."""


class OperatorPages:
    """The pages of one installation. `dagster` is where the Dagster UI is."""

    def __init__(self, installation: Installation, acts: Acts, dagster: str) -> None:
        self._installation, self._acts = installation, acts
        self._page = PageFrame(installation.config.zone, dagster).page
        self._news = (-1, "")
        """What was told of the newest seq: a page that looks again every few seconds does not compare versions."""
        self._usual: tuple[datetime | None, datetime, dict[tuple[str, str], Usual]] | None = None
        """What was usual when an attempt ended last, and when that was read: medians over 18,000 harvests of 300 sets
        take 40 ms."""

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/", self.night),
            Route("/set/{key:path}/", self.set),
            Route("/versions/", self.versions),
            Route("/audit/", self.audit),
            Route("/set/{key:path}/harvest", self.harvest, methods=["POST"]),
            Route("/set/{key:path}/accept", self.accept, methods=["POST"]),
            Route("/set/{key:path}/dismiss", self.dismiss, methods=["POST"]),
            Route("/release", self.release, methods=["POST"]),
            Route("/versions/{version:int}/rollback", self.roll_back, methods=["POST"]),
        ]

    def night(self, request: Request) -> Response:
        """What needs a hand, the last night or the one that goes on, every set beside what is usual, earlier nights."""
        found = status.status(self._installation, brief=True)
        with self._installation.pool.connection() as connection:
            running = nights.open_nights(connection)
            return self._page(
                request,
                "night.html",
                found=found,
                news=self._news_told(connection),
                running=running[-1] if running else None,
                progress=self._progress(connection, running[-1].night_id) if running else [],
                nights=night_report.nights(connection, _NIGHTS),
                marks=marks(self._usually(connection), found.sets),
                troubled=[line for line in found.sets if line.needs_a_hand],
            )

    def set(self, request: Request) -> Response:
        """One set: its harvests, what is usual, a candidate that waits beside what is accepted, and its inbox."""
        state = self._state(request)
        line = status.set_line(self._installation, state)
        if line is None:
            raise HTTPException(404, f"{state.key} is withdrawn")
        with self._installation.pool.connection() as connection:
            back = night_report.harvests(connection, state.set_id, 2 * _HARVESTS)
            usual = night_report.usual(connection, state.set_id)
        harvests, usually = back[:_HARVESTS], night_report.usual_then(back)
        return self._page(
            request,
            "set.html",
            line=line,
            harvests=harvests,
            bars=bars(harvests),
            plots=set_plots.columns(harvests, usually, self._installation.config.timezone),
            usually=usually,
            source=source_of(state.key),
            marks=marks(usual, [line]).get(state.key, []),
            usual=usual.get((state.key, line.mode)),
            waits=line.harvest == "rejected",
            differences=self._candidate(state) if line.harvest == "rejected" else None,
            inbox=push_pages.inbox_of(self._installation, state),
        )

    def versions(self, request: Request) -> Response:
        """Every version that is kept, and going back to one."""
        with self._installation.pool.connection() as connection:
            found, hold = versions.all_versions(connection), versions.hold(connection)
        return self._page(request, "versions.html", versions=found, hold=hold)

    def audit(self, request: Request) -> Response:
        """Who did what, newest first."""
        with self._installation.pool.connection() as connection:
            rows = audit.rows(connection, count=_ROWS)
        return self._page(request, "audit.html", rows=rows)

    async def harvest(self, request: Request) -> Response:
        """Have a set harvested now."""
        key = (await run_in_threadpool(self._state, request)).key
        return await self._begun("harvest", key, lambda: self._acts.harvest(key), request)

    async def accept(self, request: Request) -> Response:
        """Take the candidate of the attempt that was on the page."""
        key = (await run_in_threadpool(self._state, request)).key
        attempt = await _number(request, "attempt")
        return await self._begun("accept", key, lambda: self._acts.accept(key, attempt), request)

    async def dismiss(self, request: Request) -> Response:
        """Lay a candidate aside; at once, for that needs no run."""
        key = (await run_in_threadpool(self._state, request)).key
        try:
            with audit.trying(self._installation.pool, "dismiss", key, self._installation.clock):
                await run_in_threadpool(steps.dismiss, self._installation, key)
        except HarvesterError as error:
            raise HTTPException(409, str(error)) from error
        return RedirectResponse(set_page(key), 303)

    async def release(self, request: Request) -> Response:
        """Have what the sets have accepted promoted."""
        return await self._begun("release", "", self._acts.release, request)

    async def roll_back(self, request: Request) -> Response:
        """Go back to a version; automatic releases are held then."""
        version = request.path_params["version"]
        return await self._begun("rollback", str(version), lambda: self._acts.roll_back(version), request)

    async def _begun(self, act: str, subject: str, begin: Callable[[], str], request: Request) -> Response:
        """A run was asked for: written down, and shown with the way to it. 502 when it could not be begun."""
        pool, clock = self._installation.pool, self._installation.clock
        try:
            with audit.trying(pool, act, subject, clock):
                run_id = await run_in_threadpool(begin)
        except NotStarted as error:
            raise HTTPException(502, str(error)) from error
        await run_in_threadpool(audit.told, pool, act, subject, clock(), run=run_id)
        return self._page(request, "begun.html", 202, act=act, subject=subject, run_id=run_id)

    def _state(self, request: Request) -> SetState:
        with self._installation.pool.connection() as connection:
            try:
                return sets.find(connection, request.path_params["key"])
            except UnknownSet as error:
                raise HTTPException(404, str(error)) from error

    def _candidate(self, state: SetState) -> list[DocumentDifference] | None:
        """What a candidate that stands would change, as far as a page shows; None: it must be staged again first."""
        with self._installation.pool.connection() as connection:
            newest = attempts.last(connection, state.set_id, modes=attempts.PROPOSALS)
            if newest is None or newest.attempt_id != state.staged_attempt:
                return None
            gens = {state.set_id: state.accepted_gen}, {state.set_id: state.candidate_gen}
            found = changes.whole(connection, changes.of_generations(connection, *gens))
            return [described(change) for change, _ in zip(found, range(_DIFFERENCES), strict=False)]

    def _progress(self, connection: Any, night_id: int) -> list[night_progress.ProgressLine]:
        tasks, now = len(self._installation.catalog.tasks), self._installation.clock()
        return night_progress.lines(connection, night_id, tasks, now, self._installation.config.night)

    def _usually(self, connection: Any) -> dict[tuple[str, str], Usual]:
        ended, now = attempts.last_ended(connection), self._installation.clock()
        if self._usual is None or ended != self._usual[0] or now - self._usual[1] >= _KEPT:
            self._usual = ended, now, night_report.usual(connection)
        return self._usual[2]

    def _news_told(self, connection: Any) -> str:
        seq = log.newest(connection)
        if seq != self._news[0]:
            current = versions.current(connection)
            self._news = seq, news.news(connection, self._installation.catalog, current) if current else ""
        return self._news[1]


def marks(usual: Mapping[tuple[str, str], night_report.Usual], lines: Sequence[SetLine]) -> dict[str, list[str]]:
    """What of each set's newest harvest is far off what is usual, by its key."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if (of_set := usual.get((line.key, line.mode))) and line.harvest in ("accepted", "rejected"):
            far_off = (
                night_report.mark("records", line.records, of_set.records, least=20),
                night_report.mark("seconds", line.seconds, of_set.seconds, least=30),
            )
            found[line.key] = [said for said in far_off if said]
    return found


def bars(harvests: list[Harvest]) -> list[tuple[Harvest, int]]:
    """Harvests as bars, oldest first, each with its height in percent of the highest."""
    highest = max((harvest.records for harvest in harvests), default=0) or 1
    return [(harvest, round(100 * harvest.records / highest)) for harvest in reversed(harvests)]


async def _number(request: Request, name: str) -> int:
    async with request.form(max_files=0) as form:
        given = form.get(name)
    if not isinstance(given, str) or not (given.isascii() and given.isdigit()) or len(given) > 18:
        raise HTTPException(400, f"{name}: a number is needed")
    return int(given)
