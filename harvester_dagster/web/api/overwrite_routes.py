"""Overwrites over HTTP: what a person has corrected of one document, and who did what to it when.

Belongs here: the path, who may, and the answer. Does not belong here: what may be overwritten (`catalog.py`), keeping
it (`publication/overwrites.py`), publishing it (the next release does).
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.explain import why
from harvester_dagster.explain.why import FoundDocument, UnknownDocument
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit, overwrites
from harvester_dagster.publication.overwrites import BadOverwrite, NotOverwritable
from harvester_dagster.web import guard
from harvester_dagster.web.api import answers
from harvester_dagster.web.api.document_routes import Asked, Srn, reads
from harvester_dagster.web.api.problem_details import RESPONSES, ApiProblem, described

SCOPE = "overwrite"
_BODY = {
    "requestBody": {
        "required": True,
        "description": "Fields of the output, as the schema of its entity has them; they take the place of all before",
        "content": {"application/json": {"schema": {"type": "object", "minProperties": 1}}},
    }
}


class OverwriteRoutes:
    """The path of one installation's overwrites."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def router(self) -> APIRouter:
        """Reading, setting and taking away, all with the scope `overwrite`."""
        responses = {**RESPONSES, **described(403, f"The token has not the scope {SCOPE}")}
        router, path, tag = APIRouter(responses=responses), "/overwrite/{srn:path}/", "overwrite"
        reads(router, path, self.one, tags=[tag], summary="What is overwritten of a document, and its history")
        router.add_api_route(
            path,
            self.put,
            methods=["PUT"],
            tags=[tag],
            summary="Overwrite fields of a document; published with the next release",
            openapi_extra=_BODY,
            responses=described(422, "A field cannot be overwritten so; the detail names it"),
        )
        router.add_api_route(
            path, self.delete, methods=["DELETE"], tags=[tag], summary="Give a document its source's values back"
        )
        return router

    def one(self, request: Request, srn: Srn, asked: Annotated[Asked, Query()]) -> Response:
        """What is overwritten now; `fields` is null where nothing is."""
        self._admit(request)
        with self._installation.reading.connection() as connection:
            found = self._found(connection, srn)
            return _answer(srn, found, overwrites.history(connection, found.doc_id))

    async def put(self, request: Request, srn: Srn, asked: Annotated[Asked, Query()]) -> Response:
        """Set the fields that a body of JSON has."""
        self._admit(request)
        return await run_in_threadpool(self._put, srn, await request.body())

    def _put(self, srn: str, body: bytes) -> Response:
        installation = self._installation
        try:
            with (
                audit.trying(installation.pool, "overwrite", srn, installation.clock),
                installation.pool.connection() as connection,
            ):
                found = why.look_up(installation, connection, _plain(srn))
                values = overwrites.read(body)
                overwrites.refuse(installation.catalog.not_overwritable(found.entity, values))
                overwrites.put(connection, found.doc_id, values, installation.clock())
                return _answer(srn, found, overwrites.history(connection, found.doc_id))
        except UnknownDocument as error:
            raise _no_such(srn) from error
        except NotOverwritable as error:
            raise ApiProblem(422, "A field cannot be overwritten so", error.sentence) from error
        except BadOverwrite as error:
            raise ApiProblem(400, "This is no overwrite", str(error)) from error

    def delete(self, request: Request, srn: Srn, asked: Annotated[Asked, Query()]) -> Response:
        """Take it away; 404 where there is none."""
        self._admit(request)
        with self._installation.pool.connection() as connection:
            found = self._found(connection, srn)
            if not overwrites.clear(connection, found.doc_id, self._installation.clock()):
                raise ApiProblem(404, "There is no such overwrite", f"nothing of {srn[:200]} is overwritten")
            return _answer(srn, found, overwrites.history(connection, found.doc_id))

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


def _answer(srn: str, found: FoundDocument, history: list[overwrites.Entry]) -> Response:
    said = [{"at": answers.moment(entry.at), "by": entry.actor, "fields": entry.fields} for entry in history]
    newest = said[0] if said and said[0]["fields"] is not None else {"at": None, "by": None, "fields": None}
    body = {"srn": srn, "entity": found.entity, **newest, "history": said}
    return Response(msgspec.json.encode(body), media_type=answers.JSON, headers={"Cache-Control": "no-store"})
