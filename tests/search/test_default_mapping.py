"""The built-in mapping, on a real OpenSearch: what a search team's client asks of an index."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import OpenSearch

from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config, Index
from harvester_dagster.documents.output import Enriched, product_output
from harvester_dagster.search.default_mapping import definition, settings
from harvester_dagster.tasks.task import Result

MAPPINGS = {"dynamic": False, "properties": CATALOG.mapping("products")}
NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


def _product(name: str, text: str, language: str, **properties: Any) -> dict[str, Any]:
    own = {"title": name, "language": language, "publisher_date": "2024-05", **properties}
    tika = Result("success", {"texts": [{"text": text, "language": language}]}, "", None, 1, NOW)
    product = Enriched(f"a:b:{name}", "a:b", name, "active", own, {}, None, NOW, "2024-01-01T00:00:00Z")
    file = Enriched(
        f"a:b:{name}:f", "a:b", f"{name}:f", "active", {"url": "https://example.org/f.pdf", "hash": "f"}, {"tika": tika}
    )
    return product_output(product, [file], CATALOG.making("products", Config()))


PRODUCTS = [
    _product("Bomen", "De gezonde bossen en hun wortels", "nl", keywords=["Natuur", "Éducatie"], doi="10.1/x"),
    _product("Trees", "Healthy forests and their roots", "en", publishers=["Hanze"], publisher_date="2020-01-31"),
    _product("Bäume", "Wälder und Wurzeln", "de", authors=[{"name": "José Núñez", "email": None}], publisher_date=None),
    _product("Long", "x", "nl", description="d" * 100_000, keywords=["k" * 40_000]),
    {**_product("Odd", "x", "nl"), "publisher_date": "some day", "suggest_completion": []},
]


@pytest.fixture(scope="module")
def client(opensearch_url: str) -> Iterator[OpenSearch]:
    with OpenSearch(opensearch_url) as client:
        yield client


@pytest.fixture(scope="module")
def index(client: OpenSearch) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex}"
    client.indices.create(index=name, body={"settings": settings(Index()), "mappings": MAPPINGS})
    for product in PRODUCTS:
        client.index(index=name, id=product["srn"], body=product)
    client.indices.refresh(index=name)
    yield name
    client.indices.delete(index=name)


def _hits(client: OpenSearch, index: str, query: dict[str, Any]) -> set[str]:
    found = client.search(index=index, body={"query": query})
    return {hit["_source"]["title"] for hit in found["hits"]["hits"]}


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ({"ids": {"values": ["a:b:Bomen"]}}, ["Bomen"]),
        ({"term": {"srn": "a:b:Bomen"}}, ["Bomen"]),
        ({"term": {"external_id": "Trees"}}, ["Trees"]),
        ({"term": {"technical_type": "document"}}, ["Bomen", "Trees", "Bäume", "Long", "Odd"]),
        ({"range": {"publisher_date": {"gte": "2024-01", "lt": "2024-06"}}}, ["Bomen", "Long"]),
        ({"range": {"modified_at": {"gte": "2026-11-22"}}}, ["Bomen", "Trees", "Bäume", "Long", "Odd"]),
        ({"match": {"texts.nl.contents.text": "wortel"}}, []),
        ({"match": {"texts.nl.contents.text.analyzed": "bos wortel"}}, ["Bomen"]),
        ({"match": {"texts.nl.contents.text.analyzed": "gezond"}}, ["Bomen"]),
        ({"match": {"texts.en.contents.text.analyzed": "root"}}, ["Trees"]),
        ({"match": {"texts.en.contents.text.analyzed": "forest"}}, ["Trees"]),
        ({"match": {"texts.unk.contents.text": "wurzeln"}}, ["Bäume"]),
        ({"match": {"texts.unk.contents.text.folded": "WALDER"}}, ["Bäume"]),
        ({"match": {"texts.nl.contents.text.analyzed": "de"}}, []),
        ({"match": {"title.folded": "baume"}}, ["Bäume"]),
        ({"term": {"title.keyword": "Bäume"}}, ["Bäume"]),
        ({"match": {"keywords.folded": "educatie"}}, ["Bomen"]),
        ({"term": {"keywords.keyword": "Natuur"}}, ["Bomen"]),
        ({"match": {"publishers": "hanze"}}, ["Trees"]),
        ({"match": {"authors.name.folded": "nunez"}}, ["Bäume"]),
        ({"term": {"doi": "10.1/x"}}, ["Bomen"]),
        ({"term": {"files.srn": "a:b:Trees:f"}}, ["Trees"]),
    ],
    ids=str,
)
def test_it_finds(client: OpenSearch, index: str, query: dict[str, Any], titles: list[str]) -> None:
    assert _hits(client, index, query) == set(titles)


def test_recent_ones_come_first(client: OpenSearch, index: str) -> None:
    near = {"distance_feature": {"field": "publisher_date", "origin": "2024-06-01", "pivot": "90d"}}
    found = client.search(index=index, body={"query": {"bool": {"must": {"match_all": {}}, "should": near}}})
    assert {hit["_source"]["title"] for hit in found["hits"]["hits"][:2]} == {"Bomen", "Long"}


def test_it_completes_words(client: OpenSearch, index: str) -> None:
    suggest = {"s": {"prefix": "fore", "completion": {"field": "suggest_completion"}}}
    found = client.search(index=index, body={"suggest": suggest})
    assert [option["text"] for option in found["suggest"]["s"][0]["options"]] == ["forests"]


def test_it_asks_did_you_mean(client: OpenSearch, index: str) -> None:
    generator = [{"field": "suggest_phrase", "suggest_mode": "always", "min_word_length": 3}]
    phrase = {"field": "suggest_phrase", "direct_generator": generator, "confidence": 0.0}
    found = client.search(index=index, body={"suggest": {"s": {"text": "helthy forests", "phrase": phrase}}})
    assert "healthy forests" in [option["text"] for option in found["suggest"]["s"][0]["options"]]


def test_it_finds_more_like_one(client: OpenSearch, index: str) -> None:
    like = {"fields": ["texts.en.contents.text"], "like": [{"_index": index, "_id": "a:b:Trees"}]}
    query = {"more_like_this": {**like, "min_term_freq": 1, "min_doc_freq": 1, "include": True}}
    assert _hits(client, index, query) == {"Trees"}


def test_it_highlights(client: OpenSearch, index: str) -> None:
    body = {
        "query": {"match": {"texts.nl.contents.text": "wortels"}},
        "highlight": {"fields": {"texts.nl.contents.text": {}}},
    }
    (hit,) = client.search(index=index, body=body)["hits"]["hits"]
    assert hit["highlight"]["texts.nl.contents.text"] == ["De gezonde bossen en hun <em>wortels</em>"]


def test_facets_are_counted(client: OpenSearch, index: str) -> None:
    body = {"size": 0, "aggs": {"types": {"terms": {"field": "technical_types"}}}}
    (bucket,) = client.search(index=index, body=body)["aggregations"]["types"]["buckets"]
    assert (bucket["key"], bucket["doc_count"]) == ("document", len(PRODUCTS))


def test_names_of_universities_are_not_stemmed(client: OpenSearch, index: str) -> None:
    tokens = client.indices.analyze(index=index, body={"analyzer": "custom_dutch", "text": "Hanze bossen"})["tokens"]
    assert [token["token"] for token in tokens] == ["hanze", "boss"]


def test_what_no_mapping_names_is_kept_and_not_indexed(client: OpenSearch, index: str) -> None:
    before = client.indices.get_mapping(index=index)
    client.index(index=index, id="x", body={**PRODUCTS[0], "title": "New", "something": {"new": 1}}, refresh=True)
    try:
        assert client.get(index=index, id="x")["_source"]["something"] == {"new": 1}
        assert client.indices.get_mapping(index=index) == before
    finally:
        client.delete(index=index, id="x", refresh=True)


def test_shards_and_replicas_are_settings() -> None:
    index = settings(Index(shards=3, replicas=2))["index"]
    assert index == {"number_of_shards": 3, "number_of_replicas": 2}


def test_files_have_no_index_of_their_own() -> None:
    assert definition(CATALOG, "files", Index()) is None


def test_dutch_compounds_are_cut_in_what_is_searched_for(client: OpenSearch, services_state: Path) -> None:
    (folder,) = services_state.rglob("home/config")
    (folder / "compounds.txt").write_text("water\nschap\n")
    name = f"test-{uuid.uuid4().hex}"
    cutting = definition(CATALOG, "products", Index(nl_decompound_word_list="compounds.txt"))
    assert cutting is not None
    client.indices.create(index=name, body={part: cutting[part] for part in ("settings", "mappings")})
    try:
        for product in (_product("Water", "Het stille water", "nl"), _product("Schap", "Een waterschap", "nl")):
            client.index(index=name, id=product["srn"], body=product, refresh=True)
        text = "texts.nl.contents.text"
        assert _hits(client, name, {"match": {f"{text}.analyzed": "waterschap"}}) == {"Water", "Schap"}
        assert _hits(client, name, {"match": {f"{text}.analyzed": "water"}}) == {"Water"}, "nothing stored is cut"
        assert _hits(client, name, {"match": {text: "waterschap"}}) == {"Schap"}, "the very word counts for itself"
        tokens = client.indices.analyze(
            index=name, body={"analyzer": "dutch_dictionary_decompound", "text": "palliatie bossen"}
        )["tokens"]
        assert {token["token"] for token in tokens} == {"palliatie", "palliatieve", "bossen"}
    finally:
        client.indices.delete(index=name)
