"""What takedowns have begun and could not end, brought to its end within seconds: beside the rounds of pushes.

A takedown is one transaction; killed behind it, or with a server that is away, its index and those who are to be told
are still to come. That is read from the store, so a round that is killed is done by the next one. Each kind of work has
a thread of its own: an address of alerts that hangs keeps no index waiting.

Belongs here: which of it is due, and the pause after what failed. Does not belong here: doing it (`taking_down.py`,
`alerts.py`), who runs it (`cli/push.py`).
"""

import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from psycopg import Error as PostgresError

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.releases import alerts, taking_down
from harvester_dagster.search import aliases

INDEX_PAUSE = 30.0
"""Seconds at most after what failed: within a minute of its server's return an index obeys."""
TELLING_PAUSE = 600.0
"""Whoever hears of it in several ways hears of it again with each try."""
Progress = Callable[[str], None]


class _Work(NamedTuple):
    """`is_due`: read from the store; `do`: why it could not be done, or "". `pause`: seconds at most behind a
    failure."""

    what: str
    pause: float
    is_due: Callable[[], bool]
    do: Callable[[], str]


class _Standing:
    """One kind of work: being done, or waiting after what failed."""

    def __init__(self) -> None:
        self.doing: Future[str] | None = None
        self.failures = 0
        self.not_before = 0.0


class TakedownRounds:
    """Rounds over one installation."""

    def __init__(self, installation: Installation, progress: Progress = lambda _: None) -> None:
        self._installation, self._progress = installation, progress
        self._works = {
            _Work("the search index obeys", INDEX_PAUSE, self._is_index_due, self._reach_index): _Standing(),
            _Work("people are told", TELLING_PAUSE, self._is_telling_due, self._tell): _Standing(),
        }
        self._beside = ThreadPoolExecutor(len(self._works), "takedowns")

    def round(self) -> bool:
        """Begin what is due and is not being done. Whether anything is being done."""
        doing = [self._begun(work, standing) for work, standing in self._works.items()]
        return any(doing)

    def _begun(self, work: _Work, standing: _Standing) -> bool:
        if standing.doing is not None:
            if not standing.doing.done():
                return True
            self._look(work, standing, standing.doing.result())
            standing.doing = None
        if time.monotonic() < standing.not_before or not work.is_due():
            return False
        standing.doing = self._beside.submit(self._safely, work)
        return True

    def _look(self, work: _Work, standing: _Standing, failed: str) -> None:
        standing.failures = min(standing.failures + 1, 16) if failed else 0
        pause = min(2.0 ** (standing.failures - 1), work.pause) if failed else 0.0
        standing.not_before = time.monotonic() + pause
        if failed:
            self._progress(f"takedowns: not yet so that {work.what}: {failed}")

    def _safely(self, work: _Work) -> str:
        try:
            return work.do()
        except (HarvesterError, PostgresError) as error:
            return str(error)
        except Exception:
            return f"a mistake in this program\n{traceback.format_exc()}"

    def _is_index_due(self) -> bool:
        return aliases.may_show_taken_down(self._installation)

    def _reach_index(self) -> str:
        behind = taking_down.reach_index(self._installation, patience=0)
        return (behind or "others work on it") if self._is_index_due() else ""

    def _is_telling_due(self) -> bool:
        with self._installation.pool.connection() as connection:
            return bool(audit.untold(connection))

    def _tell(self) -> str:
        return "" if alerts.tell_acts(self._installation) else "nobody takes it, or another process is at it"
