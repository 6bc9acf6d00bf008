"""What sources push to a set, on its page: the inbox, deciding about what was rejected, and a record that a person
pushes.

Belongs here: requests, and which answers a page shows. Does not belong here: any answer, what a push is and what
becomes of it (`sets/pushed.py`), what sources send (`webhook.py`). Who may decide or push the guard asks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from harvester_dagster.config import takes_pushes
from harvester_dagster.explain import status
from harvester_dagster.explain.status import PushLine
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.page_addresses import set_page
from harvester_dagster.publication import audit, inbox
from harvester_dagster.publication.inbox import Newest, Pushed, PushRow
from harvester_dagster.sets import fetch, pushed, steps
from harvester_dagster.sets.pushed import NotPushed
from harvester_dagster.sets.sets import SetState, UnknownSet
from harvester_dagster.web import guard
from harvester_dagster.web.page_frame import PageFrame, form_texts
from harvester_dagster.web.webhook import is_from

_ROWS = 20
"""Of those that were rejected, of those that wait, and of the others."""
_LONGEST = 18
"""Digits of a push's number."""
_Then = Callable[[Request, str, str, Pushed], Response]


class Inbox(NamedTuple):
    """A set's inbox, as its page shows it. `line`: what is not settled or not shown, None where nothing is; `rows`:
    some of what was pushed, what was rejected first; `entity`: of a record that may be pushed, "" where none may;
    `newest`: up to where who sees it decides."""

    line: PushLine | None
    rows: list[PushRow]
    entity: str
    newest: Newest


def inbox_of(installation: Installation, state: SetState) -> Inbox:
    """As it is now."""
    with installation.pool.connection() as connection:
        newest = inbox.newest(connection, state.set_id)  # before what is shown: no more than that is decided
        rows = [
            row
            for states in (("rejected",), ("waiting",), inbox.SETTLED)
            for row in inbox.rows(connection, state.key, states, _ROWS)
        ]
    return Inbox(status.push_line(installation, state), rows, _pushable(installation, state.key), newest)


def _pushable(installation: Installation, key: str) -> str:
    """What a record of a set is called that may be pushed to it, where a worker takes what is pushed."""
    config = installation.config
    if key not in config.sets or not takes_pushes(config) or fetch.kind_of(installation, key).pushed is None:
        return ""
    return installation.catalog.entity(fetch.kind_of(installation, key).entity).singular


class PushPages:
    """What is done about pushes on the pages of one installation."""

    def __init__(self, installation: Installation, dagster: str) -> None:
        self._installation, self._frame = installation, PageFrame(installation.config.zone, dagster)

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/set/{key:path}/accept-pushes", self.accept, methods=["POST"]),
            Route("/set/{key:path}/dismiss-pushes", self.dismiss, methods=["POST"]),
            Route(guard.PUSH + "/look/{key:path}", self.look, methods=["POST"]),
            Route(guard.PUSH + "/{key:path}", self.push, methods=["POST"]),
        ]

    async def accept(self, request: Request) -> Response:
        """Take what was rejected, and all that waits, as far as it was shown, whatever the verdict says; at once, for
        that needs no run."""
        return await run_in_threadpool(self._accept, request, await _up_to(request))

    def _accept(self, request: Request, up_to: int) -> Response:
        key = request.path_params["key"]
        with _said():
            found = pushed.accept(self._installation, key, up_to=up_to, patience=steps.AT_ONCE)
        if found.waits:
            raise HTTPException(409, f"nothing was taken: {found.waits}")
        return _seen(key)

    async def dismiss(self, request: Request) -> Response:
        """Lay what was rejected aside for good, as far as it was shown."""
        return await run_in_threadpool(self._dismiss, request, await _up_to(request))

    def _dismiss(self, request: Request, up_to: int) -> Response:
        key = request.path_params["key"]
        with _said():
            pushed.dismiss(self._installation, key, up_to=up_to)
        return _seen(key)

    async def look(self, request: Request) -> Response:
        """What would come of a record that was typed; nothing is stored."""
        (typed,) = await form_texts(request, "record")
        return await run_in_threadpool(self._read, request, typed, self._look)

    async def push(self, request: Request) -> Response:
        """Store a record that was typed, as the webhook does."""
        (typed,) = await form_texts(request, "record")
        return await run_in_threadpool(self._read, request, typed, self._push)

    def _read(self, request: Request, typed: str, then: _Then) -> Response:
        """What is no record of the set is shown with the reason."""
        key = self._admitted(request)
        try:
            found = pushed.read(self._installation, key, typed.encode())
        except NotPushed as error:
            return self._page(request, key, typed, 422, look=None, refused=error.sentence)
        with _said():
            return then(request, key, typed, found)

    def _look(self, request: Request, key: str, typed: str, found: Pushed) -> Response:
        return self._page(request, key, typed, look=pushed.look(self._installation, key, found))

    def _push(self, request: Request, key: str, typed: str, found: Pushed) -> Response:
        installation, doer, srn = self._installation, audit.doer(), f"{key}:{found.external_id}"
        trying = audit.trying(installation.pool, "push", srn, installation.clock)
        with trying, installation.pool.connection() as connection:
            is_stored = pushed.store(connection, installation, key, found, f"{doer.name} {doer.address}")
            audit.write(connection, "push", srn, installation.clock(), stored=is_stored)
        if not is_stored:
            raise HTTPException(409, "nothing was stored: the very same waits already, or the record was purged")
        return _seen(key)

    def _page(self, request: Request, key: str, typed: str, status: int = 200, **values: Any) -> Response:
        public_url = self._installation.config.web.public_url or "https://…"
        address = f"{public_url.rstrip('/')}{guard.WEBHOOK}{_pushable(self._installation, key)}/{key}/"
        return self._frame.page(request, "push.html", status, key=key, address=address, typed=typed, **values)

    def _admitted(self, request: Request) -> str:
        """The key of the set, where records may be pushed to it from where the request came. Raises HTTPException."""
        key: str = request.path_params["key"]
        if not _pushable(self._installation, key):
            raise HTTPException(404, f"there is no set {key[:200]} that takes pushes")
        address = guard.client_address(request, self._installation.config.web)
        if not is_from(self._installation.config.sets[key], address):
            raise HTTPException(403, f"{address} is none of the webhook_addresses of {key}")
        return key


async def _up_to(request: Request) -> int:
    """The newest push that was shown. Raises HTTPException for what no page of ours sends."""
    (given,) = await form_texts(request, "up_to", longest=_LONGEST)
    if not (given.isascii() and given.isdigit()):
        raise HTTPException(400, "up_to: the number of the newest push that was shown is needed")
    return int(given)


@contextmanager
def _said() -> Iterator[None]:
    """What comes to nothing is told to whoever asked for it."""
    try:
        yield
    except UnknownSet as error:
        raise HTTPException(404, str(error)) from error
    except HarvesterError as error:
        raise HTTPException(409, str(error)) from error


def _seen(key: str) -> Response:
    return RedirectResponse(f"{set_page(key)}#pushes", 303)
