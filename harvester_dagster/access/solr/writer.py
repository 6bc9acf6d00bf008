"""Writing decisions to Solr: batches of atomic updates, each accounted for to its last document.

Belongs here: sending, what became of each document (applied, gone, moved, failed), one new look at those that moved,
and the threads. How many at once and how large a batch is decided in `write_rate.py`.
Does not belong here: deciding (passed in as a function), what is stored about it.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from harvester_dagster.access.decide.decisions import DecidedDocument
from harvester_dagster.access.decide.solr_document import SolrDocument
from harvester_dagster.access.solr.collection import AccessChange, Solr
from harvester_dagster.access.solr.reader import patiently
from harvester_dagster.access.solr.write_rate import WriteRate
from harvester_dagster.failures import PermanentError, TransientError
from harvester_dagster.processes.read_ahead import Stopped

_REFUSED_AT_ONCE = frozenset({"refused", "read-only", "no-collection", "schema"})
_SINGLES_REFUSED = 20
"""So many documents refused one by one before any was taken: it is not the documents."""

_Answered = TypeVar("_Answered")


class BatchSent(NamedTuple):
    """What became of a batch. Each document that was sent is in exactly one of these."""

    applied: tuple[DecidedDocument, ...] = ()
    unchanged: tuple[DecidedDocument, ...] = ()
    """Moved meanwhile, and needs no update as it is now."""
    gone: tuple[str, ...] = ()
    """Deleted meanwhile, or not to be decided any more."""
    moved: tuple[str, ...] = ()
    """Moved twice: left for the next run."""
    failed: tuple[tuple[str, str], ...] = ()
    conflicts: int = 0
    """How many were not taken at first because they had moved."""


def together(parts: Iterable[BatchSent]) -> BatchSent:
    """What became of several batches, as if they had been one."""
    whole = BatchSent()
    for part in parts:
        whole = BatchSent(
            whole.applied + part.applied,
            whole.unchanged + part.unchanged,
            whole.gone + part.gone,
            whole.moved + part.moved,
            whole.failed + part.failed,
            whole.conflicts + part.conflicts,
        )
    return whole


Decide = Callable[[SolrDocument], tuple[DecidedDocument, bool] | None]
"""Decide a document as it is now: the verdict, and whether Solr must be told. None: not a document to decide."""


class Writers:
    """Threads that send updates, as many at once as `pace` allows."""

    def __init__(self, solr: Solr, pace: WriteRate, decide: Decide, stop: threading.Event) -> None:
        self._solr = solr
        self._pace = pace
        self._decide = decide
        self._stop = stop
        self._taken_any = False
        self._refused = 0
        self._waiting: queue.Queue[tuple[Sequence[DecidedDocument], Future[BatchSent]] | None] = queue.Queue()
        self._threads = [
            # Daemons: a Solr that does not answer must not keep a stopped run alive.
            threading.Thread(target=self._work, name=f"access-writer-{number}", daemon=True)
            for number in range(pace.max_writers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, batch: Sequence[DecidedDocument]) -> "Future[BatchSent]":
        """Have a batch sent. What its future raises (OutsideError, Stopped) ends the run."""
        future: Future[BatchSent] = Future()
        self._waiting.put((batch, future))
        return future

    def close(self) -> None:
        """Let the threads end when they have sent what was submitted; does not wait for them."""
        for _ in self._threads:
            self._waiting.put(None)

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            batch, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._settle(batch))
            except BaseException as error:
                future.set_exception(error)

    def _settle(self, batch: Sequence[DecidedDocument]) -> BatchSent:
        if self._stop.is_set():
            raise Stopped
        first, uncertain = self._send(batch)
        if not (open_ := _unanswered(batch, first)):
            return first
        latest = self._patiently(lambda: self._solr.latest([verdict.id for verdict in open_]))
        again: list[DecidedDocument] = []
        applied: list[DecidedDocument] = []
        unchanged: list[DecidedDocument] = []
        gone: list[str] = []
        for verdict in open_:
            document = latest.get(verdict.id)
            decided = self._decide(document) if document is not None else None
            if decided is None:
                gone.append(verdict.id)
            elif decided[1]:
                again.append(decided[0])
            elif uncertain:  # an update whose answer was lost had been applied after all
                applied.append(decided[0])
            else:
                unchanged.append(decided[0])
        second = self._send(again)[0] if again else BatchSent()
        left = tuple(verdict.id for verdict in _unanswered(again, second))
        found = BatchSent(tuple(applied), tuple(unchanged), tuple(gone), left, (), 0 if uncertain else len(open_))
        return together((first, second, found))

    def _send(self, batch: Sequence[DecidedDocument]) -> tuple[BatchSent, bool]:
        """Those that were applied or failed; and whether an answer was lost on the way. The others had moved."""
        lost = False

        def send() -> dict[str, int]:
            nonlocal lost
            try:
                return self._once(batch)
            except TransientError as error:
                lost = lost or error.code in ("timeout", "cut", "not-solr", "status-502", "status-504", "status-500")
                raise

        try:
            versions = self._patiently(send)
        except PermanentError as error:
            return self._divided(batch, error)
        self._taken_any = self._taken_any or bool(versions)
        taken = (DecidedDocument(v.id, versions[v.id], v.decision, v.issns) for v in batch if v.id in versions)
        return BatchSent(tuple(taken)), lost

    def _divided(self, batch: Sequence[DecidedDocument], error: PermanentError) -> tuple[BatchSent, bool]:
        """Solr stops at the first document that it refuses: find it. Those before it were applied, and have moved."""
        if error.code in _REFUSED_AT_ONCE:
            raise error
        if len(batch) == 1:
            self._refused += 1
            if self._refused >= _SINGLES_REFUSED and not self._taken_any:
                raise error
            return BatchSent(failed=((batch[0].id, error.sentence),)), False
        middle = len(batch) // 2
        first, _lost = self._send(batch[:middle])
        second, _lost = self._send(batch[middle:])
        return together((first, second)), True

    def _once(self, batch: Sequence[DecidedDocument]) -> dict[str, int]:
        changes = [AccessChange(v.id, v.version, v.decision.access, v.decision.info) for v in batch]
        with self._pace.turn(self._stop) as turn:
            versions = self._solr.update(changes)
            turn.done(len(batch))
            return versions

    def _patiently(self, ask: Callable[[], _Answered]) -> _Answered:
        return patiently(ask, self._stop, self._solr.patience)


def _unanswered(batch: Sequence[DecidedDocument], sent: BatchSent) -> list[DecidedDocument]:
    known = {verdict.id for verdict in sent.applied} | {id_ for id_, _reason in sent.failed}
    return [verdict for verdict in batch if verdict.id not in known]
