"""The page of one document: why it is as it is, what a person has overwritten of it, what failed of its tasks, and
whether it is taken down.

Belongs here: requests, and which answers a page shows. Does not belong here: any answer; taking down
(`takedown_pages.py`). Who may overwrite the guard asks.
"""

from typing import Any
from urllib.parse import urlencode

import msgspec
from psycopg import Connection
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from harvester_dagster.explain import takedown_look
from harvester_dagster.explain import why as story
from harvester_dagster.explain.why import FoundDocument, UnknownDocument
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit, overwrites
from harvester_dagster.publication.overwrites import BadOverwrite
from harvester_dagster.sets import failed_results
from harvester_dagster.sets.failed_results import Choice
from harvester_dagster.web import guard
from harvester_dagster.web.page_frame import PageFrame, asked_srn, form_texts

_GROUPS = 20


class DocumentPages:
    """The page of one installation's documents."""

    def __init__(self, installation: Installation, dagster: str) -> None:
        self._installation, self._frame = installation, PageFrame(installation.config.zone, dagster)

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/document/", self.document),
            Route(guard.OVERWRITE, self.overwrite, methods=["POST"]),
            Route(f"{guard.OVERWRITE}/clear", self.clear, methods=["POST"]),
        ]

    def document(self, request: Request) -> Response:
        """Why a document is as it is, stage by stage; its overwrite with a form, what failed with a button, how its
        takedown stands."""
        return self._document(request, request.query_params.get("srn", "").strip())

    def _document(self, request: Request, srn: str, status: int = 200, **values: Any) -> Response:
        asked = asked_srn(srn)
        if not asked:
            return self._frame.page(request, "document.html", srn="", stages=None)
        try:
            stages = story.why(self._installation, asked)
        except UnknownDocument as error:
            return self._frame.page(request, "document.html", 404, srn=srn, stages=None, unknown=str(error))
        with self._installation.reading.connection() as connection:
            values = {**self._changed(connection, asked), **values}
        return self._frame.page(request, "document.html", status, srn=asked, stages=stages, **values)

    def _changed(self, connection: Connection[Any], srn: str) -> dict[str, Any]:
        """Of a document that is there: how its takedown stands, and where it is not taken down its overwrites, newest
        first, and failed results of it and its files."""
        try:
            found = story.look_up(self._installation, connection, srn)
        except UnknownDocument:  # extraction could not read it
            return {"standing": None, "history": None, "groups": []}
        standing = takedown_look.standing(self._installation, connection, found)
        if standing.taken:
            return {"standing": standing, "history": None, "groups": []}
        history = overwrites.history(connection, found.doc_id)
        fields = history[0].fields if history else None
        return {
            "standing": standing,
            "history": history,
            "overwritten": fields is not None,
            "typed": msgspec.json.format(msgspec.json.encode(fields), indent=2).decode() if fields else "",
            "groups": failed_results.groups(self._installation, connection, (srn,), _GROUPS),
            "command": lambda group: failed_results.command(
                group.task, Choice((srn,), (), group.reason, group.host, exact=True)
            ),
        }

    async def overwrite(self, request: Request) -> Response:
        """Overwrite the fields that were typed, in place of all before; what cannot be taken is shown with its
        reason."""
        srn, typed = await form_texts(request, "srn", "fields")
        try:
            await run_in_threadpool(self._overwrite, srn, typed)
        except UnknownDocument as error:
            raise HTTPException(404, str(error)) from error
        except BadOverwrite as error:
            said = str(error)
            return await run_in_threadpool(self._document, request, srn, 422, refused=said, typed=typed)
        return _seen(srn)

    def _overwrite(self, srn: str, typed: str) -> None:
        installation = self._installation
        trying = audit.trying(installation.pool, "overwrite", srn, installation.clock)
        with trying, installation.pool.connection() as connection:
            found = self._found(connection, srn)
            values = overwrites.read(typed)
            overwrites.refuse(installation.catalog.not_overwritable(found.entity, values))
            overwrites.put(connection, found.doc_id, values, installation.clock())

    async def clear(self, request: Request) -> Response:
        """Give a document its source's values back."""
        (srn,) = await form_texts(request, "srn")
        try:
            await run_in_threadpool(self._clear, srn)
        except UnknownDocument as error:
            raise HTTPException(404, str(error)) from error
        return _seen(srn)

    def _clear(self, srn: str) -> None:
        with self._installation.pool.connection() as connection:
            overwrites.clear(connection, self._found(connection, srn).doc_id, self._installation.clock())

    def _found(self, connection: Connection[Any], srn: str) -> FoundDocument:
        return story.look_up(self._installation, connection, asked_srn(srn))


def _seen(srn: str) -> Response:
    return RedirectResponse(f"/document/?{urlencode({'srn': srn})}", 303)
