"""Every request that a search client sends, on a real OpenSearch: answers are what the documents say.

The requests are written anew after what the client asks (`client.py`); the documents are recorded products with results
of their tasks, and some of our own, in the form that the index gets.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from opensearchpy import NotFoundError, OpenSearch

from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config, Index, Web
from harvester_dagster.documents.output import Enriched, product_output
from harvester_dagster.search.bulk_lines import line
from harvester_dagster.search.default_mapping import definition
from harvester_dagster.tasks.task import Result
from tests.documents.families import families
from tests.search.client import FILTERS, HIGHLIGHTED, LIKE, MODEL_OF, RANGES, SEARCHED, refused

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
CONFIG = Config(web=Web(public_url="https://harvester.example.org"))
FORM = CATALOG.index_form("products")
assert FORM is not None
PLATFORMS = tuple(SEARCHED)
PICTURE = f"derived/ab/{'ab' * 32}/pdf_preview-1"
TEXTS = (
    *(
        "bomen",
        "de",
        "2019",
        "C#",
        '"gezonde bossen"',
        "+bos -wortel",
        "a|b",
        "(x",
        "bos*",
        "~2",
        "\\",
        "é" * 3,
        "a" * 900,
    ),
    *("10.1/x", "AND OR NOT", "https://example.org/?a=b&c=d", "' OR 1=1", "🌳"),
)


def _result(data: Mapping[str, Any]) -> Result:
    return Result("success", data, "", None, 1, NOW)


def _made(name: str, text: str, language: str = "nl", results: Mapping[str, Any] | None = None, **own: Any) -> Any:
    """A product with a file that has this text, and with pictures."""
    found = {task: _result(data) for task, data in (results or {}).items()}
    product = Enriched(f"a:b:{name}", "a:b", name, "active", {"language": language, **own}, found, None, NOW)
    of_file = {
        "tika": _result({"texts": [{"text": text, "language": language}]}),
        "pdf_preview": _result({size: f"{PICTURE}/{size}.jpg" for size in ("full_size", "preview", "preview_small")}),
    }
    properties = {"url": f"https://example.org/{name}.pdf", "hash": "f", "mime_type": "application/pdf"}
    file = Enriched(f"a:b:{name}:f", "a:b", f"{name}:f", "active", properties, of_file, None, NOW)
    return product_output(product, [file], CATALOG.making("products", CONFIG))


HEALTH = {"keyword": ["gezondheid"], "nl": ["Gezondheidskunde"], "en": ["Wellbeings"]}
OWN = [
    _made(
        *("bos", "Wie in het woud wandelt, ziet paddenstoelen groeien"),
        title="Wortels",
        publisher_date="2019-03",
        publisher_year=2019,
        keywords=["Éducatie"],
        publishers=["Hanze"],
        provider={"name": "Wilhelmina Universiteit"},
        authors=[{"name": "José Núñez", "email": None}],
        results={"lookup_study_vocabulary_parents": {"study_vocabulary": HEALTH}},
        copyright="cc-by-40",
    ),
    _made("boek", "Alles over wortels en over dieren", title="Een boek", publisher_date="2024", publisher_year=2024),
    _made("stam", "Over de wortel", title="Iets anders", language="nl-NL"),
    _made("trees", "José Núñez walks through healthy forests", "en", title="Trees", publisher_date="2020-01-31"),
    _made("deep", "Wälder und Wurzeln", "de", title="Bäume", publisher_date="2019-02-29"),
    _made(
        "zorg", "Alles over palliatieve zorg", title="Zorg", authors=[{"name": None, "email": None}], doi="doi:10.1/x"
    ),
    *(_made(f"same{n}", "x", "en", title="Sustainable energy storage", description="Batteries") for n in range(6)),
]
OUTPUTS = [
    *OWN,
    *(product_output(product, files, CATALOG.making("products", CONFIG)) for product, files in families(1)),
]
DOCUMENTS = {output["srn"]: FORM.of(output) for output in OUTPUTS}


@pytest.fixture(scope="module")
def client(opensearch_url: str) -> Iterator[OpenSearch]:
    with OpenSearch(opensearch_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def alias(client: OpenSearch) -> Iterator[str]:
    made = definition(CATALOG, "products", Index())
    assert made is not None and FORM is not None
    name = f"t{uuid.uuid4().hex[:12]}-products"
    body = {"settings": made["settings"], "mappings": made["mappings"], "aliases": {name: {}}}
    client.indices.create(index=f"{name}--main-1", body=body)
    lines = b"".join(line(n, one["srn"], bytes(9), FORM.stored(one)).data for n, one in enumerate(OUTPUTS))
    answer = client.bulk(index=name, body=lines, refresh=True)
    assert not answer["errors"], answer
    yield name
    client.indices.delete(index=f"{name}--main-1")


Search = Callable[..., dict[str, Any]]


@pytest.fixture(params=PLATFORMS)
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def search(client: OpenSearch, alias: str, platform: str) -> Search:
    """The client's search: words, filters, an order, facets each under the other filters. Every hit is parsed."""

    def searched(
        text: str = "",
        filters: Mapping[str, Sequence[Any]] | None = None,
        ranges: Mapping[str, Mapping[str, Any]] | None = None,
        order: str = "",
        facets: Sequence[str] = (),
    ) -> dict[str, Any]:
        chosen = {
            **{name: {"terms": {name: list(values)}} for name, values in (filters or {}).items()},
            **{name: {"range": {name: bounds}} for name, bounds in (ranges or {}).items()},
        }
        body: dict[str, Any] = {
            "from": 0,
            "size": 100,
            "min_score": 0,
            "query": _words(text, SEARCHED[platform]),
            "post_filter": {"bool": {"must": list(chosen.values())}},
            "highlight": {
                "number_of_fragments": 1,
                "fragment_size": 120,
                "fields": {name: {} for name in HIGHLIGHTED},
            },
            "aggs": {
                name: {
                    "filter": {"bool": {"must": [one for other, one in chosen.items() if other != name]}},
                    "aggs": {"values": {"terms": {"field": name, "size": 2000}}},
                }
                for name in facets
            },
        }
        if text:
            generator = {"field": "suggest_phrase", "suggest_mode": "always"}
            phrase = {"field": "suggest_phrase", "size": 1, "gram_size": 3, "direct_generator": [generator]}
            body["suggest"] = {"mended": {"text": text, "phrase": phrase}}
        if order:
            body["sort"] = [{order.lstrip("-"): {"order": "desc" if order.startswith("-") else "asc"}}, "_score"]
        answer: dict[str, Any] = client.search(index=alias, body=body)
        for hit in answer["hits"]["hits"]:
            assert not refused(MODEL_OF[platform], hit["_source"])
        return answer

    return searched


def _words(text: str, fields: Sequence[str]) -> dict[str, Any]:
    near = {"distance_feature": {"field": "published_at", "origin": "now", "pivot": "90d", "boost": 2}}
    words = {"simple_query_string": {"query": text, "fields": list(fields), "default_operator": "and"}}
    return {"bool": {"must": [words] if text else [{"match_all": {}}], "should": [near]}}


def names(answer: Mapping[str, Any]) -> list[str]:
    return [hit["_source"]["external_id"] for hit in answer["hits"]["hits"]]


def values(document: Mapping[str, Any], field: str) -> set[str]:
    """What a document says of a field that is filtered on, sub-fields taken off."""
    found: list[Any] = [document]
    for step in field.removesuffix(".keyword").split("."):
        found = [below for one in found for below in _listed(one.get(step) if isinstance(one, Mapping) else None)]
    found = [below for one in found for below in _listed(one.get("keyword") if isinstance(one, Mapping) else one)]
    return {str(one) for one in found if one is not None}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def counted(field: str, documents: Sequence[Mapping[str, Any]] | None = None) -> Counter[str]:
    return Counter(value for one in documents or DOCUMENTS.values() for value in values(one, field))


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_answered(search: Search, text: str) -> None:
    assert search(text)["hits"]["total"]["value"] >= 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("wortels", {"bos", "boek", "stam"}),
        ("educatie", {"bos"}),
        ("éducatie", {"bos"}),
        ("nunez", {"bos", "trees"}),
        ("paddenstoelen wandelt", {"bos"}),
        ("paddenstoelen dieren", set()),
        ("forest", {"trees"}),
        ("walder", {"deep"}),
        ('"healthy forests"', {"trees"}),
        ('"forests healthy"', set()),
        ("sustainable", {f"same{n}" for n in range(6)}),
    ],
)
def test_words_find_what_says_them(search: Search, text: str, found: set[str]) -> None:
    assert set(names(search(text))) & {one["external_id"] for one in OWN} == found


@pytest.mark.parametrize("text", ["Gezondheidskunde", "gezondheidskunde", "wellbeings", "wellbeing"])
def test_names_of_terms_find_their_products(search: Search, platform: str, text: str) -> None:
    assert names(search(text)) == ([] if platform == "publinova" else ["bos"])


def test_the_providers_name_and_the_year_are_words_too(search: Search, platform: str) -> None:
    if platform == "publinova":
        assert names(search("wilhelmina")) == ["bos"]
        assert "bos" in names(search("2019"))
    else:
        assert names(search("wilhelmina")) == []


def test_a_title_comes_before_a_text_and_the_very_word_before_its_stem(search: Search) -> None:
    found = [name for name in names(search("wortels")) if name in ("bos", "boek", "stam")]
    assert found[0] == "bos" and found.index("boek") < found.index("stam")


def test_words_of_a_full_text_are_marked(search: Search) -> None:
    (hit,) = search("paddenstoelen")["hits"]["hits"]
    marked = hit["highlight"]["texts.nl.contents.text"][0]
    assert "<em>paddenstoelen</em>" in marked and len(marked) < 200
    assert not any(".description." in name for name in hit["highlight"])


@pytest.mark.parametrize(
    ("text", "mended"), [("paddenstoelem", "paddenstoelen"), ("helthy forests", "healthy forests"), ("forests", None)]
)
def test_it_is_asked_did_you_mean(search: Search, text: str, mended: str | None) -> None:
    options = search(text)["suggest"]["mended"][0]["options"]
    assert [one["text"] for one in options if one["score"] >= 0.01] == ([mended] if mended else [])


def test_filters_count_what_the_documents_say(search: Search, platform: str) -> None:
    for field in FILTERS[platform]:
        for value, count in counted(field).items():
            assert search(filters={field: [value]})["hits"]["total"]["value"] == count, (field, value)


def test_what_is_filtered_on_is_there(platform: str) -> None:
    """So that the test before is one."""
    empty = {field for field in FILTERS[platform] if not counted(field)}
    assert empty <= {"industries.keyword", "sectors.keyword", "access_rights", "has_material"} | {
        *("research_object_type", "research_themes", "aggregation_level"),
    }


def test_several_filters_are_and_several_values_are_or(search: Search) -> None:
    wanted = {"language": ["nl", "en"], "publishers.keyword": ["Hanze"]}
    expected = [
        srn
        for srn, one in DOCUMENTS.items()
        if one["language"] in ("nl", "en") and "Hanze" in one.get("publishers", ())
    ]
    assert {hit["_id"] for hit in search(filters=wanted)["hits"]["hits"]} == set(expected) != set()


@pytest.mark.parametrize(
    "bounds", [{"gte": "2019-03-01", "lte": "2020-01-31"}, {"gte": "2020-01-01", "lte": None}, {"lte": "2019-12-31"}]
)
@pytest.mark.parametrize("field", ["published_at", "publisher_date"])
def test_dates_have_ranges(search: Search, field: str, bounds: Mapping[str, Any]) -> None:
    low, high = bounds.get("gte") or "0000", bounds.get("lte") or "9999"
    expected = {srn for srn, one in DOCUMENTS.items() if (date := one.get(field)) and low <= date <= high}
    assert {hit["_id"] for hit in search(ranges={field: bounds})["hits"]["hits"]} == expected != set()


@pytest.mark.parametrize("field", RANGES)
def test_every_range_is_answered(search: Search, field: str) -> None:
    bounds = {"gte": 4, "lte": None} if "stars" in field else {"gte": None, "lte": "2026-11-22"}
    assert search(ranges={field: bounds})["hits"]["total"]["value"] >= 0


def test_the_newest_come_first_and_those_without_a_date_last(search: Search) -> None:
    dates = [hit["_source"]["published_at"] for hit in search(order="-published_at")["hits"]["hits"]]
    known = [date for date in dates if date]
    assert (
        len(dates) == len(DOCUMENTS)
        and known == sorted(known, reverse=True)
        and dates[len(known) :] == [None for date in dates if not date]
    )


def test_any_filter_can_be_sorted_on(search: Search, platform: str) -> None:
    for field in (*FILTERS[platform], *RANGES):
        assert search(order=field)["hits"]["total"]["value"] == len(DOCUMENTS)


def test_facets_count_right_each_under_the_other_filters(search: Search, platform: str) -> None:
    chosen = {"language": ["nl"], "technical_type": ["document"]}
    answer = search(filters=chosen, facets=FILTERS[platform])
    for field in FILTERS[platform]:
        others = {name: allowed for name, allowed in chosen.items() if name != field}
        under = [
            one
            for one in DOCUMENTS.values()
            if all(values(one, name) & set(allowed) for name, allowed in others.items())
        ]
        found = answer["aggregations"][field]["values"]["buckets"]
        assert {bucket["key"]: bucket["doc_count"] for bucket in found} == counted(field, under), field


def test_documents_are_found_by_their_ids(client: OpenSearch, alias: str) -> None:
    wanted = ["a:b:zorg", "a:b:bos"]
    found = client.search(index=alias, body={"query": {"terms": {"_id": wanted}}})["hits"]["hits"]
    assert {hit["_id"]: hit["_source"]["srn"] for hit in found} == dict(zip(wanted, wanted, strict=True))
    for srn, one in DOCUMENTS.items():
        query = {"query": {"terms": {"external_id": [one["external_id"]]}}}
        assert srn in {hit["_id"] for hit in client.search(index=alias, body=query)["hits"]["hits"]}


@pytest.mark.parametrize(("prefix", "found"), [("pad", ["paddenstoelen"]), ("FORE", ["forests"]), ("qqq", [])])
def test_words_are_completed(client: OpenSearch, alias: str, prefix: str, found: list[str]) -> None:
    suggest = {"words": {"prefix": prefix, "completion": {"field": "suggest_completion", "size": 100}}}
    options = client.search(index=alias, body={"suggest": suggest})["suggest"]["words"][0]["options"]
    words = {word for one in options for word in one["_source"]["suggest_completion"]}
    assert sorted((word for word in words if word.lower().startswith(prefix.lower())), key=len) == found


def test_more_like_one(client: OpenSearch, alias: str) -> None:
    def like(srn: str) -> set[str]:
        query = {
            "more_like_this": {
                "fields": list(LIKE),
                "like": [{"_index": alias, "_id": srn}],
                "min_term_freq": 1,
                "max_query_terms": 12,
            }
        }
        return {hit["_id"] for hit in client.search(index=alias, body={"query": query})["hits"]["hits"]}

    assert like("a:b:same0") == {f"a:b:same{n}" for n in range(1, 6)}
    assert like("a:b:unknown") == set()


def test_documents_that_name_a_person_who_is_no_author(client: OpenSearch, alias: str, platform: str) -> None:
    fields = [name for name in SEARCHED[platform] if "authors" not in name]
    query = {
        "bool": {
            "must": [{"multi_match": {"query": "José Núñez", "fields": fields}}],
            "must_not": [{"match": {"authors.name.keyword": "José Núñez"}}],
        }
    }
    found = client.search(index=alias, body={"query": query})["hits"]["hits"]
    assert [hit["_id"] for hit in found] == ["a:b:trees"]
    assert not refused(MODEL_OF[platform], found[0]["_source"])


def test_the_count_is_that_of_the_documents(client: OpenSearch, alias: str) -> None:
    assert client.count(index=alias)["count"] == len(DOCUMENTS)


def test_a_hit_with_a_date_is_explained_in_two_parts(client: OpenSearch, alias: str, platform: str) -> None:
    body = {"query": _words("wortels", SEARCHED[platform])}
    parts = client.explain(index=alias, id="a:b:bos", body=body)["explanation"]["details"]
    assert len(parts) == 2
    with pytest.raises(NotFoundError):
        client.explain(index=alias, id="a:b:unknown", body=body)


def test_pictures_are_addresses(search: Search, platform: str) -> None:
    (hit,) = search("paddenstoelen")["hits"]["hits"]
    shown = MODEL_OF[platform].model_validate(hit["_source"]).previews
    assert shown is not None
    assert str(shown.preview) == f"https://harvester.example.org/pictures/{PICTURE}/preview.jpg?of=a:b:bos:f"
