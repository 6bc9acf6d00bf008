"""A client of the search server that stays open, for whoever asks it small questions for as long as it runs.

Belongs here: opening it at the first question, again after it was away, and what an answer may take. Does not belong
here: what is asked (`queries.py`), kinds of failure (`connection.py`).
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from harvester_dagster.config import Index
from harvester_dagster.search import connection
from harvester_dagster.search.connection import Refused, SearchError
from harvester_dagster.search.queries import Questions

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
        return self._asked("searching", alias, lambda client: client.search(body=body, **self._to(alias)))

    def searched(self, alias: str, questions: Questions) -> dict[str, Any]:
        """The server's answer to both at once: the hits of one, the total and the aggregations of the other. Raises
        SearchError as `search` does."""
        header = {"index": alias}
        body = [header, questions.hits, header, questions.counts]

        def ask(client: "OpenSearch") -> dict[str, Any]:
            found, counted = map(_answer, client.msearch(body=body, request_timeout=PATIENCE)["responses"])
            total = counted["hits"]["total"]
            return {**counted, **found, "hits": {**found["hits"], "total": total}}

        return self._asked("searching", alias, ask)

    def explained(self, alias: str, srn: str, query: dict[str, Any]) -> dict[str, Any]:
        """How a document is scored by a query: `matched`, and the tree of `explanation`. Raises SearchError as `search`
        does; NothingIndexed also where there is no such document."""
        return self._asked(
            "explaining", alias, lambda client: client.explain(id=srn, body={"query": query}, **self._to(alias))
        )

    def analysed(self, alias: str, analyzer: str, text: str) -> list[str]:
        """The words that an analyzer of an index makes of a text, in their order. Raises SearchError as `search`
        does."""
        body = {"analyzer": analyzer, "text": text}
        answer = self._asked("analysing", alias, lambda client: client.indices.analyze(body=body, **self._to(alias)))
        return [str(token["token"]) for token in answer.get("tokens", ())]

    def _to(self, alias: str) -> dict[str, Any]:
        return {"index": alias, "request_timeout": PATIENCE}

    def _asked(self, what: str, alias: str, ask: "Callable[[OpenSearch], Any]") -> dict[str, Any]:
        from opensearchpy.exceptions import NotFoundError, OpenSearchException

        try:
            answer: dict[str, Any] = ask(self._opened())
        except NotFoundError as error:
            raise NothingIndexed(f"there is no index {alias} yet", "the first release makes it") from error
        except OpenSearchException as error:
            found = connection.sorted_failure(what, error)
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


def _answer(one: dict[str, Any]) -> dict[str, Any]:
    """One of several answers. Raises what the client raises where it is the only one."""
    from opensearchpy.exceptions import HTTP_EXCEPTIONS, TransportError

    if "error" in one:
        status = one.get("status", 500)
        raise HTTP_EXCEPTIONS.get(status, TransportError)(status, one["error"].get("type", ""), one)
    return one
