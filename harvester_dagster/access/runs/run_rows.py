"""The runs of an endpoint as Postgres knows them: asked for, running, ended, how far they came, and what they met.

Belongs here: one run per endpoint (a partial unique index for the row, an advisory lock for the process), the stop
flag, the cursor where a later run goes on. Does not belong here: what a run does (`run.py`).

The lock goes with its connection: a killed run leaves a row that says `running` and no lock, which is how the next
one knows that it died.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection
from psycopg.errors import UniqueViolation

from harvester_dagster.access.solr.write_rate import Best
from harvester_dagster.failures import HarvesterError
from harvester_dagster.publication import audit
from harvester_dagster.store import database, locks
from harvester_dagster.store.database import Pool
from harvester_dagster.store.locks import Lock

REQUEST_LASTS = timedelta(minutes=15)
"""A run that was asked for and has not begun by then is given up."""
_SECONDS_TO_LET_GO = 5.0
MESSAGES_KEPT = 2_000


class InProgress(HarvesterError):
    """A run of this endpoint is in progress."""


class StoppedBefore(HarvesterError):
    """A run was asked for, and stopped before it began."""


class Start(NamedTuple):
    """Where a run begins, and what held when its walk began (perhaps in an earlier run that it continues)."""

    run_id: int
    endpoint_id: int
    cursor: str
    continues: int | None
    watermark: int | None
    journals_generation: int | None
    already: int
    """Documents that the runs which this one continues have processed."""
    untidy: bool
    """The endpoint's last run did not come to its commit."""


class RunRow(NamedTuple):
    """A run as its row tells it. `state`: requested, running, complete, stopped, failed or died; `progress` is its
    report."""

    run_id: int
    endpoint: str
    mode: str
    state: str
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    stop_asked_at: datetime | None
    progress: Mapping[str, Any]
    reason: str

    @property
    def in_progress(self) -> bool:
        """Whether it is asked for or running: no other run of its endpoint may begin."""
        return self.state in ("requested", "running")


def endpoint_id(connection: Connection[Any], name: str) -> int:
    """The key of the endpoint of that name; an unknown one gets a row."""
    found = connection.execute("SELECT endpoint_id FROM access_endpoint WHERE name = %s", (name,)).fetchone()
    if found is None:
        connection.execute("INSERT INTO access_endpoint (name) VALUES (%s) ON CONFLICT DO NOTHING", (name,))
        found = connection.execute("SELECT endpoint_id FROM access_endpoint WHERE name = %s", (name,)).fetchone()
    assert found is not None
    return int(found[0])


def request(pool: Pool, endpoint: str, mode: str, now: datetime) -> int:
    """Ask for a run; the next process that works for this endpoint takes it up. The run's id. Raises InProgress."""
    _bury_the_dead(pool, endpoint, now)
    try:
        with pool.connection() as connection:
            row = connection.execute(
                "INSERT INTO access_run (endpoint_id, mode, state, requested_at) "
                "VALUES (%s, %s, 'requested', %s) RETURNING run_id",
                (endpoint_id(connection, endpoint), mode, now),
            ).fetchone()
            assert row is not None
            audit.write(connection, "enrich", endpoint, now, "asked for", mode=mode, run=row[0])
    except UniqueViolation:
        raise InProgress(f"a run of {endpoint} is already in progress", "wait for it, or stop it on its page") from None
    return int(row[0])


def _tell_ended(connection: Connection[Any], run_id: int, state: str, now: datetime, reason: str) -> None:
    """That a run has ended which somebody has asked for, and how."""
    row = connection.execute(
        "SELECT name, mode FROM access_run JOIN access_endpoint USING (endpoint_id) WHERE run_id = %s", (run_id,)
    ).fetchone()
    if row is None or not audit.was_asked_for(connection, "enrich", row[0], str(run_id)):
        return
    outcome: audit.Outcome = "failed" if state in ("failed", "died") else "done"
    told: dict[str, Any] = {"reason": reason} if reason else {}
    audit.write(connection, "enrich", row[0], now, outcome, mode=row[1], run=run_id, state=state, **told)


def withdraw(pool: Pool, run_id: int, now: datetime, reason: str) -> None:
    """Give up a run that has not begun: it fails for that reason. One that has begun goes on."""
    with pool.connection() as connection:
        given_up = connection.execute(
            "UPDATE access_run SET state = 'failed', ended_at = %s, reason = %s "
            "WHERE run_id = %s AND state = 'requested'",
            (now, reason, run_id),
        )
        if given_up.rowcount:
            _tell_ended(connection, run_id, "failed", now, reason)


def withdraw_request(pool: Pool, endpoint: str, now: datetime, reason: str) -> None:
    """Give up whatever was asked for at this endpoint and has not begun: it fails for that reason."""
    with pool.connection() as connection:
        connection.execute(
            "UPDATE access_run SET state = 'failed', ended_at = %s, reason = %s WHERE state = 'requested' "
            "AND endpoint_id = (SELECT endpoint_id FROM access_endpoint WHERE name = %s)",
            (now, reason, endpoint),
        )


def ask_to_stop(pool: Pool, endpoint: str | None, now: datetime) -> int:
    """Ask the run of the endpoint (None: of every one) to stop; one that has not begun ends at once. How many were
    asked."""
    with pool.connection() as connection:
        found = connection.execute(
            "UPDATE access_run SET stop_asked_at = coalesce(stop_asked_at, %(now)s), "
            " ended_at = CASE WHEN state = 'requested' THEN %(now)s END, "
            " state = CASE WHEN state = 'requested' THEN 'stopped' ELSE state END "
            "WHERE state IN ('requested', 'running') AND (%(endpoint)s::text IS NULL OR endpoint_id = "
            " (SELECT endpoint_id FROM access_endpoint WHERE name = %(endpoint)s))",
            {"now": now, "endpoint": endpoint},
        )
        audit.write(connection, "stop enriching", endpoint or "every endpoint", now, runs=found.rowcount)
        return found.rowcount


def is_asked_to_stop(pool: Pool, run_id: int) -> bool:
    """Whether somebody has asked this run to stop."""
    with pool.connection() as connection:
        row = connection.execute("SELECT stop_asked_at FROM access_run WHERE run_id = %s", (run_id,)).fetchone()
        return row is not None and row[0] is not None


def in_progress(pool: Pool, now: datetime, endpoint: str | None = None) -> RunRow | None:
    """The newest run (of the endpoint, or of all) that is asked for or running. Runs whose process is gone end
    first."""
    _bury_the_dead(pool, endpoint, now)
    return next((run for run in latest(pool, endpoint, 20) if run.in_progress), None)


_DIED = "its process ended without a word"
_RUNS = """
SELECT run_id, name, mode, state, requested_at, started_at, ended_at, stop_asked_at, progress, reason
FROM access_run JOIN access_endpoint USING (endpoint_id)
"""


def latest(pool: Pool, endpoint: str | None = None, count: int = 1, before: int | None = None) -> list[RunRow]:
    """The newest runs of the endpoint, or of all, newest first; `before`: those before the run of this id."""
    with pool.connection() as connection:
        rows = connection.execute(
            f"{_RUNS} WHERE (%(endpoint)s::text IS NULL OR name = %(endpoint)s) "
            "AND (%(before)s::bigint IS NULL OR run_id < %(before)s) ORDER BY run_id DESC LIMIT %(count)s",
            {"endpoint": endpoint, "count": count, "before": before},
        )
        return [RunRow(*row) for row in rows]


def by_id(pool: Pool, run_id: int) -> RunRow | None:
    """The run of this id; None: there is none."""
    with pool.connection() as connection:
        row = connection.execute(f"{_RUNS} WHERE run_id = %s", (run_id,)).fetchone()
        return RunRow(*row) if row else None


def messages(
    pool: Pool, endpoint: str | None = None, count: int = 200, run_id: int | None = None
) -> list[tuple[datetime, str, str]]:
    """The last messages of the endpoint, of a run, or of all, oldest first: when, endpoint and mode, text."""
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT m.at, e.name || ' ' || r.mode, m.text FROM access_message m JOIN access_run r USING (run_id) "
            "JOIN access_endpoint e USING (endpoint_id) WHERE (%(endpoint)s::text IS NULL OR e.name = %(endpoint)s) "
            "AND (%(run)s::bigint IS NULL OR run_id = %(run)s) ORDER BY m.message_id DESC LIMIT %(count)s",
            {"endpoint": endpoint, "count": count, "run": run_id},
        ).fetchall()
        return [(at, who, text) for at, who, text in reversed(rows)]


def findings(pool: Pool, run_id: int, count: int = 100) -> list[tuple[str, str, str]]:
    """At most `count` documents of a run with what was met there: id, kind, what was seen; by kind and id."""
    with pool.connection() as connection:
        return list(
            connection.execute(
                "SELECT id, kind, seen FROM access_finding WHERE run_id = %s ORDER BY kind, id LIMIT %s",
                (run_id, count),
            )
        )


def _bury_the_dead(pool: Pool, endpoint: str | None, now: datetime) -> None:
    """Runs whose process is gone (nobody holds the lock) and requests that nobody took up."""
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT run_id, endpoint_id FROM access_run JOIN access_endpoint USING (endpoint_id) "
            "WHERE state = 'running' AND (%(endpoint)s::text IS NULL OR name = %(endpoint)s)",
            {"endpoint": endpoint},
        ).fetchall()
        for run_id, key in rows:
            if locks.try_take_until_end(connection, Lock.ENDPOINT, key):
                _declare_dead(connection, run_id, now)
        connection.execute(
            "UPDATE access_run SET state = 'failed', ended_at = %s, reason = 'nothing took it up in time' "
            "WHERE state = 'requested' AND requested_at < %s",
            (now, now - REQUEST_LASTS),
        )


def _declare_dead(connection: Connection[Any], run_id: int, now: datetime) -> None:
    dead = connection.execute(
        "UPDATE access_run SET state = 'died', ended_at = %s, reason = %s WHERE run_id = %s AND state = 'running'",
        (now, _DIED, run_id),
    )
    if dead.rowcount:
        _tell_ended(connection, run_id, "died", now, _DIED)


class Run:
    """A run in progress: its row, its lock, and the thread that watches for a stop and writes the progress."""

    def __init__(self, pool: Pool, connection: Connection[Any], start: Start) -> None:
        self.start = start
        self.stop = threading.Event()
        """Set when somebody asked for a stop, or when the lock was lost."""
        self.lost: psycopg.Error | None = None
        """How the lock's connection ended, if it has: another run may have begun."""
        self._pool, self._connection = pool, connection
        self._progress: Mapping[str, Any] = {}
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="access-run-watcher", daemon=True)
        self._watcher.start()

    def show(self, progress: Mapping[str, Any]) -> None:
        """Let others see how far the run is: `progress` is written within half a second."""
        self._progress = progress

    def _watch(self) -> None:
        shown: Mapping[str, Any] = {}
        while not self._over.wait(0.5):
            try:
                if (progress := self._progress) is not shown:
                    self._write(self._connection, progress)
                    shown = progress
                found = self._connection.execute(
                    "SELECT stop_asked_at IS NOT NULL FROM access_run WHERE run_id = %s", (self.start.run_id,)
                ).fetchone()
                if found is None or found[0]:
                    self.stop.set()
            except psycopg.Error as error:  # Postgres went away, and the lock with it
                self.lost = error
                self.stop.set()
                return

    def _write(self, connection: Connection[Any], progress: Mapping[str, Any]) -> None:
        connection.execute(
            "UPDATE access_run SET progress = %s WHERE run_id = %s", (json.dumps(progress), self.start.run_id)
        )

    def close(self) -> None:
        """End the watcher and write the last progress, unless the connection was lost."""
        self._over.set()
        self._watcher.join(5)
        if not self.lost:
            with suppress(psycopg.OperationalError), self._pool.connection() as connection:
                self._write(connection, self._progress)


@contextmanager
def running(
    pool: Pool, endpoint: str, mode: str, basis: str, now: datetime, patience: float = 0, request: int | None = None
) -> Iterator[Run]:
    """Take up the requested run of this endpoint and mode, or begin one, and hold its lock for as long as the block
    lasts.

    It goes on where the last run of the same mode and basis was stopped, failed or died. `patience`: seconds to wait
    for a run in progress to end. `request`: the run that was asked for. Raises InProgress, and StoppedBefore when the
    requested run was stopped before it began.
    """
    with database.connected(str(pool.conninfo), "harvester enricher") as connection:
        key = endpoint_id(connection, endpoint)
        if not _is_going_on(connection, key):
            patience = max(patience, _SECONDS_TO_LET_GO)
        busy = InProgress(f"a run of {endpoint} is already in progress; stop it, or start this one when it has ended")
        with locks.held(connection, Lock.ENDPOINT, key, patience=patience, busy=busy):
            run = Run(pool, connection, _begin(connection, key, endpoint, mode, basis, now, request))
            try:
                yield run
            finally:
                run.close()


def _is_going_on(connection: Connection[Any], key: int) -> bool:
    """By its row: a run that has ended may hold its lock a moment longer."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM access_run WHERE endpoint_id = %s AND state = 'running')", (key,)
    ).fetchone()
    return row == (True,)


def _begin(
    connection: Connection[Any], key: int, endpoint: str, mode: str, basis: str, now: datetime, request: int | None
) -> Start:
    with connection.transaction():
        if request is not None:
            asked = connection.execute(  # locked: a stop in the same moment comes before this run begins, or finds it
                "SELECT state FROM access_run WHERE run_id = %s FOR UPDATE", (request,)
            ).fetchone()
            if asked == ("stopped",):
                raise StoppedBefore(f"the run of {endpoint} was stopped before it began")
        connection.execute(
            "UPDATE access_run SET state = 'died', ended_at = %s, reason = 'its process ended without a word' "
            "WHERE endpoint_id = %s AND state = 'running'",
            (now, key),
        )
        waiting = connection.execute(
            "SELECT run_id, mode FROM access_run WHERE endpoint_id = %s AND state = 'requested' FOR UPDATE", (key,)
        ).fetchone()
        if waiting and waiting[1] != mode:
            if now - _requested_at(connection, waiting[0]) < REQUEST_LASTS:
                raise InProgress(f"a run of {endpoint} was asked for in mode {waiting[1]} and is about to begin")
            connection.execute(
                "UPDATE access_run SET state = 'failed', ended_at = %s, reason = 'nothing took it up in time' "
                "WHERE run_id = %s",
                (now, waiting[0]),
            )
            waiting = None
        last = connection.execute(
            "SELECT run_id, cursor, watermark, journals_generation, progress FROM access_run "
            "WHERE endpoint_id = %s AND mode = %s AND state <> 'requested' AND basis = %s "
            "AND started_at IS NOT NULL AND run_id = "
            " (SELECT max(run_id) FROM access_run WHERE endpoint_id = %s AND mode = %s AND started_at IS NOT NULL) "
            "AND state IN ('stopped', 'failed', 'died') AND cursor IS NOT NULL",
            (key, mode, basis, key, mode),
        ).fetchone()
        continues, cursor, watermark, generation, progress = last or (None, None, None, None, None)
        counts = (progress or {}).get("counts", {})
        already = counts.get("already", 0) + counts.get("processed", 0)
        before = connection.execute(
            "SELECT state FROM access_run WHERE endpoint_id = %s AND started_at IS NOT NULL "
            "ORDER BY run_id DESC LIMIT 1",
            (key,),
        ).fetchone()
        if waiting:
            run_id = int(waiting[0])
        else:
            row = connection.execute(
                "INSERT INTO access_run (endpoint_id, mode, state, requested_at) VALUES (%s, %s, 'requested', %s) "
                "RETURNING run_id",
                (key, mode, now),
            ).fetchone()
            assert row is not None
            run_id = int(row[0])
        connection.execute(
            "UPDATE access_run SET state = 'running', started_at = %s, continues = %s, cursor = %s, watermark = %s, "
            "journals_generation = %s, basis = %s WHERE run_id = %s",
            (now, continues, cursor, watermark, generation, basis, run_id),
        )
        untidy = before is not None and before[0] != "complete"
        return Start(run_id, key, cursor or "*", continues, watermark, generation, already, untidy)


def _requested_at(connection: Connection[Any], run_id: int) -> datetime:
    row = connection.execute("SELECT requested_at FROM access_run WHERE run_id = %s", (run_id,)).fetchone()
    assert row is not None
    found: datetime = row[0]
    return found


def note_walk(pool: Pool, run_id: int, watermark: int, journals_generation: int) -> None:
    """Keep Solr's version and the journals' generation of when the walk began: a run that continues this one needs
    them."""
    with pool.connection() as connection:
        connection.execute(
            "UPDATE access_run SET watermark = %s, journals_generation = %s WHERE run_id = %s",
            (watermark, journals_generation, run_id),
        )


def end(pool: Pool, run_id: int, state: str, now: datetime, reason: str = "") -> None:
    """Note how a run ended (a final `state`) and why."""
    with pool.connection() as connection:
        connection.execute(
            "UPDATE access_run SET state = %s, ended_at = %s, reason = %s WHERE run_id = %s",
            (state, now, reason, run_id),
        )
        _tell_ended(connection, run_id, state, now, reason)


def say(pool: Pool, run_id: int, now: datetime, text: str) -> None:
    """Add a message to the run's log, of which the last 2,000 of the installation are kept."""
    with pool.connection() as connection:
        connection.execute("INSERT INTO access_message (run_id, at, text) VALUES (%s, %s, %s)", (run_id, now, text))
        connection.execute(
            "DELETE FROM access_message WHERE message_id <= (SELECT max(message_id) FROM access_message) - %s",
            (MESSAGES_KEPT,),
        )


def keep_findings(connection: Connection[Any], run_id: int, found: Sequence[tuple[str, str, str]]) -> None:
    """Store what was met at documents: id, kind, what was seen."""
    with connection.cursor() as cursor, cursor.copy("COPY access_finding (run_id, id, kind, seen) FROM STDIN") as copy:
        for id_, kind, seen in found:
            copy.write_row((run_id, id_.replace("\0", ""), kind, seen.replace("\0", "")))


def best(pool: Pool, endpoint: str) -> Best | None:
    """The concurrency that the endpoint took best in an earlier run; None when none was long enough to know."""
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT writers, batch, rate FROM access_endpoint WHERE name = %s AND writers IS NOT NULL", (endpoint,)
        ).fetchone()
        return Best(*row) if row else None


def keep_best(pool: Pool, endpoint: str, found: Best) -> None:
    """Remember the concurrency that the endpoint took best: the next run begins with it."""
    with pool.connection() as connection:
        connection.execute(
            "UPDATE access_endpoint SET writers = %s, batch = %s, rate = %s WHERE name = %s", (*found, endpoint)
        )
