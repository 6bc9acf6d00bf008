"""A run that only looks: the same documents and decisions, nothing written, neither to Solr nor to Postgres."""

import threading
import time
from collections.abc import Collection, Iterator

from harvester_dagster.access.decide import decisions
from harvester_dagster.access.decide.solr_document import SolrPage
from harvester_dagster.access.runs import changed, journal_store, run_rows
from harvester_dagster.access.runs.enricher import Enricher
from harvester_dagster.access.runs.figures import Counts, RunReport, Show, reported
from harvester_dagster.access.runs.modes import MODES, Mode
from harvester_dagster.access.solr.before_writing import check_writable
from harvester_dagster.access.solr.reader import PAGES_AHEAD, walk
from harvester_dagster.failures import PermanentError
from harvester_dagster.processes.read_ahead import read_ahead


def dry_run(job: Enricher, mode: Mode, show: Show | None, allow_loss: Collection[str] = ()) -> RunReport:
    """Read and decide, write nothing, neither to Solr nor to Postgres; `show` is told after each page. The report's
    reason says why a run that writes would be refused. Raises OutsideError."""
    stop = threading.Event()
    job.solr.check()
    refused = ""
    try:
        check_writable(job.solr, {*job.settings.allow_loss, *allow_loss})
    except PermanentError as error:
        refused = f"a run that writes would be refused: {error.sentence}"
    journals = journal_store.load(job.pool, job.solr.name)
    decider = job.decider(journals, stop)
    counts, began, began_at = Counts(), time.monotonic(), job.clock()

    def seen(state: str) -> RunReport:
        return reported(job, mode, state, counts, began, began_at, reason=refused)

    with read_ahead(_pages(job, mode, stop), count=PAGES_AHEAD, stop=stop) as pages:
        for page in pages:
            counts.total = page.total
            for judged in decider.page(page.documents):
                counts.add(judged)
            counts.processed += len(page.documents)
            if show:
                show(seen("running"))
    return seen("complete")


def _pages(job: Enricher, mode: Mode, stop: threading.Event) -> Iterator[SolrPage]:
    with job.pool.connection() as connection:
        key = run_rows.endpoint_id(connection, job.solr.name)
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
                yield SolrPage(total, job.solr.by_id(ids), "")
