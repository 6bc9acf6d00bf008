"""How the pages start a run of the enricher: in a thread of this process, or by whoever launches runs elsewhere.

Belongs here: the interface, both ways, and what is asked of a launcher. A run is first asked for in Postgres, where a
second request is refused, so two starts at once are one run. Does not belong here: what a run does, and Dagster
(`cli/dagster_runs.py` launches there).
"""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from harvester_dagster.access.runs import endpoints, run_rows
from harvester_dagster.access.runs.enricher import refresh_journals
from harvester_dagster.access.runs.run import enrich
from harvester_dagster.access.runs.run_rows import InProgress, StoppedBefore
from harvester_dagster.config import Config
from harvester_dagster.failures import HarvesterError, OutsideError
from harvester_dagster.store.database import Pool


class NotStarted(HarvesterError):
    """The run could not be started; the message says why."""


class Runs(Protocol):
    """A way to start and stop runs of the enricher. `endpoint` is a configured name, `mode` one of MODES."""

    def start(self, endpoint: str, mode: str) -> int:
        """Start a run; its number. Raises InProgress, NotStarted."""

    def stop(self, endpoint: str | None) -> None:
        """Ask the run of the endpoint to stop (None: every run); nothing happens without one."""


class ThreadRuns:
    """Runs in threads of this process, for tests and for an installation without Dagster."""

    def __init__(self, config: Config, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._config = config
        self._pool = pool
        self._clock = clock

    def start(self, endpoint: str, mode: str) -> int:
        """In a thread; a run that fails ends with its reason in its row. Raises InProgress."""
        run_id = run_rows.request(self._pool, endpoint, mode, self._clock())
        threading.Thread(target=self._work, args=(endpoint, mode, run_id), name="access-run", daemon=True).start()
        return run_id

    def stop(self, endpoint: str | None) -> None:
        """By the stop flag in its row, which the thread sees within half a second."""
        run_rows.ask_to_stop(self._pool, endpoint, self._clock())

    def _work(self, endpoint: str, mode: str, run_id: int) -> None:
        try:
            with endpoints.opened(self._config, endpoint, self._pool, self._clock) as job:
                refresh_journals(job, only_if_older=True)
                enrich(job, mode, request=run_id)
        except (OutsideError, InProgress, StoppedBefore) as error:
            run_rows.withdraw(self._pool, run_id, self._clock(), str(error))


class Launcher(Protocol):
    """Begins runs in other processes."""

    def launch(self, endpoint: str, mode: str, request: int) -> None:
        """Have a run begin that was asked for: `request` is its number in Postgres. Returns before it has begun.

        Raises NotStarted.
        """


class LaunchedRuns:
    """Runs that a launcher begins; they see the stop flag themselves."""

    def __init__(self, launcher: Launcher, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._launcher = launcher
        self._pool = pool
        self._clock = clock

    def start(self, endpoint: str, mode: str) -> int:
        """As a run of Dagster's queue. Raises InProgress, and NotStarted when Dagster cannot be reached or refuses."""
        request = run_rows.request(self._pool, endpoint, mode, self._clock())
        try:
            self._launcher.launch(endpoint, mode, request)
        except Exception as error:  # whatever it is, nothing runs: the next one need not wait for it
            run_rows.withdraw(self._pool, request, self._clock(), str(error))
            raise
        return request

    def stop(self, endpoint: str | None) -> None:
        """By the stop flag in its row, which the run sees within half a second."""
        run_rows.ask_to_stop(self._pool, endpoint, self._clock())
