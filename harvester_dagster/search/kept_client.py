"""A client of the search server that stays open, for whoever asks it small questions for as long as it runs.

Belongs here: opening it at the first question, again after it was away, and what an answer may take. Does not belong
here: what is asked (`queries.py`), kinds of failure (`connection.py`).
"""

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from harvester_dagster.config import Index
from harvester_dagster.search import connection
from harvester_dagster.search.connection import Refused, SearchError

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PATIENCE = 10
"""Seconds for an answer: whoever waits longer in front of a search field has left."""


class NothingIndexed(SearchError):
    """There is no such alias: no version has been indexed yet."""


class KeptClient:
    """Asks an alias. One serves any number of threads."""

    def __init__(self, index: Index) -> None:
        self._index, self._lock, self._stack = index, threading.Lock(), ExitStack()
        self._client: OpenSearch | None = None

    def search(self, alias: str, body: dict[str, Any]) -> dict[str, Any]:
        """The server's answer. Raises SearchError: NothingIndexed, NoIndex, Unreachable, and Refused also for a
        question that it does not take."""
        from opensearchpy.exceptions import NotFoundError, OpenSearchException

        try:
            answer: dict[str, Any] = self._opened().search(index=alias, body=body, request_timeout=PATIENCE)
        except NotFoundError as error:
            raise NothingIndexed(f"there is no index {alias} yet", "the first release makes it") from error
        except OpenSearchException as error:
            found = connection.sorted_failure("searching", error)
            if not isinstance(found, Refused):
                self.close()  # the bundled server may come back on another port
            raise found from error
        return answer

    def count(self, alias: str) -> int:
        """How many documents an alias shows. Raises SearchError as `search` does."""
        found: int = self.search(alias, {"size": 0, "track_total_hits": True})["hits"]["total"]["value"]
        return found

    def close(self) -> None:
        """Let go of the server; the next question opens it again."""
        with self._lock:
            self._client = None
            self._stack.close()

    def _opened(self) -> "OpenSearch":
        with self._lock:
            if self._client is None:
                self._client = self._stack.enter_context(connection.connected(self._index))
            return self._client
