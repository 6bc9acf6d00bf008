"""What a search makes of a server that refuses, answers a part, or is none: a SearchError, and whose fault it is."""

import json
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from opensearchpy import OpenSearch

from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Index
from harvester_dagster.search import queries, verify
from harvester_dagster.search.bulk_lines import PARTS, Sums
from harvester_dagster.search.connection import SearchError, Unreachable
from harvester_dagster.search.kept_client import BadQuestion, KeptClient, NothingIndexed
from harvester_dagster.search.mapping import Query
from tests.search.proxy import Asked, Instead, Proxy, meddling
from tests.search.test_client_queries import alias, client

__all__ = ["alias", "client"]
FIELDS = queries.fields_of(CATALOG.mapping("products") or {})
QUESTIONS = queries.search(queries.Search(text="bos", facets=["language"]), FIELDS)
WHOLE: dict[str, Any] = {
    "timed_out": False,
    "_shards": {"total": 2, "successful": 2, "failed": 0},
    "hits": {"total": {"value": 0}, "hits": []},
}
SUMS = {**WHOLE, "aggregations": {part: {"value": 0} for part in PARTS}}


@pytest.fixture
def proxy(opensearch_url: str) -> Iterator[Proxy]:
    with meddling(opensearch_url) as proxy:
        yield proxy


@pytest.fixture
def kept(proxy: Proxy) -> Iterator[KeptClient]:
    with closing(KeptClient(Index(url=proxy.url))) as kept:
        yield kept


def answering(proxy: Proxy, place: str, body: Any) -> None:
    proxy.before = lambda asked: Instead(200, json.dumps(body).encode()) if place in asked.path else None


def test_a_server_that_takes_no_index_but_that_of_the_address_is_searched(
    proxy: Proxy, kept: KeptClient, alias: str
) -> None:
    def no_explicit_index(asked: Asked) -> Instead | None:
        lines = [json.loads(line) for line in asked.body.splitlines()] if "_msearch" in asked.path else []
        named = [line for line in lines[::2] if "index" in line]
        return Instead(400, b'{"error":{"type":"illegal_argument_exception"},"status":400}') if named else None

    proxy.before = no_explicit_index
    assert kept.searched(alias, QUESTIONS)["hits"]["total"]["value"] > 0
    with pytest.raises(NothingIndexed):
        kept.searched("no-such-alias", QUESTIONS)


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], "text", None, {"responses": []}, {"responses": [{}, {}]}, {"responses": [WHOLE]}),
        {"responses": [WHOLE, {"error": "text", "status": 503}]},
        {"responses": [WHOLE, {"error": None}]},
        {"responses": [WHOLE, {**WHOLE, "hits": {"hits": []}}]},
        {"responses": [{**WHOLE, "hits": {"hits": [{}]}}, WHOLE]},
        {"responses": [{**WHOLE, "aggregations": {"language": {}}}, WHOLE]},
        {"error": "text"},
    ],
)
def test_what_is_no_answer_is_told(proxy: Proxy, kept: KeptClient, alias: str, body: Any) -> None:
    answering(proxy, "_msearch", body)
    with pytest.raises(SearchError, match="searching: ") as raised:
        kept.searched(alias, QUESTIONS)
    assert not isinstance(raised.value, BadQuestion)


@pytest.mark.parametrize("body", [{}, [], {"error": "text"}, {"hits": {}}, {"tokens": [{}]}, {"explanation": []}])
def test_so_is_any_other_question(proxy: Proxy, kept: KeptClient, alias: str, body: Any) -> None:
    answering(proxy, alias, body)
    for ask in (
        lambda: kept.search(alias, {}),
        lambda: kept.count(alias),
        lambda: kept.analysed(alias, "standard", "x"),
    ):
        with pytest.raises(Unreachable):
            ask()
    answering(proxy, alias, {"explanation": []})
    with pytest.raises(Unreachable):
        kept.explained(alias, "a:b:bos", {"match_all": {}})


@pytest.mark.parametrize("part", [{"timed_out": True}, {"_shards": {"total": 2, "successful": 1, "failed": 1}}])
def test_a_part_of_an_answer_is_not_taken_for_all(
    proxy: Proxy, kept: KeptClient, alias: str, part: dict[str, Any]
) -> None:
    answering(proxy, "_msearch", {"responses": [WHOLE, {**WHOLE, **part}]})
    with pytest.raises(Unreachable, match="only a part of the index was searched"):
        kept.searched(alias, QUESTIONS)
    answering(proxy, "_search", {**WHOLE, **part})
    for ask in (lambda: kept.search(alias, {}), lambda: kept.count(alias)):
        with pytest.raises(Unreachable, match="only a part"):
            ask()


def test_only_a_question_is_the_fault_of_who_asks(kept: KeptClient, alias: str, client: OpenSearch) -> None:
    deep = queries.search(queries.Search(text="bos", begin=90, size=10), FIELDS)
    kept.searched(alias, deep)
    with pytest.raises(BadQuestion):
        kept.search(alias, {"query": {"range": {"published_at": {"gte": "no day"}}}})
    (name,) = client.indices.get_alias(name=alias)
    client.indices.put_settings(index=name, body={"index.max_result_window": 50})
    try:
        with pytest.raises(SearchError, match="window") as raised:
            kept.searched(alias, deep)
        assert not isinstance(raised.value, BadQuestion)
    finally:
        client.indices.put_settings(index=name, body={"index.max_result_window": None})
    client.indices.close(index=name)
    try:
        for ask in (lambda: kept.searched(alias, QUESTIONS), lambda: kept.count(alias)):
            with pytest.raises(SearchError, match="closed") as raised:
                ask()
            assert not isinstance(raised.value, BadQuestion)
    finally:
        client.indices.open(index=name)
        client.cluster.health(index=name, wait_for_status="yellow")


@pytest.mark.parametrize(
    "answers",
    [
        *([], [{"error": "text", "status": 503}] * 2, [SUMS, {"error": {"reason": "full"}, "status": 503}]),
        [SUMS, {**WHOLE, "_shards": {"failed": 1}}],
        [SUMS, {**WHOLE, "timed_out": True}],
    ],
)
def test_an_index_is_judged_by_whole_answers_only(proxy: Proxy, answers: list[Any]) -> None:
    answering(proxy, "_msearch", {"responses": answers})
    definition: Any = SimpleNamespace(queries=[Query("some", {"match_all": {}}, 1)])
    version: Any = None
    with OpenSearch(proxy.url) as asking, pytest.raises(Unreachable):
        verify.verify(asking, "x", version, definition, Sums(0, (0,) * len(PARTS)))


def test_an_id_that_no_index_takes_is_that_of_no_document(kept: KeptClient, alias: str) -> None:
    for srn in ("x" * 513, "字" * 200, "a:b:none", ".", "..", "a/b"):
        with pytest.raises(NothingIndexed):
            kept.explained(alias, srn, {"match_all": {}})
