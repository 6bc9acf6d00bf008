"""What a run of one endpoint works with, and its copy of the journals.

Belongs here: what runs, dry runs and explanations share. Does not belong here: how it is put together
(`endpoints.py`), what is done with it.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from harvester_dagster.access import journal_store
from harvester_dagster.access.deciding import Decider
from harvester_dagster.access.doi import Resolver
from harvester_dagster.access.journal_store import Refreshed
from harvester_dagster.access.rules import VERSION
from harvester_dagster.access.solr import Solr
from harvester_dagster.config import Metastore
from harvester_dagster.outside.outside import Outside
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


def refresh_journals(job: Enricher, *, only_if_older: bool = False) -> Refreshed | None:
    """Read the endpoint's journals. With `only_if_older`: unless a copy is young enough; then None."""
    if only_if_older:
        old = journal_store.age(job.pool, job.solr.name, job.clock())
        if old is not None and old <= job.settings.journals_max_age:
            return None
    job.solr.check()
    return journal_store.refresh(job.pool, job.solr, job.settings.page_size, job.clock())
