"""Records that were purged: known again by their mark when a source sends them, and left out before they are stored.

In their place a page gets a record that says of another id that it is deleted, so that a list has as many as it had,
and whoever reads it has nothing to do. Belongs here: finding them on a page. Does not belong here: the marks
(`publication/takedowns.py`), how a page is cut (`sources/`).
"""

from typing import Any

from psycopg import Connection

from harvester_dagster.config import set_spec
from harvester_dagster.installation import Installation
from harvester_dagster.publication import takedowns
from harvester_dagster.publication.takedowns import Marking
from harvester_dagster.sources.kind import Request


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

    def without(self, page: bytes) -> bytes:
        """The page as it may be stored; as it came where nothing of it was purged. Raises SourceError for what is no
        page."""
        if not self._marks:
            return page
        every = range(len(self._kind.cut(page)))
        found = {
            index: f"removed:{mark.hex()}"
            for index, record in zip(every, self._kind.extract(page, every, self._request), strict=True)
            if record.external_id is not None and (mark := self._mark(record.external_id)) in self._marks
        }
        self.count += len(found)
        return self._kind.without(page, found) if found else page

    def _mark(self, external_id: str) -> bytes:
        return self._marking.mark(f"{self._key}:{external_id}")
