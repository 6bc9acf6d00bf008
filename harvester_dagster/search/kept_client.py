"""A client of the search server that stays open, for whoever asks it small questions for as long as it runs.

Belongs here: opening it at the first question, again after it was away, and what an answer may take. Does not belong
here: what is asked (`queries.py`), what an answer looks like (`answer_shapes.py`), kinds of failure (`connection.py`).
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec

from harvester_dagster.config import Index
from harvester_dagster.search import answer_shapes, connection
from harvester_dagster.search.answer_shapes import Analysed, Both, Explained
from harvester_dagster.search.connection import Refused, SearchError, Unreachable
from harvester_dagster.search.queries import Questions

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PATIENCE = 10
"""Seconds for an answer: whoever waits longer in front of a search field has left."""


LONGEST_ID = 512
"""Bytes of a document's id in an index."""
_OF_QUESTIONS = frozenset(
    {
        "query_shard_exception",
        "parse_exception",
        "number_format_exception",
        "too_many_clauses",
        "too_many_nested_clauses",
        "too_complex_to_determinize_exception",
    }
)
"""Types of errors that a question makes, whoever serves it. All else that is answered with 400 somebody must mend: an
index that is closed, a limit that was set lower than ours."""


class NothingIndexed(SearchError):
    """There is no such alias: no version has been indexed yet."""


class BadQuestion(Refused):
    """The server answers, and does not take this question."""


class KeptClient:
    """Asks an alias. One serves any number of threads."""

    def __init__(self, index: Index) -> None:
        self._index, self._lock, self._stack = index, threading.Lock(), ExitStack()
        self._client: OpenSearch | None = None

    def search(self, alias: str, body: dict[str, Any]) -> dict[str, Any]:
        """The server's answer, all of it. Raises SearchError: NothingIndexed, NoIndex, Unreachable (for a part of an
        answer, and for what is none, too), Refused, and BadQuestion for a question that it does not take."""
        return self._asked(
            "searching", alias, lambda client: answer_shapes.whole(client.search(body=body, **self._to(alias)))
        )

    def searched(self, alias: str, questions: Questions) -> dict[str, Any]:
        """The server's answer to both at once: the hits of one, the total and the aggregations of the other. Raises
        SearchError as `search` does."""
        body = [{}, questions.hits, {}, questions.counts]  # a server may take no index but that of the address

        def ask(client: "OpenSearch") -> dict[str, Any]:
            answer = client.msearch(body=body, **self._to(alias))
            found, counted = (answer_shapes.whole(_answer(one)) for one in msgspec.convert(answer, Both).responses)
            return {**counted, **found, "hits": {**found["hits"], "total": {"value": answer_shapes.total(counted)}}}

        return self._asked("searching", alias, ask)

    def explained(self, alias: str, srn: str, query: dict[str, Any]) -> dict[str, Any]:
        """How a document is scored by a query: `matched`, and the tree of `explanation`. Raises SearchError as `search`
        does; NothingIndexed also where there is no such document."""
        if len(srn.encode()) > LONGEST_ID or srn in (".", ".."):  # of an address these are no part
            raise NothingIndexed("no document has such an id")

        def ask(client: "OpenSearch") -> dict[str, Any]:
            answer = client.explain(id=srn, body={"query": query}, **self._to(alias))
            return answer_shapes.shaped(answer, Explained)

        return self._asked("explaining", alias, ask)

    def analysed(self, alias: str, analyzer: str, text: str) -> list[str]:
        """The words that an analyzer of an index makes of a text, in their order. Raises SearchError as `search`
        does."""
        body = {"analyzer": analyzer, "text": text}

        def ask(client: "OpenSearch") -> dict[str, Any]:
            return answer_shapes.shaped(client.indices.analyze(body=body, **self._to(alias)), Analysed)

        return [str(token["token"]) for token in self._asked("analysing", alias, ask)["tokens"]]

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
            if connection.kinds(error) & _OF_QUESTIONS:
                raise BadQuestion(found.sentence, found.mend) from error
            raise found from error
        except msgspec.ValidationError as error:
            sentence = f"{what}: the answer is none of OpenSearch: {error}"
            raise Unreachable(sentence, "is there a proxy in between?") from error
        return answer

    def count(self, alias: str) -> int:
        """How many documents an alias shows. Raises SearchError as `search` does."""
        body = {"size": 0, "track_total_hits": True}
        found: dict[str, int] = self._asked(
            "counting",
            alias,
            lambda client: {
                "all": answer_shapes.total(answer_shapes.whole(client.search(body=body, **self._to(alias))))
            },
        )
        return found["all"]

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
        status, error = one.get("status", 500), one["error"]
        kind = error.get("type", "") if isinstance(error, dict) else error
        raise HTTP_EXCEPTIONS.get(status, TransportError)(status, kind, one)
    return one
