"""The page of failures: what failed of the tasks, by reason and host, and a button that has a group tried again.

Belongs here: requests. Does not belong here: grouping and choosing (`sets/failed_results.py`), and the work itself,
which the next run of the task does.
"""

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.sets import failed_results
from harvester_dagster.sets.failed_results import Choice, Chosen, FailureGroup, NotChosen, UnknownTask
from harvester_dagster.web.page_frame import PageFrame, form_texts

_GROUPS = 100
_LONGEST = 3_000
"""Characters of what a group is chosen by."""


class FailurePages:
    """The page of one installation's failed results."""

    def __init__(self, installation: Installation, dagster: str) -> None:
        self._installation, self._frame = installation, PageFrame(installation.config.zone, dagster)

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [Route("/failures/", self.failures), Route("/failures/retry", self.retry, methods=["POST"])]

    def failures(self, request: Request) -> Response:
        """Every group, those first that have most results."""
        with self._installation.reading.connection() as connection:
            groups = failed_results.all_groups(self._installation, connection, _GROUPS + 1)
        more = len(groups) > _GROUPS
        return self._frame.page(request, "failures.html", groups=groups[:_GROUPS], more=more, command=_command)

    async def retry(self, request: Request) -> Response:
        """Have a group, or what failed of one document, made anew by the task's next run."""
        task, srn, reason, host = await form_texts(request, "task", "srn", "reason", "host", longest=_LONGEST)
        if not (srn or reason or host):
            raise HTTPException(400, "what is to be tried again is named by a document, a reason or a host")
        choice = Choice((srn,) if srn else (), (), reason, host, exact=True)
        try:
            found = await run_in_threadpool(self._make_due, task, choice)
        except UnknownTask as error:
            raise HTTPException(404, str(error)) from error
        except NotChosen as error:
            raise HTTPException(400, str(error)) from error
        then = failed_results.command_of_work(task, found.sets)
        return self._frame.page(request, "retried.html", task=task, found=found, then=then, srn=srn)

    def _make_due(self, name: str, choice: Choice) -> Chosen:
        installation = self._installation
        with audit.trying(installation.pool, "retry results", name, installation.clock):
            return failed_results.make_due(installation, failed_results.task_named(installation, name), choice)


def _command(group: FailureGroup) -> str:
    return failed_results.command(group.task, Choice((), (), group.reason, group.host))
