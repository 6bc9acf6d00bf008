"""What was pushed or overwritten is taken and published, round after round: the work of `harvester push work`.

A set gets at most one generation and one version in `EVERY`. Its version is the current one with this set's new
generation only; where it holds accepted work that is not released yet, its pushes wait for that release. Of several
workers one has a round at a time. Tasks that call somebody outside follow when a set's inbox has been quiet, in a
generation and version of their own, beside the rounds, those of another worker too: a set's lock keeps the two apart.
None begins in a night or shortly before one. All that is to be done is read from the store: a round that is killed is
done by the next one. What failed for a set has a pause there, twice as long each time.

Belongs here: when which set's turn is. Does not belong here: taking (`sets/pushed.py`, `sets/corrected.py`), publishing
(`release.py`), who runs it (`cli/push.py`).
"""

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection, OperationalError
from psycopg import Error as PostgresError

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import inbox
from harvester_dagster.releases import missing_nights, nights, release
from harvester_dagster.sets import corrected, pushed, versions
from harvester_dagster.sets.pushed import Taken
from harvester_dagster.store import locks
from harvester_dagster.store.locks import Busy, Lock

EVERY = timedelta(seconds=2)
QUIET = timedelta(seconds=3)
"""So long nothing must have been pushed to a set before its slower tasks run, which keep further pushes waiting."""
BEFORE_A_NIGHT = timedelta(minutes=30)
"""No slower task of a push begins so shortly before a night: the night's harvest would wait for its set."""
LONGEST_PAUSE = timedelta(minutes=5)
Report = Callable[[Taken], None]


class PushRounds:
    """Rounds over one installation. `report`: told of each generation that was made."""

    def __init__(
        self,
        installation: Installation,
        report: Report = lambda _: None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._installation, self._report, self._progress = installation, report, progress
        self._followed: set[tuple[str, int]] = set()
        self._failed: dict[tuple[str, str], tuple[int, datetime]] = {}
        """What failed for which set: how often in a row, and when last."""
        self._beside = ThreadPoolExecutor(1, "push-follow-ups")
        self._following: Future[None] | None = None

    def round(self) -> bool:
        """Take what waits, publish it, and let slower tasks follow. Whether anything was done, or is being done. While
        another worker has a round, nothing; what follows goes on behind the round, without its lock."""
        with locks.session(self._installation.pool) as connection:
            if not locks.try_take(connection, Lock.PUSHES):
                return False
            try:
                return self._all()
            finally:
                with suppress(OperationalError):  # else the next round might find it held until this session's end
                    locks.give_back(connection, Lock.PUSHES)

    def _all(self) -> bool:
        """Overwrites first: they are few."""
        was_following = self._following is not None
        done = [self._safely(key, self._correct) for key in self._in_turn(corrected.sets_waiting)]
        done += [self._safely(key, self._take) for key in self._in_turn(inbox.sets_waiting)]
        done += [self._safely(key, self._publish) for key in self._ahead()]
        if self._following is None or self._following.done():
            keys = self._slow()
            self._following = self._beside.submit(self._follow_all, keys) if keys else None
        return any(done) or was_following or self._following is not None

    def _safely(self, key: str, work: Callable[[str], bool]) -> bool:
        """What fails for one set keeps no other one waiting, nor other work of that set; and has a pause."""
        what = key, work.__name__
        times, since = self._failed.get(what, (0, None))
        if since and timedelta() <= self._installation.clock() - since < min(
            timedelta(seconds=2**times), LONGEST_PAUSE
        ):
            return False
        try:
            done = work(key)
        except (Busy, versions.Held):
            return False
        except (HarvesterError, PostgresError) as error:
            self._progress(f"{key}: {error}")
        except Exception:
            self._progress(f"{key}: a mistake in this program\n{traceback.format_exc()}")
        else:
            self._failed.pop(what, None)
            return done
        self._failed[what] = (min(times + 1, 16), self._installation.clock())
        return False

    def _follow_all(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._safely(key, self._follow)

    def _in_turn(self, waiting: Callable[[Connection[Any]], list[str]]) -> list[str]:
        """Read from the store, so that neither a worker that is started anew nor slower tasks shorten a set's rest."""
        now = self._installation.clock()
        with self._installation.pool.connection() as connection:
            keys = waiting(connection)
            resting = pushed.sets_with_attempts(connection, keys, now - EVERY, now)
        return [key for key in keys if key not in resting]

    def _correct(self, key: str) -> bool:
        found = corrected.take(self._installation, key, self._progress)
        self._tell(found)
        return found.attempt is not None

    def _take(self, key: str) -> bool:
        found = pushed.take(self._installation, key, self._progress)
        self._tell(found)
        return bool(found.settled)

    def _ahead(self) -> list[str]:
        now = self._installation.clock()
        with self._installation.pool.connection() as connection:
            if versions.hold(connection):
                return []
            resting = versions.pushed_between(connection, now - EVERY, now)
            return [key for key in versions.pushed_ahead(connection) if key not in resting]

    def _publish(self, key: str) -> bool:
        published = release.publish_pushed(self._installation, key, progress=self._progress)
        if published is None:
            return False
        behind = f"; the index is behind: {published.behind}" if published.behind else ""
        self._progress(f"{key}: version {published.version.version_id} shows what was pushed{behind}")
        return True

    def _slow(self) -> list[str]:
        """Each generation once: what is left of it then is the night's."""
        now = self._installation.clock()
        tick = missing_nights.newest_tick(self._installation.config, now + BEFORE_A_NIGHT)
        with self._installation.pool.connection() as connection:
            if tick > now or nights.open_nights(connection):
                return []
            due = pushed.slow_due(connection, self._installation)
            busy = {*inbox.sets_waiting(connection), *corrected.sets_waiting(connection)}
            busy |= inbox.came_between(connection, now - QUIET, now)
            busy |= pushed.sets_with_attempts(connection, [key for key, _ in due], now - EVERY, now)
        return [key for key, gen in due if key not in busy and (key, gen) not in self._followed]

    def _follow(self, key: str) -> bool:
        found = pushed.follow_up(self._installation, key, self._progress)
        if not found.waits and not found.is_cut:
            with self._installation.pool.connection() as connection:
                self._followed |= {one for one in pushed.slow_due(connection, self._installation) if one[0] == key}
        self._tell(found)
        return found.attempt is not None

    def _tell(self, found: Taken) -> None:
        if found.attempt is not None and found.attempt.generation is not None:
            self._report(found)
