"""The page of failures: what failed of the tasks, by reason and host, a button that has a group tried again, and how
that goes.

Belongs here: requests. Does not belong here: grouping and choosing (`sets/failed_results.py`), and the work itself,
which a run in Dagster does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from harvester_dagster.explain import titles
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.sets import failed_results
from harvester_dagster.sets.failed_results import Choice, FailureGroup, NotChosen, UnknownTask
from harvester_dagster.web.acts import Acts
from harvester_dagster.web.launching import NotStarted
from harvester_dagster.web.page_frame import PageFrame, form_pairs, form_texts

_GROUPS = 100
_ASKED = ("task", "srn", "reason", "host")
_LONGEST = 3_000
"""Characters of what a group is chosen by."""


class FailurePages:
    """The page of one installation's failed results."""

    def __init__(self, installation: Installation, acts: Acts, dagster: str) -> None:
        self._installation, self._acts = installation, acts
        self._frame = PageFrame(installation.config.zone, dagster)

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/failures/", self.failures),
            Route("/failures/retry", self.retry, methods=["POST"]),
            Route("/failures/retried/", self.retried),
        ]

    def failures(self, request: Request) -> Response:
        """Every group, those first that have most results."""
        with self._installation.reading.connection() as connection:
            found = failed_results.all_groups(self._installation, connection, _GROUPS + 1)
            groups = found[:_GROUPS]
            known = titles.titles(connection, {srn for group in groups for srn in group.samples})
        more = len(found) > _GROUPS
        return self._frame.page(request, "failures.html", groups=groups, titles=known, more=more, command=_command)

    async def retry(self, request: Request) -> Response:
        """Have a group, or what failed of one document, made anew by a run that begins now."""
        asked = dict(zip(_ASKED, await form_texts(request, *_ASKED, longest=_LONGEST), strict=True))
        if not {"reason", "host"} <= dict(await form_pairs(request)).keys():  # empty is a group too
            raise HTTPException(400, "what is to be tried again is named by its reason and host")
        with _said():
            return await run_in_threadpool(self._retry, request, asked)

    def _retry(self, request: Request, asked: dict[str, str]) -> Response:
        installation, choice, name = self._installation, _choice(asked), asked["task"]
        with audit.trying(installation.pool, "retry results", name, installation.clock):
            found = failed_results.make_due(installation, failed_results.task_named(installation, name), choice)
        at = installation.clock()  # not before they became due
        values: dict[str, Any] = {**asked, "results": found.results}
        if not found.results:
            return self._frame.page(request, "retried.html", **values)
        try:
            with audit.trying(installation.pool, "retry task", name, installation.clock):
                run_id = self._acts.retry(name, found.sets)
        except NotStarted as error:  # they stay due
            then = failed_results.command_of_work(name, found.sets)
            return self._frame.page(request, "retried.html", 502, not_begun=error, then=then, **values)
        audit.told(installation.pool, "retry task", name, installation.clock(), run=run_id, sets=len(found.sets))
        told = {**values, "at": at.isoformat(), "run": run_id}
        return RedirectResponse(f"/failures/retried/?{urlencode(told)}", 303)

    def retried(self, request: Request) -> Response:
        """How the run goes that a button has begun: how many results wait for it."""
        given = request.query_params
        asked = {name: given.get(name, "")[:_LONGEST] for name in _ASKED}
        results, run_id = given.get("results", ""), given.get("run", "")[:100]
        if not (results.isascii() and results.isdigit() and len(results) < 10):
            raise HTTPException(400, "results: a number is needed")
        with _said(), self._installation.reading.connection() as connection:
            task = failed_results.task_named(self._installation, asked["task"])
            found = failed_results.made_anew(
                self._installation, connection, task, _choice(asked), _moment(given.get("at", ""))
            )
        values: dict[str, Any] = {**asked, "results": int(results), "run_id": run_id, "found": found}
        return self._frame.page(request, "retried.html", **values)


def _choice(asked: Mapping[str, str]) -> Choice:
    """A group of the page, or what of it is of one document."""
    srn, reason, host = (asked[name] for name in ("srn", "reason", "host"))
    return Choice((srn,) if srn else (), (), reason, host, exact=True)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None:
        raise HTTPException(400, "at: a time with its zone is needed")
    return moment


@contextmanager
def _said() -> Iterator[None]:
    """What is not there is told to whoever asked for it."""
    try:
        yield
    except UnknownTask as error:
        raise HTTPException(404, str(error)) from error
    except NotChosen as error:
        raise HTTPException(400, str(error)) from error


def _command(group: FailureGroup) -> str:
    return failed_results.command(group.task, Choice((), (), group.reason, group.host, exact=True))
