"""Overwrites over HTTP: what a person has corrected of one document, and who did what to it when.

Belongs here: the path, who may, and the answer. Does not belong here: what may be overwritten (`catalog.py`), keeping
it (`publication/overwrites.py`), publishing it (`sets/corrected.py`).
"""

import re
from collections.abc import Collection
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from psycopg import Connection
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.explain import why
from harvester_dagster.explain.why import FoundDocument, UnknownDocument
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit, overwrites
from harvester_dagster.publication.overwrites import BadOverwrite, NotOverwritable, OverwriteMoved
from harvester_dagster.web import guard
from harvester_dagster.web.api import answers
from harvester_dagster.web.api.document_routes import Asked, Srn, reads
from harvester_dagster.web.api.problem_details import RESPONSES, ApiProblem, described

SCOPE = "overwrite"
_HISTORY = 20
"""Entries of it in one answer."""
_TAG = re.compile(r'(?:^|,)[ \t]*"(\d{1,18})"[ \t]*(?=,|$)', re.ASCII)
_BODY = {
    "requestBody": {
        "required": True,
        "description": "Fields of the output, as the schema of its entity has them; they take the place of all before",
        "content": {"application/json": {"schema": {"type": "object", "minProperties": 1}}},
    }
}


class HistoryAsked(Asked):
    """Of an overwrite."""

    before: int | None = Field(None, ge=1, le=2**62, description="Only what was done before this version")


class OverwriteRoutes:
    """The path of one installation's overwrites."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def router(self) -> APIRouter:
        """Reading, setting and taking away, all with the scope `overwrite`."""
        responses = {**RESPONSES, **described(403, f"The token has not the scope {SCOPE}")}
        moved = described(412, "It is not as If-Match says: somebody else has overwritten it meanwhile")
        router, path, tag = APIRouter(responses=responses), "/overwrite/{srn:path}/", "overwrite"
        reads(router, path, self.one, tags=[tag], summary="What is overwritten of a document, and its history")
        router.add_api_route(
            path,
            self.put,
            methods=["PUT"],
            tags=[tag],
            summary="Overwrite fields of a document; shown within seconds",
            openapi_extra=_BODY,
            responses={**moved, **described(422, "A field cannot be overwritten so; the detail names it")},
        )
        router.add_api_route(
            path,
            self.delete,
            methods=["DELETE"],
            tags=[tag],
            summary="Give a document its source's values back",
            responses=moved,
        )
        return router

    def one(self, request: Request, srn: Srn, asked: Annotated[HistoryAsked, Query()]) -> Response:
        """What is overwritten now; `fields` is null where nothing is. `history`: the newest 20 entries, or those before
        one. Send the ETag as `If-Match` to change what you have seen, and nothing that came after it."""
        self._admit(request)
        with self._installation.reading.connection() as connection:
            return _answer(connection, srn, self._found(connection, srn), asked.before)

    async def put(self, request: Request, srn: Srn, asked: Annotated[Asked, Query()]) -> Response:
        """Set the fields that a body of JSON has."""
        self._admit(request)
        return await run_in_threadpool(self._put, srn, await request.body(), _seen(request))

    def _put(self, srn: str, body: bytes, seen: Collection[int] | None) -> Response:
        installation = self._installation
        try:
            with (
                audit.trying(installation.pool, "overwrite", srn, installation.clock),
                installation.pool.connection() as connection,
            ):
                found = why.look_up(installation, connection, _plain(srn))
                values = overwrites.read(body)
                overwrites.refuse(installation.catalog.not_overwritable(found.entity, values))
                overwrites.put(connection, found.doc_id, values, installation.clock(), seen)
                return _answer(connection, srn, found)
        except UnknownDocument as error:
            raise _no_such(srn) from error
        except OverwriteMoved as error:
            raise _moved(error) from error
        except NotOverwritable as error:
            raise ApiProblem(422, "A field cannot be overwritten so", error.sentence) from error
        except BadOverwrite as error:
            raise ApiProblem(400, "This is no overwrite", str(error)) from error

    def delete(self, request: Request, srn: Srn, asked: Annotated[Asked, Query()]) -> Response:
        """Take it away; 404 where there is none."""
        self._admit(request)
        with self._installation.pool.connection() as connection:
            found = self._found(connection, srn)
            try:
                is_cleared = overwrites.clear(connection, found.doc_id, self._installation.clock(), _seen(request))
            except OverwriteMoved as error:
                raise _moved(error) from error
            if not is_cleared:
                raise ApiProblem(404, "There is no such overwrite", f"nothing of {srn[:200]} is overwritten")
            return _answer(connection, srn, found)

    def _admit(self, request: Request) -> None:
        actor = guard.admitted(request, self._installation.config.web, SCOPE, by_token=True)
        if isinstance(actor, str):
            raise ApiProblem(403, f"This needs a token with the scope {SCOPE}", actor)

    def _found(self, connection: Any, srn: str) -> FoundDocument:
        try:
            return why.look_up(self._installation, connection, _plain(srn))
        except UnknownDocument as error:
            raise _no_such(srn) from error


def _plain(srn: str) -> str:
    """What PostgreSQL takes."""
    return srn.replace("\0", "�")


def _no_such(srn: str) -> ApiProblem:
    return ApiProblem(404, "There is no such document", f"no source has sent {srn[:200]}")


def _moved(error: OverwriteMoved) -> ApiProblem:
    return ApiProblem(412, "Somebody else has overwritten it meanwhile", str(error))


def _seen(request: Request) -> Collection[int] | None:
    """Which states may be changed, any of a list (RFC 9110); None: whichever there is. A weak ETag, and what is none of
    ours, names none that there is."""
    given = ",".join(request.headers.getlist("if-match") or ["*"]).strip()
    return None if given == "*" else {int(found) for found in _TAG.findall(given)}


def _answer(connection: Connection[Any], srn: str, found: FoundDocument, before: int | None = None) -> Response:
    newest = overwrites.newest(connection, found.doc_id)
    number = newest.number if newest else 0
    now = _said(newest) if newest and newest.fields is not None else {"at": None, "by": None, "fields": None}
    history = [_said(entry) for entry in overwrites.history(connection, found.doc_id, _HISTORY, before)]
    body = msgspec.json.encode({"srn": srn, "entity": found.entity, **now, "version": number, "history": history})
    headers = {"Cache-Control": "no-store", "ETag": f'"{number}"'}
    return Response(body, headers=headers, media_type=answers.JSON)


def _said(entry: overwrites.Entry) -> dict[str, Any]:
    return {"version": entry.number, "at": answers.moment(entry.at), "by": entry.actor, "fields": entry.fields}
