"""How the pages start a run of the enricher: in a thread of this process, or in Dagster.

Belongs here: the interface, and both ways. A run is first asked for in Postgres, where a second request is refused, so
two starts at once are one run. Does not belong here: what a run does.
"""

import json
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from harvester_dagster.access import endpoints, runs
from harvester_dagster.access.enricher import refresh_journals
from harvester_dagster.access.run import enrich
from harvester_dagster.access.runs import InProgress, StoppedBefore
from harvester_dagster.config import Config
from harvester_dagster.outside.failures import OutsideError
from harvester_dagster.outside.outside import Outside
from harvester_dagster.store.database import Pool


class NotStarted(Exception):
    """The run could not be started; the message says why."""


class Runs(Protocol):
    def start(self, endpoint: str, mode: str) -> None:
        """Raises InProgress, NotStarted."""

    def stop(self, endpoint: str | None) -> None:
        """Ask the run of the endpoint to stop (None: every run); nothing happens without one."""


class ThreadRuns:
    """Runs in threads of this process, for tests and for an installation without Dagster."""

    def __init__(self, config: Config, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._config = config
        self._pool = pool
        self._clock = clock

    def start(self, endpoint: str, mode: str) -> None:
        run_id = runs.request(self._pool, endpoint, mode, self._clock())
        threading.Thread(target=self._work, args=(endpoint, mode, run_id), name="access-run", daemon=True).start()

    def stop(self, endpoint: str | None) -> None:
        runs.ask_to_stop(self._pool, endpoint, self._clock())

    def _work(self, endpoint: str, mode: str, run_id: int) -> None:
        try:
            with endpoints.opened(self._config, endpoint, self._pool, self._clock) as job:
                refresh_journals(job, only_if_older=True)
                enrich(job, mode, request=run_id)
        except (OutsideError, InProgress, StoppedBefore) as error:
            runs.withdraw(self._pool, run_id, self._clock(), str(error))


_REPOSITORIES = (
    "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } jobs { name } } } } }"
)
_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""


class DagsterRuns:
    """Runs of Dagster's job `access`, asked for over its GraphQL API; they see the stop flag themselves."""

    def __init__(self, dagster_url: str, outside: Outside, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._url = f"{dagster_url.rstrip('/')}/graphql"
        self._outside = outside
        self._pool = pool
        self._clock = clock

    def start(self, endpoint: str, mode: str) -> None:
        run_id = runs.request(self._pool, endpoint, mode, self._clock())
        try:
            self._launch(endpoint, mode, run_id)
        except (OutsideError, NotStarted, KeyError, TypeError, ValueError) as error:
            why = f"Dagster did not start it: {error}"
            runs.withdraw(self._pool, run_id, self._clock(), why)
            raise NotStarted(why) from error

    def stop(self, endpoint: str | None) -> None:
        runs.ask_to_stop(self._pool, endpoint, self._clock())

    def _launch(self, endpoint: str, mode: str, run_id: int) -> None:
        found = self._ask(_REPOSITORIES, {})["repositoriesOrError"]["nodes"]
        repository = next((each for each in found if {"name": "decide_access"} in each["jobs"]), None)
        if repository is None:
            raise NotStarted("no code location has a job named access")
        tags = {"dagster/partition": f"{endpoint}:{mode}", "access/endpoint": endpoint, "access/request": str(run_id)}
        params = {
            "selector": {
                "repositoryLocationName": repository["location"]["name"],
                "repositoryName": repository["name"],
                "jobName": "decide_access",
            },
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._ask(_LAUNCH, {"params": params})["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise NotStarted(str(answer.get("message") or answer.get("errors") or answer["__typename"])[:500])

    def _ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        answer = self._outside.post(self._url, json={"query": query, "variables": variables}, timeout=30)
        found = json.loads(answer.body)
        if found.get("errors"):
            raise NotStarted(str(found["errors"][0].get("message"))[:500])
        data: dict[str, Any] = found["data"]
        return data
