"""Failed results of tasks made due over HTTP: for chosen documents, by set, reason or host.

Belongs here: the path, who may, and the answer. Does not belong here: choosing (`sets/failed_results.py`), and the
work, which the task's next run does.
"""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.sets import failed_results
from harvester_dagster.sets.failed_results import MOST_SRNS, Choice, NotChosen, UnknownTask
from harvester_dagster.web import guard
from harvester_dagster.web.api import answers
from harvester_dagster.web.api.document_routes import Asked
from harvester_dagster.web.api.problem_details import RESPONSES, ApiProblem, described

Name = Annotated[str, Path(description="As `harvester tasks list` names it", max_length=200)]
_Srn = Annotated[str, Field(max_length=3_000)]
_Key = Annotated[str, Field(max_length=500)]


class RetryAsked(Asked):
    """Which failed results; each that is given narrows it, and one must be."""

    srns: list[_Srn] = Field([], max_length=MOST_SRNS, description="Documents; of a product its files too")
    sets: list[_Key] = Field([], max_length=1_000, description="source:set")
    reason: str = Field("", max_length=500, description="Failed for a reason that has this in it")
    host: str = Field("", max_length=500, description="Failed at this host")
    exact: bool = Field(False, description="Failed for this very reason at this very host, or for none that was given")
    dry_run: bool = Field(False, description="Only say what is chosen")


class TaskRoutes:
    """The path of one installation's tasks."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def router(self) -> APIRouter:
        """Retrying, with the scope `operate`."""
        router = APIRouter(responses={**RESPONSES, **described(403, f"The token has not the scope {guard.OPERATE}")})
        router.add_api_route(
            "/tasks/{task}/retry/",
            self.retry,
            methods=["POST"],
            tags=["operate"],
            summary="Have the next run of a task make chosen failed results anew",
        )
        return router

    def retry(self, request: Request, task: Name, choice: RetryAsked, asked: Annotated[Asked, Query()]) -> Response:
        """Make results due; what was chosen."""
        actor = guard.admitted(request, self._installation.config.web, guard.OPERATE, by_token=True)
        if isinstance(actor, str):
            raise ApiProblem(403, f"This needs a token with the scope {guard.OPERATE}", actor)
        wanted = Choice(tuple(choice.srns), tuple(choice.sets), choice.reason, choice.host, choice.exact)
        try:
            found = self._chosen(task, wanted, choice.dry_run)
        except UnknownTask as error:
            raise ApiProblem(404, "There is no such task", error.sentence) from error
        except NotChosen as error:
            raise ApiProblem(400, "Nothing can be chosen so", str(error)) from error
        then = failed_results.command_of_work(task, found.sets)
        body = {"task": task, "dry_run": choice.dry_run, **found._asdict(), "then": then}
        body["samples"] = [each._asdict() for each in found.samples]
        return Response(msgspec.json.encode(body), media_type=answers.JSON, headers={"Cache-Control": "no-store"})

    def _chosen(self, name: str, wanted: Choice, dry_run: bool) -> failed_results.Chosen:
        installation = self._installation
        if dry_run:
            task = failed_results.task_named(installation, name)
            with installation.reading.connection() as connection:
                return failed_results.chosen(installation, connection, task, wanted)
        with audit.trying(installation.pool, "retry results", name, installation.clock):
            return failed_results.make_due(installation, failed_results.task_named(installation, name), wanted)
