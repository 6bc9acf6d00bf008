"""Takedowns over HTTP: a document that nobody is shown any more, and back.

Belongs here: the path, who may, and the answer. Does not belong here: the order of a takedown
(`releases/taking_down.py`), what may be the same record (`explain/same_record.py`).
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.explain import same_record, takedown_look, why
from harvester_dagster.explain.same_record import Others
from harvester_dagster.explain.why import FoundDocument, UnknownDocument
from harvester_dagster.installation import Installation
from harvester_dagster.publication import takedowns
from harvester_dagster.publication.takedowns import ManyTakedowns, NotTakenDown
from harvester_dagster.releases import taking_down
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.web import guard
from harvester_dagster.web.api import answers
from harvester_dagster.web.api.document_routes import Asked, Srn
from harvester_dagster.web.api.problem_details import RESPONSES, ApiProblem, described

SCOPE = "takedown"


class TakedownAsked(Asked):
    """What is to be done about a document."""

    reason: str = Field("", max_length=takedowns.LONGEST_REASON, description="Why; needed but for `undo`")
    purge: bool = Field(False, description="Remove what is kept of it, too")
    undo: bool = Field(False, description="Show it again")
    confirmed: bool = Field(False, description=f"Go on though more than {takedowns.A_DAY} were taken down in a day")
    dry_run: bool = Field(
        False, description="Only say what stands, what would go, and which documents may be the same record"
    )


class TakedownRoutes:
    """The path of one installation's takedowns."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def router(self) -> APIRouter:
        """Taking down and undoing, with the scope `takedown`."""
        responses = {
            **RESPONSES,
            **described(403, f"The token has not the scope {SCOPE}"),
            **described(409, "It is a part of another document, or it is not taken down"),
            **described(428, "So many were taken down within a day that it must be confirmed"),
        }
        router = APIRouter(responses=responses)
        router.add_api_route(
            "/takedown/{srn:path}/",
            self.act,
            methods=["POST"],
            tags=[SCOPE],
            summary="Show nobody a document any more, in whatever version, whatever its source sends; or again",
        )
        return router

    def act(self, request: Request, srn: Srn, given: TakedownAsked, asked: Annotated[Asked, Query()]) -> Response:
        """`documents`: how many went or came back, files included; `goes`: in a dry run, which would; `same`: what may
        be the same record under another srn, which stays; `unseen`: what could not be compared, and why; `behind`: why
        the search index does not follow yet, else empty."""
        actor = guard.admitted(request, self._installation.config.web, SCOPE, by_token=True)
        if isinstance(actor, str):
            raise ApiProblem(403, f"This needs a token with the scope {SCOPE}", actor)
        found = self._found(srn)
        try:
            body = self._looked(found) if given.dry_run else self._done(srn, found, given)
        except ManyTakedowns as error:
            raise ApiProblem(428, "Say it twice", f"{error.sentence}: send confirmed") from error
        except NotTakenDown as error:
            is_reason = not given.undo and takedowns.is_none(given.reason)
            raise ApiProblem(400 if is_reason else 409, "This cannot be done", str(error)) from error
        said = msgspec.json.encode({"srn": srn, "dry_run": given.dry_run, **body})
        return Response(said, media_type=answers.JSON, headers={"Cache-Control": "no-store"})

    def _found(self, srn: str) -> FoundDocument:
        try:
            with self._installation.pool.connection() as connection:
                return why.look_up(self._installation, connection, srn.replace("\0", "�"))
        except UnknownDocument as error:
            raise ApiProblem(404, "There is no such document", f"no source has sent {srn[:200]}") from error

    def _looked(self, found: FoundDocument) -> dict[str, Any]:
        with self._installation.pool.connection() as connection:
            before = takedowns.find(connection, found.doc_id)
        stands = {"at": answers.moment(before.at), "by": before.actor, "purge": before.purge} if before else None
        look = takedown_look.look(self._installation, found)
        return {"taken_down": stands, "goes": look.goes, **_named(look.same)}

    def _done(self, srn: str, found: FoundDocument, given: TakedownAsked) -> dict[str, Any]:
        named = Named(found.doc_id, found.set_id, srn)
        if given.undo:
            return taking_down.undo(self._installation, named)._asdict()
        same = same_record.others(self._installation, found) if given.purge else None
        taken = taking_down.take_down(
            self._installation, named, given.reason, purge=given.purge, confirmed=given.confirmed
        )
        return {**taken._asdict(), **_named(same or same_record.others(self._installation, found))}


def _named(others: Others) -> dict[str, Any]:
    same = [one._asdict() for one in others.found]
    return {"same": same, "looked_everywhere": others.is_whole, "unseen": others.unseen}
