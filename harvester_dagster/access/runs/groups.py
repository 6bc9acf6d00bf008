"""Documents read, decided and given to the writers: page by page, in groups that are recorded together.

Belongs here: which pages a mode reads, one ahead, and what a group holds. Does not belong here: what becomes of a
group (`recording.py`).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from harvester_dagster.access.decide import decisions
from harvester_dagster.access.decide.decider import Decider
from harvester_dagster.access.decide.decisions import DecidedDocument, StoredDecision
from harvester_dagster.access.decide.solr_document import SolrDocument, SolrPage
from harvester_dagster.access.runs.enricher import Enricher
from harvester_dagster.access.runs.figures import Counts
from harvester_dagster.access.runs.modes import MODES, Mode
from harvester_dagster.access.runs.run_rows import Run
from harvester_dagster.access.solr.reader import PAGES_AHEAD, patiently, walk
from harvester_dagster.access.solr.write_rate import WriteRate
from harvester_dagster.access.solr.writer import BatchSent, Writers
from harvester_dagster.processes.read_ahead import read_ahead

GROUP_DOCUMENTS = 20_000
"""At most about so many in a group: groups in flight are what a run holds in memory."""


class Group(NamedTuple):
    """Pages that are recorded together, in one transaction."""

    documents: int
    cursor: str | None
    lowest: str | None
    """The id of the last document."""
    settled: Sequence[DecidedDocument]
    vanished: Sequence[str]
    stored: dict[str, StoredDecision]
    sent: Sequence[tuple[Sequence[DecidedDocument], "Future[BatchSent]"]]
    findings: Sequence[tuple[str, str, str]]


class Groups:
    """The documents that one run reads, decided and handed to the writers."""

    def __init__(self, job: Enricher, mode: Mode, run: Run, pace: WriteRate, counts: Counts, walks_all: bool) -> None:
        self.job, self.mode, self.run, self.start = job, mode, run, run.start
        self.pace, self.counts, self.walks_all = pace, counts, walks_all

    def given_to(self, writers: Writers, decider: Decider) -> Iterator[Group]:
        """Each group, its updates on their way. Ends early when a stop is asked for. Raises OutsideError, Stopped."""
        settled: list[DecidedDocument] = []
        to_send: list[DecidedDocument] = []
        vanished: list[str] = []
        stored: dict[str, StoredDecision] = {}
        found: list[tuple[str, str, str]] = []
        documents = 0
        cursor: str | None = None
        below: str | None = None

        def group() -> Group:
            size = self.pace.batch
            batches = [to_send[at : at + size] for at in range(0, len(to_send), size)]
            sent = [(batch, writers.submit(batch)) for batch in batches]
            return Group(documents, cursor, below, settled, vanished, stored, sent, found)

        with read_ahead(self._pages(), count=PAGES_AHEAD, stop=self.run.stop) as coming:
            for page, behind in coming:
                if self.run.stop.is_set():
                    break
                self.counts.total = page.total
                here = self._stored(page.documents, below)
                below = page.documents[-1].id if page.documents else below
                if self.walks_all:
                    present = {document.id for document in page.documents}
                    vanished += [id_ for id_ in here if id_ not in present]
                stored |= here
                for judged in decider.page(self._sound(page.documents, found)):
                    (settled if self.counts.add(judged) else to_send).append(judged.verdict)
                    if judged.problems:
                        found += [(judged.document.id, kind, seen) for kind, seen in judged.problems]
                documents += len(page.documents)
                cursor = behind
                if len(to_send) >= self.pace.batch * self.pace.writers or documents >= GROUP_DOCUMENTS:
                    yield group()
                    settled, to_send, vanished, stored, found = [], [], [], {}, []
                    documents = 0
        if documents:
            yield group()

    def _stored(self, documents: Sequence[SolrDocument], below: str | None) -> dict[str, StoredDecision]:
        if not documents:
            return {}
        key = self.start.endpoint_id
        with self.job.pool.connection() as connection:
            if not self.walks_all:
                return decisions.of_ids(connection, key, [document.id for document in documents])
            if below is None and self.start.cursor != "*":
                below = documents[0].id + "\x01"  # what lies before belongs to the run that this one continues
            return decisions.between(connection, key, documents[-1].id, below)

    def _sound(self, documents: list[SolrDocument], found: list[tuple[str, str, str]]) -> list[SolrDocument]:
        if not any("\0" in document.id for document in documents):
            return documents
        self.counts.problems["id: holds a zero byte"] += 1
        found.append(("?", "id: holds a zero byte", "not decided"))
        return [document for document in documents if "\0" not in document.id]

    def _pages(self) -> Iterator[tuple[SolrPage, str | None]]:
        """Each page, and the cursor behind it: where a later run may begin."""
        if self.mode.name == "changed" and not self.walks_all:
            return self._due_pages()
        filters = MODES["full"].filters if self.walks_all else self.mode.filters
        return iter(walk(self.job.solr, filters, self.start.cursor, self.job.settings.page_size, self.run.stop))

    def _due_pages(self) -> Iterator[tuple[SolrPage, None]]:
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
            documents = patiently(partial(job.solr.by_id, ids), self.run.stop, job.solr.patience)
            found = {document.id for document in documents}
            gone = [id_ for id_ in ids if id_ not in found]
            with job.pool.connection() as connection:
                decisions.forget(connection, key, gone)
            self.counts.forgotten += len(gone)
            yield SolrPage(total, documents, ""), None
