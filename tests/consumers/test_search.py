"""Searching over the API on a real OpenSearch: what is found is what the documents say, whatever is asked."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opensearchpy import OpenSearch
from starlette.testclient import TestClient

from harvester_dagster import config, installation
from harvester_dagster.catalog import CATALOG
from harvester_dagster.releases.release import release
from harvester_dagster.search import queries
from tests.consumers.copies import client_of
from tests.search.client import FILTERS, LIKE, SEARCHED
from tests.search.test_client_queries import DOCUMENTS, OWN, TEXTS, alias, client, counted, values
from tests.sets.conftest import indexed, source
from tests.sets.conftest import open_world as open_world
from tests.sets.world import World

__all__ = ["alias", "client", "indexed", "source"]
FIELDS = queries.fields_of(CATALOG.mapping("products") or {})
API_PAGE = Path(__file__).parents[2] / "docs" / "api.md"
NO_SERVER = "http://127.0.0.1:9"
HOSTILE = (
    *(
        " ".join(f"woord{n}" for n in range(60)),
        "(" * 500,
        ("(a|" * 166),
        "a" * 500,
        "bos~2",
        '"a b"~9999999999',
        "-" * 500,
    ),
    *(
        "a\x1fb\x1e",
        "\x00",
        "‮",
        "字" * 500,
        "a*" * 250,
        '"' * 499,
        "\\" * 500,
        "* *",
        "a AND (NOT",
        "é" * 500,
        "_id:1",
        "\ud7ff",
    ),
)


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def api(
    database: str, alias: str, opensearch_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    read = config.parse({"platform": alias.removesuffix("-products"), "index": {"url": opensearch_url}})
    with installation.opened(read, database) as opened:
        yield client_of(opened)


@pytest.fixture
def ask(api: TestClient) -> Ask:
    def asked(path: str, **parameters: Any) -> dict[str, Any]:
        answer = api.get(path, params=parameters)
        assert answer.status_code == 200, (path, parameters, answer.text)
        found: dict[str, Any] = answer.json()
        return found

    return asked


def names(answer: dict[str, Any]) -> list[str]:
    return [one["external_id"] for one in answer["results"]]


def test_fields_are_those_that_a_client_asks() -> None:
    searched = {name.rpartition("^")[0]: name for name in FIELDS.searched}
    for platform, wanted in SEARCHED.items():
        for name in (one if "^" in one else f"{one}^1" for one in wanted):
            bare = name.rpartition("^")[0]
            if bare not in ("parties.name.folded", "projects.name.folded", "provider.filter_search"):
                assert searched[bare] == name, platform
        assert set(FILTERS[platform]) <= {*FIELDS.filters}
    assert set(LIKE) == {*FIELDS.like}


def test_words_find_what_says_them(ask: Ask) -> None:
    own = {one["external_id"] for one in OWN}
    for text, found in (
        ("wortels", {"bos", "boek", "stam"}),
        ("éducatie", {"bos"}),
        ("paddenstoelen dieren", set()),
        ('"healthy forests"', {"trees"}),
        ("wellbeings", {"bos"}),
        ("wilhelmina", {"bos"}),
        ("sustainable -batteries", set()),
        ("paddenst*", {"bos"}),
    ):
        assert set(names(ask("/search/product/", q=text, page_size=100))) & own == found, text
    best = [name for name in names(ask("/search/product/", q="wortels")) if name in own]
    assert best[0] == "bos" and best.index("boek") < best.index("stam")


def test_a_hit_is_the_document_in_its_form_there(ask: Ask) -> None:
    (found,) = ask("/search/product/", q="paddenstoelen")["results"]
    assert "<em>paddenstoelen</em>" in found.pop("highlight")["texts.nl.contents.text"][0]
    assert found.pop("score") > 0
    assert found == DOCUMENTS["a:b:bos"]


def test_it_is_said_what_may_have_been_meant(ask: Ask) -> None:
    assert ask("/search/product/", q="paddenstoelem")["did_you_mean"] == "paddenstoelen"
    assert ask("/search/product/", q="forests")["did_you_mean"] is None


def test_filters_and_counts_are_what_the_documents_say(ask: Ask) -> None:
    fields = ask("/search/product/fields/")
    assert fields["filters"] == list(FIELDS.filters) and fields["ranges"] == FIELDS.ranges
    asked = [*FILTERS["mbodata"], *FILTERS["publinova"]]
    for field in dict.fromkeys(asked):
        (counts,) = ask("/search/product/", facet=field)["facets"].values()
        assert {one["value"]: one["count"] for one in counts} == counted(field), field
    assert ask("/search/product/", filter="publishers.keyword:Hanze")["total"] == counted("publishers.keyword")["Hanze"]
    chosen = ["language:nl", "language:en", "publishers.keyword:Hanze"]
    expected = {
        srn
        for srn, one in DOCUMENTS.items()
        if one["language"] in ("nl", "en") and "Hanze" in one.get("publishers", ())
    }
    answer = ask("/search/product/", filter=chosen, facet=["language"], page_size=100)
    assert {one["srn"] for one in answer["results"]} == expected != set()
    under = [one for one in DOCUMENTS.values() if values(one, "publishers") & {"Hanze"}]
    assert {one["value"]: one["count"] for one in answer["facets"]["language"]} == counted("language", under)


def test_dates_have_ranges_and_order(ask: Ask) -> None:
    for bounds, low, high in (
        ("2019-03-01..2020-01-31", "2019-03-01", "2020-01-31"),
        ("..2019-12-31", "", "2019-12-31"),
    ):
        found = ask("/search/product/", range=f"published_at:{bounds}", page_size=100)["results"]
        expected = {s for s, one in DOCUMENTS.items() if (day := one.get("published_at")) and low <= day <= high}
        assert {one["srn"] for one in found} == expected != set()
    found = ask("/search/product/", sort="-published_at", page_size=100)["results"]
    dates = [one["published_at"] for one in found if one["published_at"]]
    assert dates == sorted(dates, reverse=True) and len(found) == len(DOCUMENTS)
    for field, kind in FIELDS.ranges.items():
        bounds = "2019-01-01T00:00:00Z.." if kind == "date" else "1.5..1e300"
        ask("/search/product/", range=f"{field}:{bounds}", sort=field)


def test_every_field_can_be_filtered_counted_and_sorted(ask: Ask) -> None:
    for at in range(0, len(FIELDS.filters), 30):
        some = FIELDS.filters[at : at + 30]
        ask("/search/product/", facet=list(some), filter=[f"{some[0]}:a:b"], page_size=1)
    for field in FIELDS.filters[::5]:
        ask("/search/product/", sort=f"-{field}", page_size=1)


def test_pages_repeat_and_lose_none(api: TestClient, ask: Ask) -> None:
    page = ask("/search/product/", page_size=4, filter=["state:active"])
    found = names(page)
    while page["next"]:
        page = api.get(page["next"]).json()
        found += names(page)
    assert sorted(found) == sorted(one["external_id"] for one in DOCUMENTS.values() if one["state"] == "active")
    assert len(found) == page["total"]


def test_documents_are_found_by_their_ids(ask: Ask) -> None:
    wanted = ["a:b:zorg", "a:b:nothing", "a:b:bos", "a:b:zorg"]
    assert names(ask("/find/product/", srn=wanted)) == ["zorg", "bos"]
    assert names(ask("/find/product/", external_id=["zorg", "bos"])) == ["bos", "zorg"]


def test_words_are_completed(ask: Ask) -> None:
    for prefix, found in (("pad", ["paddenstoelen"]), ("FORE", ["forests"]), ("qqq", []), ("", [])):
        assert ask("/suggestions/product/", prefix=prefix)["results"] == found


def test_documents_like_one(ask: Ask) -> None:
    assert {*names(ask("/suggestions/product/similar/", srn="a:b:same0"))} == {f"same{n}" for n in range(1, 6)}
    assert names(ask("/suggestions/product/similar/", srn="a:b:unknown")) == []


def test_documents_that_name_a_person_who_is_no_author(ask: Ask) -> None:
    assert names(ask("/suggestions/product/author/", name="José Núñez")) == ["trees"]


def test_the_count_is_that_of_the_documents(ask: Ask) -> None:
    assert ask("/search/product/statistics/")["total"] == len(DOCUMENTS)


def test_any_text_is_answered(ask: Ask) -> None:
    for text in (*TEXTS, *HOSTILE):
        ask("/search/product/", q=text[: queries.LONGEST])
        ask("/suggestions/product/", prefix=text[:100])
        ask("/suggestions/product/author/", name=text[:200])
        ask("/suggestions/product/similar/", srn=text[:120])
        ask("/find/product/", external_id=text[:120])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from('+-|"*()~\\ ab')), max_size=60))
def test_any_made_up_text_is_answered(ask: Ask, text: str) -> None:
    ask("/search/product/", q=text)
    ask("/suggestions/product/", prefix=text)


def test_what_cannot_be_answered_is_a_problem(api: TestClient) -> None:
    for path, status in (
        ("/search/product/?what=1", 400),
        ("/search/product/?q=" + "a" * 501, 400),
        ("/search/product/?page_size=101", 400),
        ("/search/product/?page=101&page_size=100", 400),
        ("/search/product/?filter=nothing:1", 400),
        ("/search/product/?facet=title", 400),
        ("/search/product/?sort=--srn", 400),
        ("/search/product/?range=published_at:2019", 400),
        ("/search/product/?range=published_at:2019-13-01..", 400),
        ("/search/product/?range=published_at:now/d..", 400),
        ("/search/product/?range=metrics.views:nan..", 400),
        ("/search/product/?range=published_at:2020-01-01T00:00:00%2B23:59..", 400),
        ("/search/file/", 404),
        ("/search/nothing/", 404),
        ("/find/product/", 400),
        ("/find/product/?srn=a&external_id=b", 400),
        ("/suggestions/product/author/", 400),
    ):
        answer = api.get(path)
        assert answer.status_code == status, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "does not take" not in answer.text, path
    for moment in ("2020-01-01T00:00:00%2B18:00", "2020-01-01T00:00:00.5%2B01:00:30", "2020-01-01T00:00:00Z"):
        assert api.get(f"/search/product/?range=published_at:{moment}..").status_code == 200, moment


def test_an_index_that_somebody_must_mend_is_no_fault_of_who_asks(
    api: TestClient, alias: str, client: OpenSearch
) -> None:
    (name,) = client.indices.get_alias(name=alias)
    client.indices.put_settings(index=name, body={"index.max_result_window": 50})
    try:
        assert api.get("/search/product/?page=10").status_code == 503
    finally:
        client.indices.put_settings(index=name, body={"index.max_result_window": None})


@pytest.mark.parametrize(("url", "status"), [("none", 404), (NO_SERVER, 503)])
def test_an_index_that_is_not_there_is_a_problem(
    database: str, url: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    with installation.opened(config.parse({"index": {"url": url}}), database) as opened:
        api = client_of(opened)
        for path in ("/search/product/", "/search/product/statistics/", "/find/product/?srn=a"):
            answer = api.get(path)
            assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json", path
            assert answer.headers.get("retry-after") == ("10" if status == 503 else None)
        assert "search index" in answer.json()["title"]


def test_the_version_is_that_of_the_index(open_world: Callable[..., World], indexed: dict[str, Any]) -> None:
    world = open_world(installed=indexed)
    api = client_of(world.installation)
    assert api.get("/search/product/").status_code == 417
    world.source.put("a", "b", "c")
    world.night()
    release(world.installation, by_hand=True)
    shown, found = api.get("/product/").json(), api.get("/search/product/").json()
    assert [found[name] for name in ("version", "seq", "as_of")] == [
        shown[name] for name in ("version", "seq", "as_of")
    ]
    assert found["total"] == len(shown["results"]) == 3
    examples = re.findall(r"^GET /api/v1(/(?:search|find|suggestions|metadata)/.*)$", API_PAGE.read_text(), re.M)
    assert len(examples) >= 9
    for example in examples:
        assert api.get(example).status_code == 200, example
