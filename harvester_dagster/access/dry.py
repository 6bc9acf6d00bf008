"""A run that only looks: the same documents and decisions, nothing written, neither to Solr nor to Postgres."""

import threading
import time
from collections.abc import Iterator

from harvester_dagster.access import changed, decisions, journal_store, runs
from harvester_dagster.access.documents import Page
from harvester_dagster.access.enricher import Enricher
from harvester_dagster.access.figures import Counts, Report, Show, reported
from harvester_dagster.access.modes import MODES, Mode
from harvester_dagster.access.reader import ahead, walk


def dry_run(job: Enricher, mode: Mode, show: Show | None) -> Report:
    """Read and decide, write nothing, neither to Solr nor to Postgres."""
    stop = threading.Event()
    job.solr.check()
    journals = journal_store.load(job.pool, job.solr.name)
    decider = job.decider(journals, stop)
    counts, began, began_at = Counts(), time.monotonic(), job.clock()

    def seen(state: str) -> Report:
        return reported(job, mode, state, counts, began, began_at)

    with ahead(_pages(job, mode, stop), stop) as pages:
        for page in pages:
            counts.total = page.total
            for judged in decider.page(page.documents):
                counts.add(judged)
            counts.processed += len(page.documents)
            if show:
                show(seen("running"))
    return seen("complete")


def _pages(job: Enricher, mode: Mode, stop: threading.Event) -> Iterator[Page]:
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
