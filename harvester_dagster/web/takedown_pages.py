"""Taking a document down on the pages: looking first, then the act, its undoing, and all that is taken down.

Belongs here: requests, and which answers a page shows. Does not belong here: any answer, and the order of a takedown
(`releases/taking_down.py`). Reading is free; the guard asks for the scope `takedown` for the rest.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harvester_dagster.explain import takedown_look, why
from harvester_dagster.explain.takedown_look import TakedownStanding
from harvester_dagster.explain.why import FoundDocument, UnknownDocument
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit, takedowns
from harvester_dagster.publication.takedowns import ManyTakedowns, NotTakenDown
from harvester_dagster.releases import taking_down
from harvester_dagster.releases.taking_down import Named, TakenDown
from harvester_dagster.web import guard
from harvester_dagster.web.dear_questions import DearQuestions
from harvester_dagster.web.page_frame import PageFrame, asked_srn, form_choices, form_texts

_ROWS = 50
_MOST_ALSO = 200
"""As many as are named as the same record, about."""


class _Asked(NamedTuple):
    """What a form says. `is_sure`: that what is purged cannot be brought back; `also`: further SRNs."""

    srn: str
    reason: str
    purge: bool
    is_sure: bool
    is_confirmed: bool
    also: tuple[str, ...]


class TakedownPages:
    """The takedowns of one installation."""

    def __init__(self, installation: Installation, dagster: str) -> None:
        self._installation, self._frame = installation, PageFrame(installation.config.zone, dagster)
        self.looks = DearQuestions()
        """What may be the same record is looked for in all that is accepted."""

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/takedowns/", self.takedowns),
            Route(f"{guard.TAKEDOWN}/look", self.look, methods=["POST"]),
            Route(guard.TAKEDOWN, self.take, methods=["POST"]),
            Route(f"{guard.TAKEDOWN}/undo", self.undo, methods=["POST"]),
        ]

    def takedowns(self, request: Request) -> Response:
        """All that is taken down now, newest first, a page at a time."""
        given = request.query_params.get("page", "1")
        number = max(int(given), 1) if given.isascii() and given.isdigit() and len(given) < 6 else 1
        with self._installation.reading.connection() as connection:
            total = takedowns.count(connection)
            rows = takedowns.newest(connection, _ROWS, (number - 1) * _ROWS)
        return self._frame.page(request, "takedowns.html", rows=rows, total=total, number=number, most=_ROWS)

    async def look(self, request: Request) -> Response:
        """What would go with a document, and where else it is; nothing is done."""
        return await run_in_threadpool(self._look, request, await _asked(request))

    def _look(self, request: Request, asked: _Asked) -> Response:
        with self.looks.one():
            return self._looked(request, asked)

    def _looked(
        self, request: Request, asked: _Asked, status: int = 200, *, is_many: bool = False, **values: Any
    ) -> Response:
        found, standing = self._found(asked.srn)
        if standing.is_part:
            raise HTTPException(409, f"{asked.srn} is part of another document: take {standing.srn} down")
        look = takedown_look.look(self._installation, found)
        with self._installation.pool.connection() as connection:
            of_a_day = takedowns.count_of_a_day(connection, self._installation.clock())
        values |= {"standing": standing, "look": look, "of_a_day": of_a_day, "longest": takedowns.LONGEST_REASON}
        is_many = is_many or (of_a_day >= takedowns.A_DAY and standing.taken is None)
        return self._frame.page(request, "takedown.html", status, asked=asked, is_many=is_many, **values)

    async def take(self, request: Request) -> Response:
        """Take a document down, and those of the same record that were chosen; what each came to."""
        return await run_in_threadpool(self._take, request, await _asked(request))

    def _take(self, request: Request, asked: _Asked) -> Response:
        if asked.purge and not asked.is_sure:
            return self._looked(request, asked, 422, refused="a purge cannot be undone: say that it is meant")
        named = [self._named(srn) for srn in dict.fromkeys((asked.srn, *asked.also))]
        done: list[TakenDown] = []
        try:
            self._check_number(named, asked)
            for one in named:
                done.append(self._down(one, asked))
        except NotTakenDown as error:
            is_many = isinstance(error, ManyTakedowns)
            said = error.sentence if is_many else str(error)
            return self._looked(request, asked, 422, is_many=is_many, refused=said, done=done)
        return self._frame.page(request, "taken.html", done=done, undone=None)

    def _check_number(self, named: Sequence[Named], asked: _Asked) -> None:
        """All of them or none: nobody is asked once more in the middle. Raises ManyTakedowns."""
        pool, clock = self._installation.pool, self._installation.clock
        with audit.trying(pool, takedowns.ACT, asked.srn, clock), pool.connection() as connection:
            before = takedowns.among(connection, [one.doc_id for one in named])
            srns = [one.srn for one in named if asked.purge or one.doc_id not in before]
            takedowns.check_number(connection, srns, clock(), confirmed=asked.is_confirmed)

    def _down(self, named: Named, asked: _Asked) -> TakenDown:
        return taking_down.take_down(
            self._installation, named, asked.reason, purge=asked.purge, confirmed=asked.is_confirmed
        )

    async def undo(self, request: Request) -> Response:
        """Show a document again; what that came to, and how what was purged comes back."""
        (srn,) = await form_texts(request, "srn")
        return await run_in_threadpool(self._undo, request, asked_srn(srn))

    def _undo(self, request: Request, srn: str) -> Response:
        try:
            undone = taking_down.undo(self._installation, self._named(srn))
        except NotTakenDown as error:
            raise HTTPException(409, str(error)) from error
        return self._frame.page(request, "taken.html", done=[], undone=undone, standing=self._found(srn)[1])

    def _named(self, srn: str) -> Named:
        found, _ = self._found(srn)
        return Named(found.doc_id, found.set_id, srn)

    def _found(self, srn: str) -> tuple[FoundDocument, TakedownStanding]:
        """Raises HTTPException where there is none."""
        with self._installation.pool.connection() as connection:
            try:
                found = why.look_up(self._installation, connection, srn)
            except UnknownDocument as error:
                raise HTTPException(404, str(error)) from error
            return found, takedown_look.standing(self._installation, connection, found)


async def _asked(request: Request) -> _Asked:
    names = ("srn", "reason", "purge", "sure", "confirmed")
    srn, reason, purge, sure, confirmed = await form_texts(request, *names)
    also = await form_choices(request, "also", _MOST_ALSO)
    return _Asked(asked_srn(srn), reason, bool(purge), bool(sure), bool(confirmed), tuple(map(asked_srn, also)))
