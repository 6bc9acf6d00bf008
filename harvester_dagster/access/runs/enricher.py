"""What a run of one endpoint works with, and its copy of the journals.

Belongs here: what runs, dry runs and explanations share. Does not belong here: how it is put together
(`endpoints.py`), what is done with it.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from harvester_dagster.access.decide.decider import Decider
from harvester_dagster.access.decide.doi import Resolver
from harvester_dagster.access.decide.rules import VERSION
from harvester_dagster.access.runs import journal_store
from harvester_dagster.access.runs.journal_store import Refreshed
from harvester_dagster.access.solr.collection import Solr
from harvester_dagster.config import Metastore
from harvester_dagster.outside.http import Outside
from harvester_dagster.store.database import Pool


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
        """The day in the library's time zone, which decides when an answer expires."""
        return self.clock().astimezone(self.zone).date()

    def this_year(self) -> int:
        """The year in the library's time zone, which the rules look at."""
        return self.today().year

    @property
    def basis(self) -> str:
        """What decisions rest on beside the data: when it changes, the mode `changed` reads everything, and no run goes
        on where another one ended. It holds the collection that an alias means now."""
        resolver = ", doi resolver" if self.settings.doi_resolver_url else ""
        return f"rules {VERSION}{resolver}" + (f", collection {self.solr.collection}" if self.solr.alias else "")

    def decider(self, journals: journal_store.Shelf, stop: threading.Event) -> Decider:
        """A decider with these journals; it asks the DOI resolver, where one is configured, until `stop` is set."""
        settings = self.settings
        resolver = (
            Resolver(self.pool, self.outside, settings.doi_resolver_url, settings.doi_resolver_email, self.clock, stop)
            if settings.doi_resolver_url
            else None
        )
        return Decider(journals.by_issn, self.this_year, resolver=resolver)


def refresh_journals(job: Enricher, *, only_if_older: bool = False) -> Refreshed | None:
    """Read the endpoint's journals from Solr into the store. With `only_if_older`, unless the copy there is younger
    than `journals_max_age`; then None. Raises OutsideError; then the copy stays."""
    if only_if_older:
        old = journal_store.age(job.pool, job.solr.name, job.clock())
        if old is not None and old <= job.settings.journals_max_age:
            return None
    job.solr.check()
    return journal_store.refresh(job.pool, job.solr, job.settings.page_size, job.clock())
