"""One run of the enricher: read, decide, write, and know afterwards what became of every document.

Belongs here: the streaming pass over an endpoint in one mode, how it goes on after a stop or a crash, and its figures.
Does not belong here: each part's own business (reader, rules, writers, what is stored).

Pages are read one ahead, decided here, sent by the writers, and recorded in groups: what was decided, which documents
are gone, and the cursor behind them, in one transaction when the last update of the group was answered. So a run that
dies begins again at most a few groups back, and finds what it sent already in place.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from psycopg import Connection

from harvester_dagster.access import changed, decisions, journal_store, runs
from harvester_dagster.access.deciding import Decider, Judged, already_told
from harvester_dagster.access.decisions import Stored, Verdict
from harvester_dagster.access.documents import Document, Page
from harvester_dagster.access.doi import Resolver
from harvester_dagster.access.journal_store import Refreshed
from harvester_dagster.access.modes import MODES, Mode
from harvester_dagster.access.pace import Pace
from harvester_dagster.access.reader import Stopped, ahead, interruptible, patiently, walk
from harvester_dagster.access.rules import VERSION, Decision
from harvester_dagster.access.runs import Run, Start
from harvester_dagster.access.solr import Solr
from harvester_dagster.access.writer import Sent, Writers, together
from harvester_dagster.config import Metastore
from harvester_dagster.outside.failures import OutsideError
from harvester_dagster.outside.outside import Outside
from harvester_dagster.store.database import Pool

_GROUPS_IN_FLIGHT = 3
_GROUP_DOCUMENTS = 50_000
_SECONDS_TO_ANSWER = 2.5
"""After a stop, for updates that are on their way: with the rest of the work a stop takes less than 5 s."""
_SECONDS_TO_COMMIT = 1.0
_FINDINGS_A_RUN = 10_000
_SHOW_SECONDS = 0.5


@dataclass(frozen=True)
class Enricher:
    """What a run of one endpoint works with (`endpoints.py` puts it together). `clock` answers in UTC."""

    pool: Pool
    solr: Solr
    settings: Metastore
    outside: Outside
    zone: ZoneInfo
    clock: Callable[[], datetime]

    def today(self) -> date:
        return self.clock().astimezone(self.zone).date()

    def this_year(self) -> int:
        return self.today().year

    @property
    def basis(self) -> str:
        """What decisions stand on beside the data: when it changes, `changed` reads everything."""
        return f"rules {VERSION}" + (", doi resolver" if self.settings.doi_resolver_url else "")

    def decider(self, journals: journal_store.Shelf, stop: threading.Event) -> Decider:
        settings = self.settings
        resolver = (
            Resolver(self.pool, self.outside, settings.doi_resolver_url, settings.doi_resolver_email, self.clock, stop)
            if settings.doi_resolver_url
            else None
        )
        return Decider(journals.by_issn, self.this_year, resolver=resolver)


@dataclass
class Counts:
    """The figures of a run. sent = applied + unchanged_meanwhile + gone + moved + failed."""

    total: int = 0
    processed: int = 0
    already: int = 0
    """Processed by the runs that this one continues."""
    unchanged: int = 0
    sent: int = 0
    applied: int = 0
    unchanged_meanwhile: int = 0
    gone: int = 0
    moved: int = 0
    failed: int = 0
    conflicts: int = 0
    forgotten: int = 0
    """Due, but not in the collection any more."""
    due_later: int = 0
    """Documents that others changed during the run: for `changed`."""
    rules: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)

    @property
    def skipped(self) -> int:
        return self.unchanged_meanwhile + self.gone + self.moved

    def add(self, judged: Judged) -> bool:
        """Count a decision; whether Solr says so already."""
        document, decision = judged.document, judged.decision
        self.rules[decision.rule] += 1
        for problem in judged.problems:
            self.problems[problem.kind] += 1
        if already_told(document, decision):
            self.unchanged += 1
            return True
        self.changes[change(document.fulltext_availability_ss, decision)] += 1
        return False


@dataclass(frozen=True)
class Report:
    """How a run ended, or how far it is. Times are ISO 8601 in UTC."""

    endpoint: str
    mode: str
    state: str
    started_at: str
    ended_at: str | None
    seconds: float
    counts: Counts
    per_second: float
    eta_seconds: float | None
    writers: int = 0
    batch: int = 0
    overloads: int = 0
    reason: str = ""
    continues: int | None = None

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


Show = Callable[[Report], None]


class _Group(NamedTuple):
    """Pages that are recorded together."""

    documents: int
    cursor: str | None
    lowest: str | None
    """The id of the last document."""
    settled: Sequence[Verdict]
    vanished: Sequence[str]
    stored: dict[str, Stored]
    sent: Sequence[tuple[Sequence[Verdict], "Future[Sent]"]]
    findings: Sequence[tuple[str, str, str]]


def refresh_journals(job: Enricher, *, only_if_older: bool = False) -> Refreshed | None:
    """Read the endpoint's journals. With `only_if_older`: unless a copy is young enough; then None."""
    if only_if_older:
        old = journal_store.age(job.pool, job.solr.name, job.clock())
        if old is not None and old <= job.settings.journals_max_age:
            return None
    job.solr.check()
    return journal_store.refresh(job.pool, job.solr, job.settings.page_size, job.clock())


def enrich(
    job: Enricher,
    mode: str,
    *,
    dry_run: bool = False,
    patience: float = 0,
    request: int | None = None,
    show: Show | None = None,
) -> Report:
    """Decide the documents of a mode and write what differs. One run per endpoint at a time.

    Raises InProgress, and OutsideError when Solr failed for longer than it is waited for; a later run goes on there.
    `patience`: seconds to wait for another run of the endpoint to end. `request`: what `runs.request` gave, if this is
    the run that was asked for there; raises StoppedBefore when it was stopped meanwhile.
    """
    if dry_run:
        return _dry(job, MODES[mode], show)
    with runs.running(job.pool, job.solr.name, mode, job.basis, job.clock(), patience, request) as run:
        return _Pass(job, MODES[mode], run, show).go()


class _Pass:
    """The state of one run."""

    def __init__(self, job: Enricher, mode: Mode, run: Run, show: Show | None) -> None:
        self.job = job
        self.mode = mode
        self.run = run
        self.start: Start = run.start
        self.counts = Counts(already=run.start.already)
        self.pace = Pace(job.settings.max_writers, runs.best(job.pool, job.solr.name))
        self.began = time.monotonic()
        self.began_at = job.clock()
        self.findings = 0
        self._show = show
        self._shown = 0.0

    def go(self) -> Report:
        job, run = self.job, self.run
        self.say(f"started: {self.mode.says}" + (", where the last run ended" if self.start.continues else ""))
        try:
            self._whole_pass()
        except Stopped:
            return self._ended("stopped", "stopped on request")
        except OutsideError as error:
            self._ended("failed", error.sentence)
            raise
        except BaseException as error:
            if not run.lost:
                self._ended("failed" if isinstance(error, Exception) else "stopped", repr(error)[:500])
            raise
        if self.pace.best:
            runs.keep_best(job.pool, job.solr.name, self.pace.best)
        return self._ended("complete")

    def _whole_pass(self) -> None:
        job, solr = self.job, self.job.solr
        interruptible(solr.check, self.run.stop, patience=0)
        if self.start.untidy:  # what an earlier run sent becomes visible, so that it is not sent again
            interruptible(solr.commit, self.run.stop)
        if journal_store.age(job.pool, solr.name, job.clock()) is None:
            refresh_journals(job)
        journals = journal_store.load(job.pool, solr.name)
        with job.pool.connection() as connection:
            known = changed.last_complete(connection, self.start.endpoint_id, job.basis)
        walks_all = self.mode.whole or (self.mode.name == "changed" and known is None)
        watermark = interruptible(solr.highest_version, self.run.stop)
        generation = journals.generation
        if walks_all or self.mode.name != "changed":
            watermark = self.start.watermark if self.start.watermark is not None else watermark
            earlier = self.start.journals_generation
            generation = earlier if earlier is not None else generation
            runs.note_walk(job.pool, self.start.run_id, watermark, generation)
        elif known is not None:
            with job.pool.connection() as connection:
                marked, by_journals = self._mark(connection, known)
                changed.known_completely(connection, self.start.endpoint_id, watermark, generation, job.basis)
            self.say(f"{marked:,} documents moved, {by_journals:,} by their journals")
        decider = job.decider(journals, self.run.stop)
        with self._stopping_writers(decider) as writers:
            groups = self._groups(self._pages(walks_all), decider, writers, walks_all)
            last = self._recorded(groups, writers)
        if self.counts.applied or self.start.untidy:
            self.say("committing")
            interruptible(solr.commit, self.run.stop)
        if walks_all:
            self._know_completely(last, watermark, generation)
        if decider.resolver and decider.resolver.trouble:
            self.say(f"the DOI resolver was not asked to the end: {decider.resolver.trouble}")

    def _know_completely(self, last: str | None, watermark: int, generation: int) -> None:
        job, key = self.job, self.start.endpoint_id
        highest = interruptible(job.solr.highest_version, self.run.stop)
        with job.pool.connection() as connection:
            self.counts.due_later = changed.mark_moved(connection, key, job.solr, watermark, self.run.stop)
            if last is not None or self.start.cursor == "*":
                decisions.forget_below(connection, key, last)
            changed.known_completely(connection, key, highest, generation, job.basis)

    def _mark(self, connection: Connection[Any], known: tuple[int, int]) -> tuple[int, int]:
        key, solr = self.start.endpoint_id, self.job.solr
        moved = changed.mark_moved(connection, key, solr, known[0], self.run.stop)
        return moved, changed.mark_by_journals(connection, key, known[1])

    # Reading

    def _pages(self, walks_all: bool) -> Iterator[tuple[Page, str | None]]:
        """Each page, and the cursor behind it: where a later run may begin."""
        if self.mode.name == "changed" and not walks_all:
            return self._due_pages()
        filters = MODES["full"].filters if walks_all else self.mode.filters
        return iter(walk(self.job.solr, filters, self.start.cursor, self.job.settings.page_size, self.run.stop))

    def _due_pages(self) -> Iterator[tuple[Page, None]]:
        """What is due is in Postgres: a later run finds what this one left, so it needs no cursor."""
        job, key, today = self.job, self.start.endpoint_id, self.job.today()
        with job.pool.connection() as connection:
            total = decisions.count_due(connection, key, today)
        below: str | None = None
        while not self.run.stop.is_set():
            with job.pool.connection() as connection:
                ids = decisions.due(connection, key, today, below, job.settings.page_size)
            if not ids:
                return
            below = ids[-1]
            documents = patiently(lambda wanted=ids: job.solr.by_id(wanted), self.run.stop)  # type: ignore[misc]
            found = {document.id for document in documents}
            gone = [id_ for id_ in ids if id_ not in found]
            with job.pool.connection() as connection:
                decisions.forget(connection, key, gone)
            self.counts.forgotten += len(gone)
            yield Page(total, documents, ""), None

    # Deciding

    def _groups(
        self, pages: Iterator[tuple[Page, str | None]], decider: Decider, writers: Writers, walks_all: bool
    ) -> Iterator[_Group]:
        settled: list[Verdict] = []
        to_send: list[Verdict] = []
        vanished: list[str] = []
        stored: dict[str, Stored] = {}
        found: list[tuple[str, str, str]] = []
        documents = 0
        cursor: str | None = None
        below: str | None = None

        def group() -> _Group:
            size = self.pace.batch
            batches = [to_send[at : at + size] for at in range(0, len(to_send), size)]
            sent = [(batch, writers.submit(batch)) for batch in batches]
            return _Group(documents, cursor, below, settled, vanished, stored, sent, found)

        with ahead(pages, self.run.stop) as coming:
            for page, behind in coming:
                if self.run.stop.is_set():
                    break
                self.counts.total = page.total
                here = self._stored(page.documents, below, walks_all)
                below = page.documents[-1].id if page.documents else below
                if walks_all:
                    present = {document.id for document in page.documents}
                    vanished += [id_ for id_ in here if id_ not in present]
                stored |= here
                for judged in decider.page(self._sound(page.documents, found)):
                    (settled if self.counts.add(judged) else to_send).append(judged.verdict)
                    if judged.problems:
                        found += [(judged.document.id, kind, seen) for kind, seen in judged.problems]
                documents += len(page.documents)
                cursor = behind
                if len(to_send) >= self.pace.batch * self.pace.writers or documents >= _GROUP_DOCUMENTS:
                    yield group()
                    settled, to_send, vanished, stored, found = [], [], [], {}, []
                    documents = 0
        if documents:
            yield group()

    def _stored(self, documents: Sequence[Document], below: str | None, walks_all: bool) -> dict[str, Stored]:
        if not documents:
            return {}
        key = self.start.endpoint_id
        with self.job.pool.connection() as connection:
            if not walks_all:
                return decisions.of_ids(connection, key, [document.id for document in documents])
            if below is None and self.start.cursor != "*":
                below = documents[0].id + "\x01"  # what lies before belongs to the run that this one continues
            return decisions.between(connection, key, documents[-1].id, below)

    def _sound(self, documents: list[Document], found: list[tuple[str, str, str]]) -> list[Document]:
        if not any("\0" in document.id for document in documents):
            return documents
        self.counts.problems["id: holds a zero byte"] += 1
        found.append(("?", "id: holds a zero byte", "not decided"))
        return [document for document in documents if "\0" not in document.id]

    # Recording

    @contextmanager
    def _stopping_writers(self, decider: Decider) -> Iterator[Writers]:
        def decide(document: Document) -> tuple[Verdict, bool] | None:
            if document.superformat_s != "bib":
                return None
            judged = decider.one(document)
            return judged.verdict, not already_told(document, judged.decision)

        writers = Writers(self.job.solr, self.pace, decide, self.run.stop)
        try:
            yield writers
        finally:
            writers.close()

    def _recorded(self, groups: Iterator[_Group], writers: Writers) -> str | None:
        """Record group by group, in their order; the last document's id. Raises Stopped, OutsideError."""
        waiting: deque[_Group] = deque()
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

    def _wait(self, group: _Group) -> None:
        """Until the group is answered. Raises Stopped when a stop was asked for first, and what an update raised."""
        open_ = {future for _batch, future in group.sent}
        while open_:
            if self.run.stop.is_set():
                raise Stopped
            done, open_ = wait_for(open_, timeout=0.1)
            for future in done:
                future.result()
            self.show()

    def _record(self, group: _Group) -> None:
        """One transaction for what the group was, became, and where a later run begins."""
        sent = together(future.result() for _batch, future in group.sent)
        self._add(sum(len(batch) for batch, _future in group.sent), sent)
        self.counts.processed += group.documents
        self._store(group, sent, cursor=group.cursor)
        self.show()

    def _add(self, number: int, sent: Sent) -> None:
        counts = self.counts
        counts.sent += number
        counts.applied += len(sent.applied)
        counts.unchanged_meanwhile += len(sent.unchanged)
        counts.gone += len(sent.gone)
        counts.moved += len(sent.moved)
        counts.failed += len(sent.failed)
        counts.conflicts += sent.conflicts

    def _store(self, group: _Group, sent: Sent, cursor: str | None) -> None:
        key, run_id = self.start.endpoint_id, self.start.run_id
        verdicts = (*group.settled, *sent.applied, *sent.unchanged)
        with self.job.pool.connection() as connection:
            decisions.keep(connection, key, run_id, verdicts, group.stored)
            decisions.forget(connection, key, (*group.vanished, *sent.gone))
            decisions.mark_due(connection, key, [*sent.moved, *(id_ for id_, _why in sent.failed)])
            self._keep_findings(connection, [*group.findings, *_findings(sent)])
            if cursor is not None:
                connection.execute("UPDATE access_run SET cursor = %s WHERE run_id = %s", (cursor, run_id))

    def _keep_findings(self, connection: Connection[Any], found: Sequence[tuple[str, str, str]]) -> None:
        room = _FINDINGS_A_RUN - self.findings
        if found and room > 0:
            runs.keep_findings(connection, self.start.run_id, found[:room])
            self.findings += len(found[:room])

    def _account(self, waiting: Iterable[_Group]) -> None:
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
            sent = together((*(future.result() for future in known), Sent(failed=unknown)))
            self._add(sum(len(batch) for batch, _future in begun), sent)
            in_order = in_order and len(known) == len(group.sent)
            if in_order:
                self.counts.processed += group.documents
            self._store(group, sent, group.cursor if in_order else None)

    # Telling

    def _ended(self, state: str, reason: str = "") -> Report:
        job = self.job
        if state != "complete" and self.counts.applied:
            try:
                job.solr.commit(timeout=_SECONDS_TO_COMMIT)
            except OutsideError as error:
                self.say(f"not committed: {error.sentence}; the next run will")
        report = self.report(state, reason)
        self.run.show(report.as_json())
        runs.end(job.pool, self.start.run_id, state, job.clock(), reason)
        counts = self.counts
        self.say(
            f"{state}: {counts.processed:,} documents in {report.seconds:.1f} s ({report.per_second:,.0f}/s), "
            f"{counts.applied:,} updated, {counts.skipped:,} skipped, {counts.failed:,} failed"
            + (f"; {reason}" if reason else "")
        )
        if self._show:
            self._show(report)
        return report

    def report(self, state: str = "running", reason: str = "") -> Report:
        return _report(
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
        report = self.report()
        self.run.show(report.as_json())
        if self._show:
            self._show(report)

    def say(self, text: str) -> None:
        runs.say(self.job.pool, self.start.run_id, self.job.clock(), text)


def _report(
    job: Enricher, mode: Mode, state: str, counts: Counts, began: float, began_at: datetime, **more: Any
) -> Report:
    seconds = time.monotonic() - began
    rate = counts.processed / seconds if seconds > 0 else 0.0
    left = max(counts.total - counts.already - counts.processed, 0)
    return Report(
        endpoint=job.solr.name,
        mode=mode.name,
        state=state,
        started_at=began_at.isoformat(),
        ended_at=None if state == "running" else job.clock().isoformat(),
        seconds=seconds,
        counts=counts,
        per_second=rate,
        eta_seconds=left / rate if rate and state == "running" else None,
        **more,
    )


def _dry(job: Enricher, mode: Mode, show: Show | None) -> Report:
    """Read and decide, write nothing, neither to Solr nor to Postgres."""
    stop = threading.Event()
    job.solr.check()
    journals = journal_store.load(job.pool, job.solr.name)
    decider = job.decider(journals, stop)
    counts, began, began_at = Counts(), time.monotonic(), job.clock()

    def report(state: str) -> Report:
        return _report(job, mode, state, counts, began, began_at)

    with ahead(_dry_pages(job, mode, stop), stop) as pages:
        for page in pages:
            counts.total = page.total
            for judged in decider.page(page.documents):
                counts.add(judged)
            counts.processed += len(page.documents)
            if show:
                show(report("running"))
    return report("complete")


def _dry_pages(job: Enricher, mode: Mode, stop: threading.Event) -> Iterator[Page]:
    with job.pool.connection() as connection:
        key = runs.endpoint_id(connection, job.solr.name)
        known = changed.last_complete(connection, key, job.basis) if mode.name == "changed" else None
        if known is None:
            filters = MODES["full"].filters if mode.name == "changed" else mode.filters
            yield from (page for page, _cursor in walk(job.solr, filters, "*", job.settings.page_size, stop))
            return
        with connection.transaction(force_rollback=True):
            changed.mark_moved(connection, key, job.solr, known[0], stop)
            changed.mark_by_journals(connection, key, known[1])
            total, below = decisions.count_due(connection, key, job.today()), None
            while ids := decisions.due(connection, key, job.today(), below, job.settings.page_size):
                below = ids[-1]
                yield Page(total, job.solr.by_id(ids), "")


def change(was: Sequence[str], decision: Decision) -> str:
    """From what to what, for counting."""
    return f"{','.join(was) or 'none'} -> {','.join(decision.access) or 'none'} ({decision.info})"


def _answered(group: _Group) -> bool:
    return all(future.done() for _batch, future in group.sent)


def _never_sent(future: "Future[Sent]") -> bool:
    return future.cancel() or (future.done() and isinstance(future.exception(), Stopped))


def _findings(sent: Sent) -> Iterator[tuple[str, str, str]]:
    yield from ((id_, "gone", "deleted under the run's feet") for id_ in sent.gone)
    yield from ((id_, "moved", "changed twice under the run's feet; left for the next run") for id_ in sent.moved)
    yield from ((id_, "failed", why) for id_, why in sent.failed)
