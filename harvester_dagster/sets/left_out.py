"""Records that were purged: known again by their mark when a source sends them, and left out before they are stored.

In their place a page gets a record that says of another id that it is deleted, so that a list has as many as it had,
and whoever reads it has nothing to do. Belongs here: finding them on a page. Does not belong here: the marks
(`publication/takedowns.py`), how a page is cut (`sources/`).
"""

from collections.abc import Mapping
from typing import Any

from psycopg import Connection

from harvester_dagster.config import set_spec
from harvester_dagster.installation import Installation
from harvester_dagster.publication import takedowns
from harvester_dagster.publication.takedowns import Marking
from harvester_dagster.sources.kind import Record, Request


class LeftOut:
    """What is left out of the pages of one set; nothing of a set that has no marks. `count`: so far."""

    def __init__(self, installation: Installation, connection: Connection[Any], key: str, set_id: int) -> None:
        self._marks = takedowns.marks(connection, set_id)
        self._key = key
        self.count = 0
        if self._marks:
            config = installation.config
            settings = config.sets[key]
            self._marking = Marking(config.store)
            self._kind = installation.catalog.kinds[settings.kind]
            self._request = Request(settings, set_spec(key, config), None, config.production)

    def is_left_out(self, external_id: str) -> bool:
        """Whether a record was purged."""
        return bool(self._marks) and self._mark(external_id) in self._marks

    def found(self, page: bytes) -> Mapping[int, bytes]:
        """The marks of those records of a page that were purged, by their place on it. Raises SourceError for what is
        no page."""
        if not self._marks:
            return {}
        marks = {
            place: self._mark(name)
            for place, name in enumerate(self._kind.ids(page, self._request))
            if name is not None
        }
        return {place: mark for place, mark in marks.items() if mark in self._marks}

    def without(self, page: bytes) -> bytes:
        """The page as it may be stored; as it came where nothing of it was purged. Raises SourceError for what is no
        page."""
        found = self.found(page)
        self.count += len(found)
        return self._kind.without(page, {at: f"removed:{mark.hex()}" for at, mark in found.items()}) if found else page

    def urls(self, page: bytes) -> set[str]:
        """What the files of such records of a page were fetched from. Raises SourceError for what is no page."""
        records = self._kind.extract(page, list(self.found(page)), self._request)
        documents = [one for record in records if isinstance(record, Record) for one in record.documents]
        return {url for one in documents if isinstance(url := one.properties.get("url"), str)}

    def _mark(self, external_id: str) -> bytes:
        return self._marking.mark(f"{self._key}:{external_id}")
