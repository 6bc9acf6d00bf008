"""The page of one document: why it is as it is, what it was made from, how versions differ in it, what a person has
overwritten of it, what failed of its tasks, and whether it is taken down.

Belongs here: requests, and which answers a page shows. Does not belong here: any answer; taking down
(`takedown_pages.py`). Who may overwrite the guard asks.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import msgspec
from psycopg import Connection
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from harvester_dagster.consumers import document_history
from harvester_dagster.consumers.field_differences import between
from harvester_dagster.explain import source_record, takedown_look, thumbnails, titles
from harvester_dagster.explain import why as story
from harvester_dagster.explain.why import FoundDocument, Stage, UnknownDocument
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit, overwrites
from harvester_dagster.publication.overwrites import BadOverwrite, OverwriteMoved
from harvester_dagster.sets import failed_results
from harvester_dagster.sets.failed_results import Choice
from harvester_dagster.web import guard
from harvester_dagster.web.dear_questions import DearQuestions
from harvester_dagster.web.page_frame import PageFrame, asked_srn, form_texts

_GROUPS = 20
_ENTRIES = 10
"""Of the history of an overwrite, on one page; each may have 200 KB."""
_VERSIONS = 20
"""Places where those that are kept differ in it."""
_SHOWN = 200_000
"""Characters of a source's record."""
READ_RAW = "read-raw"
"""The scope of what the output leaves out."""


class DocumentPages:
    """The page of one installation's documents."""

    def __init__(self, installation: Installation, dagster: str) -> None:
        self._installation, self._frame = installation, PageFrame(installation.config.zone, dagster)
        self._searches = DearQuestions()

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/document/", self.document),
            Route("/document/source/", self.source),
            Route(guard.OVERWRITE, self.overwrite, methods=["POST"]),
            Route(f"{guard.OVERWRITE}/clear", self.clear, methods=["POST"]),
        ]

    def document(self, request: Request) -> Response:
        """Why a document is as it is, stage by stage; what it was made from, and how versions differ in it; its
        overwrite with a form, what failed with a button, how its takedown stands."""
        return self._document(request, request.query_params.get("srn", "").strip())

    def _document(self, request: Request, srn: str, status: int = 200, **values: Any) -> Response:
        asked = asked_srn(srn)
        if not asked:
            return self._frame.page(request, "document.html", srn="", stages=None)
        try:
            stages = story.why(self._installation, asked)
        except UnknownDocument as error:
            return self._frame.page(request, "document.html", 404, srn=srn, stages=None, unknown=str(error))
        is_raw_shown = READ_RAW in guard.may(request, self._installation.config.web)
        with self._installation.reading.connection() as connection:
            more = self._beside(
                connection, asked, stages, is_raw_shown, _number(request.query_params.get("before", ""))
            )
        values = {**more, "srn": asked, "stages": stages, "is_raw_shown": is_raw_shown, **values}
        return self._frame.page(request, "document.html", status, **values)

    def _beside(
        self, connection: Connection[Any], srn: str, stages: Sequence[Stage], is_raw_shown: bool, before: int | None
    ) -> dict[str, Any]:
        """Of a document that is there: what it was made from, its pictures, how versions differ in it, its overwrites
        (those that are older than an entry), what failed of it and its files, how its takedown stands."""
        try:
            found = story.look_up(self._installation, connection, srn)
        except UnknownDocument:  # extraction could not read it
            return _NOTHING
        standing = takedown_look.standing(self._installation, connection, found)
        if standing.taken:
            return {**_NOTHING, "standing": standing}
        entries = overwrites.history(connection, found.doc_id, _ENTRIES + 1, before)
        newest = overwrites.newest(connection, found.doc_id)
        groups = failed_results.groups(self._installation, connection, (srn,), _GROUPS)
        pictures = thumbnails.shown(self._installation, connection, found)
        return {
            "standing": standing,
            "properties": story.properties(connection, found) if is_raw_shown else None,
            "pictures": thumbnails.of_stages(self._installation, stages, pictures, srn),
            "versions": document_history.history(connection, found.doc_id, found.set_id, srn, found.entity, _VERSIONS),
            "most_versions": _VERSIONS,
            "history": entries[:_ENTRIES],
            "older": entries[_ENTRIES - 1].number if len(entries) > _ENTRIES else None,
            "overwritten": newest is not None and newest.fields is not None,
            "seen": newest.number if newest else 0,
            "typed": _as_text(newest.fields if newest else None),
            "groups": groups,
            "titles": titles.titles(connection, {srn, *(sample for group in groups for sample in group.samples)}),
            "command": lambda group: failed_results.command(
                group.task, Choice((srn,), (), group.reason, group.host, exact=True)
            ),
        }

    def source(self, request: Request) -> Response:
        """The record that a document was made from, as its source sent it last; for who may read what is raw."""
        if READ_RAW not in guard.may(request, self._installation.config.web):
            raise HTTPException(403, f"What a source has sent needs the scope {READ_RAW}.")
        srn = request.query_params.get("srn", "").strip()
        with _known(), self._installation.pool.connection() as connection:
            found = self._found(connection, srn)
        with self._searches.one():
            looked = source_record.look(self._installation, found)
        text = looked.record.content.decode("utf-8", "replace") if looked.record else ""
        shown: dict[str, Any] = {"text": text[:_SHOWN], "is_cut": len(text) > _SHOWN}
        return self._frame.page(
            request, "document_source.html", srn=srn, looked=looked, seconds=source_record.SECONDS, **shown
        )

    async def overwrite(self, request: Request) -> Response:
        """Overwrite the fields that were typed, in place of all that was seen before; what cannot be taken is shown
        with its reason, and so is what somebody else has overwritten meanwhile."""
        srn, typed, seen = await form_texts(request, "srn", "fields", "seen")
        try:
            with _known():
                await run_in_threadpool(self._overwrite, srn, typed, _number(seen))
        except BadOverwrite as error:
            said = str(error)
            return await run_in_threadpool(self._document, request, srn, 422, refused=said, typed=typed)
        except OverwriteMoved as error:
            return await run_in_threadpool(self._conflict, request, srn, error, _number(seen), typed=typed)
        return _seen(srn)

    def _overwrite(self, srn: str, typed: str, seen: int | None) -> None:
        installation = self._installation
        trying = audit.trying(installation.pool, "overwrite", srn, installation.clock)
        with trying, installation.pool.connection() as connection:
            found = self._found(connection, srn)
            values = overwrites.read(typed)
            overwrites.refuse(installation.catalog.not_overwritable(found.entity, values))
            overwrites.put(connection, found.doc_id, values, installation.clock(), seen)

    async def clear(self, request: Request) -> Response:
        """Give a document its source's values back, where what is overwritten is what was seen."""
        srn, seen = await form_texts(request, "srn", "seen")
        try:
            with _known():
                await run_in_threadpool(self._clear, srn, _number(seen))
        except OverwriteMoved as error:
            return await run_in_threadpool(self._conflict, request, srn, error, _number(seen))
        return _seen(srn)

    def _clear(self, srn: str, seen: int | None) -> None:
        installation = self._installation
        trying = audit.trying(installation.pool, "clear overwrite", srn, installation.clock)
        with trying, installation.pool.connection() as connection:
            overwrites.clear(connection, self._found(connection, srn).doc_id, installation.clock(), seen)

    def _conflict(self, request: Request, srn: str, error: OverwriteMoved, seen: int | None, **values: Any) -> Response:
        """The page once more, with what differs from what was seen; its form speaks of what is there now."""
        with self._installation.reading.connection() as connection:
            found = self._found(connection, srn)
            newest = overwrites.newest(connection, found.doc_id)
            was = overwrites.fields_at(connection, found.doc_id, seen or 0)
        moved = between(was, (newest.fields if newest else None) or {})
        return self._document(request, srn, 409, refused=str(error), moved=moved, **values)

    def _found(self, connection: Connection[Any], srn: str) -> FoundDocument:
        return story.look_up(self._installation, connection, asked_srn(srn))


@contextmanager
def _known() -> Iterator[None]:
    """What there is not is told to whoever asked for it."""
    try:
        yield
    except UnknownDocument as error:
        raise HTTPException(404, str(error)) from error


_NOTHING: dict[str, Any] = {
    "standing": None,
    "history": None,
    "groups": [],
    "titles": {},
    "pictures": {},
    "versions": [],
    "properties": None,
}


def _as_text(fields: Mapping[str, Any] | None) -> str:
    """An overwrite as a form shows it; nothing for none."""
    return msgspec.json.format(msgspec.json.encode(fields), indent=2).decode() if fields else ""


def _number(text: str) -> int | None:
    """Of an entry; None for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _seen(srn: str) -> Response:
    return RedirectResponse(f"/document/?{urlencode({'srn': srn})}", 303)
