"""What became of every group: waited for, counted, and recorded in their order.

Belongs here: one transaction a group, with the cursor behind it, and what is accounted for at the end of a run that did
not come through. Does not belong here: the statements (`decisions.py`, `run_rows.py`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any

from psycopg import Connection

from harvester_dagster.access.decide import decisions
from harvester_dagster.access.runs import run_rows
from harvester_dagster.access.runs.figures import Counts
from harvester_dagster.access.runs.groups import Group
from harvester_dagster.access.runs.run_rows import Run
from harvester_dagster.access.solr.writer import BatchSent, together
from harvester_dagster.processes.read_ahead import Stopped
from harvester_dagster.store.database import Pool

_GROUPS_IN_FLIGHT = 3
_SECONDS_TO_ANSWER = 2.5
"""After a stop, for updates that are on their way: with the rest of the work a stop takes less than 5 s."""
_FINDINGS_A_RUN = 10_000


class Recorder:
    """Records one run's groups; `show` is called whenever there is news."""

    def __init__(self, pool: Pool, run: Run, counts: Counts, show: Callable[[], None]) -> None:
        self.pool, self.run, self.start = pool, run, run.start
        self.counts, self.show = counts, show
        self.findings = 0

    def record_all(self, groups: Iterator[Group]) -> str | None:
        """Record group by group, in their order; the id of the last document. Raises Stopped, OutsideError, after
        what had been sent by then was waited for (2.5 s) and recorded."""
        waiting: deque[Group] = deque()
        last: str | None = None
        try:
            for group in groups:
                waiting.append(group)
                last = group.lowest
                while waiting and (len(waiting) > _GROUPS_IN_FLIGHT or _answered(waiting[0])):
                    self._wait(waiting[0])
                    self._record(waiting.popleft())
            while waiting:
                self._wait(waiting[0])
                self._record(waiting.popleft())
        except BaseException:
            self._account(waiting)
            raise
        if self.run.stop.is_set():
            raise Stopped
        return last

    def _wait(self, group: Group) -> None:
        """Until the group is answered. Raises Stopped when a stop was asked for first, and what an update raised."""
        open_ = {future for _batch, future in group.sent}
        while open_:
            if self.run.stop.is_set():
                raise Stopped
            done, open_ = wait_for(open_, timeout=0.1)
            for future in done:
                future.result()
            self.show()

    def _record(self, group: Group) -> None:
        """One transaction for what the group was, became, and where a later run begins."""
        sent = together(future.result() for _batch, future in group.sent)
        self.counts.add_sent(sum(len(batch) for batch, _future in group.sent), sent)
        self.counts.processed += group.documents
        self._store(group, sent, cursor=group.cursor)
        self.show()

    def _store(self, group: Group, sent: BatchSent, cursor: str | None) -> None:
        key, run_id = self.start.endpoint_id, self.start.run_id
        verdicts = (*group.settled, *sent.applied, *sent.unchanged)
        with self.pool.connection() as connection:
            decisions.keep(connection, key, run_id, verdicts, group.stored)
            decisions.forget(connection, key, (*group.vanished, *sent.gone))
            decisions.mark_due(connection, key, [*sent.moved, *(id_ for id_, _why in sent.failed)])
            self._keep_findings(connection, [*group.findings, *_findings(sent)])
            if cursor is not None:
                connection.execute("UPDATE access_run SET cursor = %s WHERE run_id = %s", (cursor, run_id))

    def _keep_findings(self, connection: Connection[Any], found: Sequence[tuple[str, str, str]]) -> None:
        room = _FINDINGS_A_RUN - self.findings
        if found and room > 0:
            run_rows.keep_findings(connection, self.start.run_id, found[:room])
            self.findings += len(found[:room])

    def _account(self, waiting: Iterable[Group]) -> None:
        """At the end of a run that did not come through: what was sent is waited for, a little, and recorded."""
        if self.run.lost:
            return
        self.run.stop.set()
        futures = [future for group in waiting for _batch, future in group.sent]
        wait_for(futures, timeout=_SECONDS_TO_ANSWER)
        in_order = True
        for group in waiting:
            known = [future for _batch, future in group.sent if future.done() and not future.exception()]
            begun = [(batch, future) for batch, future in group.sent if not _never_sent(future)]
            unknown = tuple(
                (verdict.id, "not answered before the end of the run")
                for batch, future in begun
                if future not in known
                for verdict in batch
            )
            sent = together((*(future.result() for future in known), BatchSent(failed=unknown)))
            self.counts.add_sent(sum(len(batch) for batch, _future in begun), sent)
            in_order = in_order and len(known) == len(group.sent)
            if in_order:
                self.counts.processed += group.documents
            self._store(group, sent, group.cursor if in_order else None)


def _answered(group: Group) -> bool:
    return all(future.done() for _batch, future in group.sent)


def _never_sent(future: "Future[BatchSent]") -> bool:
    return future.cancel() or (future.done() and isinstance(future.exception(), Stopped))


def _findings(sent: BatchSent) -> Iterator[tuple[str, str, str]]:
    yield from ((id_, "gone", "deleted under the run's feet") for id_ in sent.gone)
    yield from ((id_, "moved", "changed twice under the run's feet; left for the next run") for id_ in sent.moved)
    yield from ((id_, "failed", why) for id_, why in sent.failed)
