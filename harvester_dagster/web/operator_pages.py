"""The pages of the morning: the night, a set, what was done.

Belongs here: requests, and which answers of `explain/` a page shows. Does not belong here: any answer, and the buttons
on these pages (`operator_acts.py`).
"""

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg.errors import QueryCanceled
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harvester_dagster.config import source_of
from harvester_dagster.consumers.field_differences import DocumentDifference
from harvester_dagster.consumers.version_differences import samples
from harvester_dagster.explain import news, night_progress, night_report, status
from harvester_dagster.explain.night_report import Harvest, Usual, changes_of
from harvester_dagster.explain.status import SetLine
from harvester_dagster.installation import Installation
from harvester_dagster.page_addresses import subject_page
from harvester_dagster.publication import audit
from harvester_dagster.releases import missing_nights, nights
from harvester_dagster.sets import attempts, differences, looked_at, sets, versions
from harvester_dagster.sets.candidate_figures import Figures
from harvester_dagster.sets.sets import SetState, UnknownSet
from harvester_dagster.sets.versions import NotPromotable
from harvester_dagster.web import push_pages, set_plots
from harvester_dagster.web.acts import Acts
from harvester_dagster.web.operator_acts import OperatorActs
from harvester_dagster.web.page_frame import PageFrame, asked_number
from harvester_dagster.web.run_pages import RunPages

_NIGHTS = 14
_HARVESTS = 60
_NIGHTS_A_PAGE = 50
_ROWS = 200
_FILTERS = ("actor", "act", "subject", "outcome")
_LONGEST = 500
"""Characters of a filter."""
_DIFFERENCES = 20
_STAGED = ("accepted", "rejected", "superseded", "dismissed")
"""States of harvests that have all their records."""
_KEPT = timedelta(minutes=1)
"""What is usual: an attempt that ended before another may be committed after it."""


class OperatorPages:
    """The pages of one installation. `dagster` is where the Dagster UI is."""

    def __init__(self, installation: Installation, acts: Acts, dagster: str) -> None:
        self._installation, self._acts, self._dagster = installation, acts, dagster
        self._since = installation.clock()
        self._page = PageFrame(installation.config.zone, dagster).page
        self._news: tuple[Any, str] = None, ""
        """What was told of the newest release: a page that looks again every few seconds does not compare versions."""
        self._usual: tuple[datetime | None, datetime, dict[tuple[str, str], Usual]] | None = None
        """What was usual when an attempt ended last, and when that was read: medians over 18,000 harvests of 300 sets
        take 40 ms."""

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/", self.night),
            Route("/set/{key:path}/", self.set),
            Route("/night/{night:number}/", self.one_night),
            Route("/nights/", self.nights),
            Route("/audit/", self.audit),
            *OperatorActs(self._installation, self._acts).routes(),
            *RunPages(self._installation, self._acts, self._dagster).routes(),
        ]

    def night(self, request: Request) -> Response:
        """What needs a hand, the last night or the one that goes on, every set beside what is usual, earlier nights."""
        found = status.status(self._installation, brief=True)
        with self._installation.pool.connection() as connection:
            running = nights.open_nights(connection)
            usual = self._usually(connection)
            return self._page(
                request,
                "night.html",
                found=found,
                news=self._news_told(connection),
                running=running[-1] if running else None,
                waiting=[] if running else [line for line in found.sets if line.is_ahead],
                open_nights=running,
                progress=self._progress(connection, running[-1].night_id) if running else [],
                nights=night_report.nights(connection, _NIGHTS),
                missing=missing_nights.missing(self._installation, connection, self._since),
                failed=nights.failed_release(connection),
                earlier=_earlier(connection),
                hold=versions.holding(connection),
                marks=marks(usual, found.sets),
                usual=usual,
                troubled=[line for line in found.sets if line.needs_a_hand],
            )

    def set(self, request: Request) -> Response:
        """One set: its harvests, what is usual, a candidate that waits beside what is accepted, and its inbox."""
        state = self._state(request)
        line = status.set_line(self._installation, state)
        if line is None:
            raise HTTPException(404, f"{state.key} is withdrawn")
        with self._installation.pool.connection() as connection:
            back = night_report.harvests(connection, state.set_id, _HARVESTS + night_report.LOOKED_BACK)
            hold = versions.holding(connection)
        harvests, usually = back[:_HARVESTS], night_report.usual_then(back)
        usual = usually[0] if usually else None
        return self._page(
            request,
            "set.html",
            line=line,
            harvests=harvests,
            bars=bars(harvests),
            plots=set_plots.columns(harvests, usually, self._installation.config.timezone),
            usually=usually,
            far_off=[*map(_far_off, harvests, usually)],
            source=source_of(state.key),
            marks=marks({(state.key, line.mode): usual} if usual else {}, [line]).get(state.key, []),
            usual=usual,
            hold=hold,
            looked=self._candidate(state, line.waits.attempt) if line.waits else None,
            inbox=push_pages.inbox_of(self._installation, state),
        )

    def one_night(self, request: Request) -> Response:
        """What came of each set of one night."""
        number = request.path_params["night"]
        with self._installation.pool.connection() as connection:
            found = night_report.one_night(connection, number)
            if found is None:
                raise HTTPException(404, f"there is no night {number}, or it is not kept any more")
            sets_of = night_report.sets_of(connection, found.night_id)
        return self._page(request, "one_night.html", night=found, sets=sets_of)

    def nights(self, request: Request) -> Response:
        """Earlier nights, so many a page."""
        with self._installation.pool.connection() as connection:
            found = night_report.nights(connection, _NIGHTS_A_PAGE + 1, asked_number(request, "before"))
        older = found[_NIGHTS_A_PAGE - 1].night_id if len(found) > _NIGHTS_A_PAGE else None
        return self._page(request, "nights.html", nights=found[:_NIGHTS_A_PAGE], older=older)

    def audit(self, request: Request) -> Response:
        """Who did what, newest first, so many a page; what equals the filters that are given."""
        actor, act, subject, outcome = (request.query_params.get(name, "")[:_LONGEST] for name in _FILTERS)
        before = asked_number(request, "before")
        with self._installation.pool.connection() as connection:
            rows = audit.rows(
                connection, actor=actor, act=act, subject=subject, outcome=outcome, before=before, count=_ROWS + 1
            )
            known = {"act": audit.acts(connection), "outcome": audit.OUTCOMES}
            keys = {state.key for state in sets.all_sets(connection)}
        filters = dict(zip(_FILTERS, (actor, act, subject, outcome), strict=True))
        older = rows[_ROWS - 1].audit_id if len(rows) > _ROWS else None
        values: dict[str, Any] = {"filters": filters, "older": older, "is_first": before is None, "known": known}
        values["page_of"] = lambda row: subject_page(row.act, row.subject, keys)
        values["command"] = shlex.join(["harvester", "audit", *_options(filters)])
        return self._page(request, "audit.html", rows=rows[:_ROWS], **values)

    def _state(self, request: Request) -> SetState:
        with self._installation.pool.connection() as connection:
            try:
                return sets.find(connection, request.path_params["key"])
            except UnknownSet as error:
                raise HTTPException(404, str(error)) from error

    def _candidate(self, state: SetState, attempt_id: int) -> "ShownCandidate | None":
        """What a candidate that stands would change, as far as a page shows; None: it must be staged again first."""
        with self._installation.reading.connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # samples of what is counted
            state = sets.by_id(connection, state.set_id)
            if state.staged_attempt != attempt_id:
                return None
            gens, attempt = looked_at.generations(state), attempts.by_id(connection, attempt_id)
            try:
                differs = differences.counted(connection, *gens, _DIFFERENCES)
                figures = looked_at.figures_of(connection, state, attempt, differs)
                found = samples(connection, *gens, differs, _DIFFERENCES)
            except QueryCanceled:
                return ShownCandidate(None, [])
            return ShownCandidate(figures, found)

    def _progress(self, connection: Any, night_id: int) -> list[night_progress.ProgressLine]:
        tasks, now = len(self._installation.catalog.tasks), self._installation.clock()
        return night_progress.lines(connection, night_id, tasks, now, self._installation.config.night)

    def _usually(self, connection: Any) -> dict[tuple[str, str], Usual]:
        ended, now = attempts.last_ended(connection), self._installation.clock()
        if self._usual is None or ended != self._usual[0] or now - self._usual[1] >= _KEPT:
            self._usual = ended, now, night_report.usual(connection)
        return self._usual[2]

    def _news_told(self, connection: Any) -> str:
        """Asked of a release once: pushes, of which there may be one in two seconds, change nothing of what it told."""
        current = versions.current(connection)
        released = (versions.released(connection) or current) if current else None
        if current is None or released is None:
            return ""
        of = released.version_id, released.promoted_at
        if self._news[0] != of:
            self._news = of, news.of_release(connection, self._installation.catalog, released)
        return news.with_pushes(self._news[1], released, current)


class ShownCandidate(NamedTuple):
    """What a page shows of a candidate. Accepting names the figures, so that nothing else is taken. None: to count what
    it would change took longer than a page may."""

    figures: Figures | None
    differences: list[DocumentDifference]


def _earlier(connection: Any) -> int | None:
    """The version that one would go back to."""
    try:
        return versions.before_current(connection).version_id
    except NotPromotable:
        return None


def marks(usual: Mapping[tuple[str, str], night_report.Usual], lines: Sequence[SetLine]) -> dict[str, list[str]]:
    """What of each set's newest harvest is far off what is usual, by its key."""
    return {
        line.key: list(
            night_report.far_off(
                {"records": line.records, "changes": changes_of(line.tally), "seconds": line.seconds},
                usual.get((line.key, line.mode)),
            ).values()
        )
        for line in lines
        if line.harvest in _STAGED
    }


def _far_off(harvest: Harvest, usually: Usual | None) -> dict[str, str]:
    found = {"records": harvest.records, "changes": harvest.changes, "seconds": harvest.seconds}
    return night_report.far_off(found, usually) if harvest.state in _STAGED else {}


def bars(harvests: list[Harvest]) -> list[tuple[Harvest, int]]:
    """Harvests as bars, oldest first, each with its height in percent of the highest."""
    highest = max((harvest.records for harvest in harvests), default=0) or 1
    return [(harvest, round(100 * harvest.records / highest)) for harvest in reversed(harvests)]


def _options(filters: Mapping[str, str]) -> list[str]:
    """Of `harvester audit`, for the filters that are set."""
    return [word for name, value in filters.items() if value for word in (f"--{name}", value)]
