"""The buttons of the morning's pages: what each does at once, and which run it begins.

Belongs here: requests, and where each leads to: whoever pressed comes back by a redirect, so that a reload presses
nothing again. What waits for the store waits in a thread, no longer than a person does. Does not belong here: what is
done (`sets/`, `releases/`), how a run goes (`run_pages.py`). Who may press is asked by the guard; each press is written
to the audit.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.page_addresses import run_page, set_page
from harvester_dagster.publication import audit
from harvester_dagster.releases import stopping
from harvester_dagster.sets import failed_results, sets, steps, versions
from harvester_dagster.sets.failed_results import Choice, NotChosen, UnknownTask
from harvester_dagster.sets.sets import UnknownSet
from harvester_dagster.web.acts import Acts
from harvester_dagster.web.launching import NotStarted
from harvester_dagster.web.page_frame import form_pairs, form_texts

_LONGEST = 500
"""Characters of what is said beside a button."""
_MOST_SETS = 2_000


class OperatorActs:
    """The buttons of one installation's pages."""

    def __init__(self, installation: Installation, acts: Acts) -> None:
        self._installation, self._acts = installation, acts

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        paths = {
            "/set/{key:path}/harvest": self.harvest,
            "/set/{key:path}/look": self.look,
            "/set/{key:path}/accept": self.accept,
            "/set/{key:path}/dismiss": self.dismiss,
            "/tasks/{task}/retry": self.retry,
            "/release": self.release,
            "/hold": self.hold,
            "/hold/end": self.end_hold,
            "/versions/{version:number}/rollback": self.roll_back,
            "/night/{night:number}/stop": self.stop,
        }
        return [Route(path, act, methods=["POST"]) for path, act in paths.items()]

    def harvest(self, request: Request) -> Response:
        """Have a set harvested now."""
        key = self._key(request)
        return self._begun("harvest", key, partial(self._acts.harvest, key))

    def look(self, request: Request) -> Response:
        """Have a candidate staged again that was pushed aside, so that it can be looked at."""
        key = self._key(request)
        return self._begun("look", key, partial(self._acts.look, key))

    async def accept(self, request: Request) -> Response:
        """Take the candidate that was on the page: at once where it still stands, else by a run that stages it."""
        attempt, seen = await form_texts(request, "attempt", "seen", longest=_LONGEST)
        return await run_in_threadpool(self._accept, request, _number("attempt", attempt), seen)

    def _accept(self, request: Request, attempt: int, seen: str) -> Response:
        key = self._key(request)
        with self._trying("accept", key):
            outcome = steps.accept_standing(self._installation, key, attempt, seen=seen)
        if outcome is None:
            return self._begun("accept", key, partial(self._acts.accept, key, attempt, seen))
        self._acts.accepted(self._installation, key)
        return RedirectResponse(set_page(key), 303)

    async def dismiss(self, request: Request) -> Response:
        """Lay the candidate that was on the page aside; at once, for that needs no run."""
        (attempt,) = await form_texts(request, "attempt", longest=_LONGEST)
        return await run_in_threadpool(self._dismiss, request, _number("attempt", attempt))

    def _dismiss(self, request: Request, attempt: int) -> Response:
        key = self._key(request)
        with self._trying("dismiss", key):
            steps.dismiss(self._installation, key, attempt_id=attempt, patience=steps.AT_ONCE)
        return RedirectResponse(set_page(key), 303)

    async def retry(self, request: Request) -> Response:
        """Have the failed results of a task made anew, in the sets that were on the page."""
        keys = [text for name, text in await form_pairs(request, max_fields=_MOST_SETS) if name == "key"]
        return await run_in_threadpool(self._retry, request, keys)

    def _retry(self, request: Request, keys: list[str]) -> Response:
        installation, name = self._installation, request.path_params["task"]
        try:
            task = failed_results.task_named(installation, name)
            with audit.trying(installation.pool, "retry results", name, installation.clock):
                found = failed_results.make_due(installation, task, Choice(sets=tuple(keys)))
        except UnknownTask as error:
            raise HTTPException(404, str(error)) from error
        except NotChosen as error:
            raise HTTPException(400, str(error)) from error
        if not found.results:
            raise HTTPException(409, f"{name}: nothing has failed in these sets, or not any more")
        then = failed_results.command_of_work(name, found.sets)
        return self._begun("retry task", name, partial(self._acts.retry, name, found.sets), f"or now: {then}")

    async def release(self, request: Request) -> Response:
        """Have what the sets have accepted promoted. What holds releases is ended where it was on the page."""
        (seen,) = await form_texts(request, "hold_seen", longest=_LONGEST)
        since = _moment("hold_seen", seen).isoformat() if seen else ""
        return await run_in_threadpool(self._begun, "release", "", partial(self._acts.release, since))

    async def hold(self, request: Request) -> Response:
        """Hold automatic releases until one by hand."""
        (why,) = await form_texts(request, "why", longest=_LONGEST)
        return await run_in_threadpool(self._hold, why)

    def _hold(self, why: str) -> Response:
        with self._trying("hold", ""):
            versions.hold_releases(self._installation, why.strip())
        return RedirectResponse("/versions/", 303)

    async def end_hold(self, request: Request) -> Response:
        """End the hold that was on the page: automatic releases go on."""
        (since,) = await form_texts(request, "since", longest=_LONGEST)
        return await run_in_threadpool(self._end_hold, _moment("since", since))

    def _end_hold(self, since: datetime) -> Response:
        with self._trying("end hold", ""):
            versions.let_go_on(self._installation, since)
        return RedirectResponse("/versions/", 303)

    async def roll_back(self, request: Request) -> Response:
        """Go back to a version, where what is current is what was on the page; automatic releases are held then."""
        (instead_of,) = await form_texts(request, "instead_of", longest=_LONGEST)
        return await run_in_threadpool(self._roll_back, request.path_params["version"], instead_of)

    def _roll_back(self, number: int, instead_of: str) -> Response:
        with self._trying("rollback", str(number)), self._installation.pool.connection() as connection:
            seen = versions.check_seen(connection, instead_of)
        return self._begun("rollback", str(number), partial(self._acts.roll_back, number, seen))

    def stop(self, request: Request) -> Response:
        """Stop a night that goes on; what its sets have accepted stays."""
        night = request.path_params["night"]
        with self._trying("stop night", str(night)):
            stopping.stop(self._installation, night, self._acts.end_runs)
        return RedirectResponse("/", 303)

    def _begun(self, act: str, subject: str, begin: Callable[[], str], otherwise: str = "") -> Response:
        """A run was asked for: written down, and the way to where it is followed. 502 when it could not be begun;
        `otherwise`: what is to be done then."""
        pool, clock = self._installation.pool, self._installation.clock
        try:
            with audit.trying(pool, act, subject, clock):
                run_id = begin()
        except NotStarted as error:
            raise HTTPException(502, f"{error}; {otherwise}" if otherwise else str(error)) from error
        audit.told(pool, act, subject, clock(), run=run_id)
        return RedirectResponse(run_page(run_id), 303)

    @contextmanager
    def _trying(self, act: str, subject: str) -> Iterator[None]:
        """What is refused as things stand is told to whoever asked, and to the audit."""
        try:
            with audit.trying(self._installation.pool, act, subject, self._installation.clock):
                yield
        except HarvesterError as error:
            raise HTTPException(409, str(error)) from error

    def _key(self, request: Request) -> str:
        with self._installation.pool.connection() as connection:
            try:
                return sets.find(connection, request.path_params["key"]).key
            except UnknownSet as error:
                raise HTTPException(404, str(error)) from error


def _number(name: str, given: str) -> int:
    if not (given.isascii() and given.isdigit()) or len(given) > 18:
        raise HTTPException(400, f"{name}: a number is needed")
    return int(given)


def _moment(name: str, given: str) -> datetime:
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None:
        raise HTTPException(400, f"{name}: a time with its zone is needed")
    return moment
