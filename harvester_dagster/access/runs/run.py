"""One run of the enricher: read, decide, write, and know afterwards what became of every document.

Belongs here: the streaming pass over an endpoint in one mode, how it goes on after a stop or a crash, and what it says.
Does not belong here: each part's own business (groups, writers, recording, what is stored).

Pages are read one ahead and decided (`groups.py`), sent by the writers, and recorded in groups: what was decided, which
documents are gone, and the cursor behind them, in one transaction when the last update of the group was answered. So a
run that dies begins again at most a few groups back, and finds what it sent already in place.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from psycopg import Connection

from harvester_dagster.access.decide import decisions
from harvester_dagster.access.decide.decider import Decider, already_told
from harvester_dagster.access.decide.decisions import DecidedDocument
from harvester_dagster.access.decide.solr_document import SolrDocument
from harvester_dagster.access.runs import changed, journal_store, run_rows
from harvester_dagster.access.runs.dry import dry_run as without_writing
from harvester_dagster.access.runs.enricher import Enricher, refresh_journals
from harvester_dagster.access.runs.figures import Counts, RunReport, Show, reported
from harvester_dagster.access.runs.groups import Groups
from harvester_dagster.access.runs.modes import MODES, Mode
from harvester_dagster.access.runs.recording import Recorder
from harvester_dagster.access.runs.run_rows import Run, Start
from harvester_dagster.access.solr.before_writing import check_writable, follow_alias
from harvester_dagster.access.solr.reader import interruptible
from harvester_dagster.access.solr.write_rate import WriteRate
from harvester_dagster.access.solr.writer import Writers
from harvester_dagster.failures import OutsideError
from harvester_dagster.processes.read_ahead import Stopped
from harvester_dagster.store import database

_SECONDS_TO_COMMIT = 1.0
_SHOW_SECONDS = 0.5


def enrich(
    job: Enricher,
    mode: str,
    *,
    dry_run: bool = False,
    patience: float = 0,
    request: int | None = None,
    show: Show | None = None,
    allow_loss: Collection[str] = (),
) -> RunReport:
    """Decide the documents of a mode and write what differs. One run per endpoint at a time.

    `patience`: seconds to wait for another run of the endpoint to end. `request`: what `run_rows.request` gave, if this
    is the run that was asked for there. `show` is told of the progress, twice a second at most. `allow_loss`: fields
    that may be harmed beside those of the settings. Raises InProgress, StoppedBefore when the requested run was stopped
    before it began, and OutsideError when an update would harm a field (nothing is written then) or Solr failed for
    longer than it is waited for; a later run goes on from there. Where the store was away, that is done here.
    """
    with suppress(OutsideError):  # it is asked again, with patience, within the run
        follow_alias(job.solr)
    if dry_run:
        return without_writing(job, MODES[mode], show, allow_loss)

    def one_run() -> RunReport:
        with run_rows.running(job.pool, job.solr.name, mode, job.basis, job.clock(), patience, request) as run:
            return _Pass(job, MODES[mode], run, show, {*job.settings.allow_loss, *allow_loss}).go()

    return database.again(one_run, str(job.pool.conninfo))


class _Pass:
    """The state of one run."""

    def __init__(
        self, job: Enricher, mode: Mode, run: Run, show: Show | None, allow_loss: Collection[str] = ()
    ) -> None:
        self.job = job
        self.mode = mode
        self.allow_loss = allow_loss
        self.run = run
        self.start: Start = run.start
        self.counts = Counts(already=run.start.already)
        self.pace = WriteRate(job.settings.max_writers, run_rows.best(job.pool, job.solr.name))
        self.began = time.monotonic()
        self.began_at = job.clock()
        self._show = show
        self._shown = 0.0

    def go(self) -> RunReport:
        job, run = self.job, self.run
        self.say(f"started: {self.mode.says}" + (", where the last run ended" if self.start.continues else ""))
        try:
            self._whole_pass()
        except Stopped:
            if run.lost and not run_rows.is_asked_to_stop(job.pool, run.start.run_id):
                raise run.lost from None
            return self._ended("stopped", "stopped on request")
        except OutsideError as error:
            self._ended("failed", error.sentence)
            raise
        except BaseException as error:
            if not run.lost:
                self._ended("failed" if isinstance(error, Exception) else "stopped", repr(error)[:500])
            raise
        if self.pace.best:
            run_rows.keep_best(job.pool, job.solr.name, self.pace.best)
        return self._ended("complete")

    def _whole_pass(self) -> None:
        job, solr = self.job, self.job.solr
        interruptible(solr.check, self.run.stop, patience=0)
        for loss in interruptible(partial(check_writable, solr, self.allow_loss), self.run.stop, solr.patience):
            self.say(f"by leave of allow_loss: {loss}")
        if self.start.untidy:  # what an earlier run sent becomes visible, so that it is not sent again
            interruptible(solr.commit, self.run.stop, solr.patience)
        if journal_store.age(job.pool, solr.name, job.clock()) is None:
            refresh_journals(job)
        journals = journal_store.load(job.pool, solr.name)
        with job.pool.connection() as connection:
            known = changed.last_complete(connection, self.start.endpoint_id, job.basis)
        walks_all = self.mode.whole or (self.mode.name == "changed" and known is None)
        watermark = interruptible(solr.highest_version, self.run.stop, solr.patience)
        generation = journals.generation
        if walks_all or self.mode.name != "changed":
            watermark = self.start.watermark if self.start.watermark is not None else watermark
            earlier = self.start.journals_generation
            generation = earlier if earlier is not None else generation
            run_rows.note_walk(job.pool, self.start.run_id, watermark, generation)
        elif known is not None:
            with job.pool.connection() as connection:
                marked, by_journals = self._mark(connection, known)
                changed.known_completely(connection, self.start.endpoint_id, watermark, generation, job.basis)
            self.say(f"{marked:,} documents moved, {by_journals:,} by their journals")
        decider = job.decider(journals, self.run.stop)
        groups = Groups(job, self.mode, self.run, self.pace, self.counts, walks_all)
        recorder = Recorder(job.pool, self.run, self.counts, self.show)
        with self._stopping_writers(decider) as writers:
            last = recorder.record_all(groups.given_to(writers, decider))
        if self.counts.applied or self.start.untidy:
            self.say("committing")
            interruptible(solr.commit, self.run.stop, solr.patience)
        if walks_all:
            self._know_completely(last, watermark, generation)
        if decider.resolver and decider.resolver.trouble:
            self.say(f"the DOI resolver was not asked to the end: {decider.resolver.trouble}")

    def _know_completely(self, last: str | None, watermark: int, generation: int) -> None:
        job, key = self.job, self.start.endpoint_id
        highest = interruptible(job.solr.highest_version, self.run.stop, job.solr.patience)
        with job.pool.connection() as connection:
            self.counts.due_later = changed.mark_moved(connection, key, job.solr, watermark, self.run.stop)
            if last is not None or self.start.cursor == "*":
                decisions.forget_below(connection, key, last)
            changed.known_completely(connection, key, highest, generation, job.basis)

    def _mark(self, connection: Connection[Any], known: tuple[int, int]) -> tuple[int, int]:
        key, solr = self.start.endpoint_id, self.job.solr
        moved = changed.mark_moved(connection, key, solr, known[0], self.run.stop)
        return moved, changed.mark_by_journals(connection, key, known[1])

    @contextmanager
    def _stopping_writers(self, decider: Decider) -> Iterator[Writers]:
        def decide(document: SolrDocument) -> tuple[DecidedDocument, bool] | None:
            if document.superformat_s != "bib":
                return None
            judged = decider.one(document)
            return judged.verdict, not already_told(document, judged.decision)

        writers = Writers(self.job.solr, self.pace, decide, self.run.stop)
        try:
            yield writers
        finally:
            writers.close()

    # Telling

    def _ended(self, state: str, reason: str = "") -> RunReport:
        job = self.job
        if state != "complete" and self.counts.applied:
            try:
                job.solr.commit(timeout=_SECONDS_TO_COMMIT)
            except OutsideError as error:
                self.say(f"not committed: {error.sentence}; the next run will")
        report = self.seen(state, reason)
        self.run.show(report.as_json())
        counts = self.counts
        self.say(
            f"{state}: {counts.processed:,} documents in {report.seconds:.1f} s ({report.per_second:,.0f}/s), "
            f"{counts.applied:,} updated, {counts.skipped:,} skipped, {counts.failed:,} failed"
            + (f"; {reason}" if reason else "")
        )
        run_rows.end(
            job.pool, self.start.run_id, state, job.clock(), reason
        )  # last: what comes after it is not repeated
        if self._show:
            self._show(report)
        return report

    def seen(self, state: str = "running", reason: str = "") -> RunReport:
        return reported(
            self.job,
            self.mode,
            state,
            self.counts,
            self.began,
            self.began_at,
            writers=self.pace.writers,
            batch=self.pace.batch,
            overloads=self.pace.overloads,
            reason=reason,
            continues=self.start.continues,
        )

    def show(self) -> None:
        if time.monotonic() - self._shown < _SHOW_SECONDS:
            return
        self._shown = time.monotonic()
        report = self.seen()
        self.run.show(report.as_json())
        if self._show:
            self._show(report)

    def say(self, text: str) -> None:
        run_rows.say(self.job.pool, self.start.run_id, self.job.clock(), text)
