"""The page that searches, over a real OpenSearch: what is found, how it was read and scored; text stays text."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from opensearchpy import OpenSearch
from playwright.sync_api import Page, expect

from harvester_dagster import config, installation
from harvester_dagster.catalog import CATALOG
from harvester_dagster.search import queries
from harvester_dagster.search.bulk_lines import line
from harvester_dagster.web.search_page import SearchPage
from tests.consumers.test_search import HOSTILE
from tests.search.test_client_queries import FORM, OWN, alias, client
from tests.web.listening import listening

__all__ = ["alias", "client"]
EVIL = "<img src=x onerror=document.title='hacked'>"
NO_SERVER = "http://127.0.0.1:9"


@pytest.fixture
def opened(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Open"]:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    yield Open(database)


class Open:
    """Serves the page over an index."""

    def __init__(self, database: str) -> None:
        self._database = database

    def over(self, url: str, platform: str = "nothing") -> "Iterator[str]":
        read = config.parse({"platform": platform, "index": {"url": url}})
        with (
            installation.opened(read, self._database) as made,
            listening(SearchPage(made, "http://dagster.example:3000").routes()) as listens,
        ):
            yield f"{listens}/search/"


@pytest.fixture
def url(opened: Open, alias: str, opensearch_url: str) -> Iterator[str]:
    yield from opened.over(opensearch_url, alias.removesuffix("-products"))


def get(url: str, **asked: str | list[str]) -> requests.Response:
    return requests.get(url, params=asked, timeout=30)


def test_words_are_found_read_narrowed_and_explained(url: str, page: Page) -> None:
    page.goto(url)
    page.get_by_label("Words").fill("wortels")
    page.get_by_role("button", name="Search").click()
    hits = page.get_by_role("region", name="Hits").get_by_role("article")
    expect(hits.first.get_by_role("link", name="Wortels", exact=True)).to_have_attribute(
        "href", "/document/?srn=a%3Ab%3Abos"
    )
    everything = hits.count()
    expect(page.get_by_role("region", name="Analyzers")).to_contain_text("wortel")
    expect(page.get_by_role("region", name="Analyzers")).to_contain_text("custom_dutch")
    hits.first.get_by_role("link", name="Why this score").click()
    explained = page.get_by_role("region", name="How it was scored")
    expect(explained).to_contain_text("weight(texts.nl.titles")
    score = hits.first.locator(".legend").first.inner_text().partition("score ")[2].split()[0]
    assert abs(float(explained.inner_text().split()[0]) - float(score)) < 0.01
    facet = page.get_by_role("complementary").get_by_role("link", name="nl", exact=True).first
    facet.click()
    expect(page.locator(".chip")).to_contain_text("language: nl")
    found = hits.all()
    assert found and all("· nl ·" in hit.locator(".legend").first.inner_text() for hit in found)
    page.locator(".chip").click()
    expect(page.locator(".chip")).to_have_count(0)
    expect(hits).to_have_count(everything)


def test_a_language_is_chosen(url: str) -> None:
    text = get(url, q="", language="en").text
    assert "· en ·" in text and "· nl ·" not in text
    assert get(url, language=EVIL).status_code == 200


def test_what_was_meant_and_words_that_begin_so(url: str) -> None:
    text = get(url, q="paddenstoelem").text
    assert 'Did you mean <a href="/search/?q=paddenstoelen">paddenstoelen</a>' in text
    assert "Words that begin so: " in get(url, q="paddenst").text


def test_pictures_come_from_these_pages(url: str, page: Page) -> None:
    text = get(url, q="paddenstoelen").text
    assert 'src="/pictures/derived/' in text and 'src="https:' not in text


def test_pages_lose_and_repeat_none(url: str) -> None:
    seen: list[str] = []
    asked = "?q="
    while asked:
        text = requests.get(url + asked, timeout=30).text
        seen += [part.split('"')[0] for part in text.split('<h2 dir="auto"><a href="')[1:]]
        following = text.partition('rel="next"')[0].rpartition('<a href="')[2].split('"')[0]
        asked = f"?{urlsplit(following).query}".replace("&amp;", "&") if 'rel="next"' in text else ""
    assert len(seen) == len(set(seen)) > 10


def test_a_page_repeats_nothing_that_it_does_not_read(url: str) -> None:
    usual = len(get(url, q="title").text)
    assert len(get(url, q="title", x="y" * 50_000, filter=["language:" + "z" * 50_000] * 3).text) < usual + 500_000
    assert "yyyy" not in get(url, q="title", x="y" * 50_000).text


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_is_asked_is_answered(url: str, text: str) -> None:
    asked = text.encode("utf-8", "replace").decode()
    answer = get(url, q=asked, why=asked, filter=[f"{asked}:x", f"language:{asked}", ":"], page=asked, entity=asked)
    assert answer.status_code in {200, 400} and "Traceback" not in answer.text


@pytest.mark.parametrize("srn", ["x" * 513, "字" * 200, ".", ".."], ids=["long", "wide", "dot", "dots"])
def test_an_id_that_cannot_be_one_leaves_the_hits(url: str, srn: str) -> None:
    answer = get(url, q="wortels", why=srn)
    assert answer.status_code == 200 and 'href="/document/?srn=a%3Ab%3Abos"' in answer.text
    assert "There is no such document in the index." in answer.text


def test_an_index_that_is_closed_is_no_fault_of_who_asks(url: str, alias: str, client: OpenSearch) -> None:
    (name,) = client.indices.get_alias(name=alias)
    client.indices.close(index=name)
    try:
        answer = get(url, q="wortels")
        assert answer.status_code == 503 and "closed" in answer.text
    finally:
        client.indices.open(index=name)
        client.cluster.health(index=name, wait_for_status="yellow")


def test_text_from_outside_is_text(opened: Open, client: OpenSearch, opensearch_url: str, page: Page) -> None:
    assert FORM is not None
    platform = f"t{uuid.uuid4().hex[:12]}"
    name = f"{platform}-products"
    made = {**OWN[0], "title": f"{EVIL} ‮{'y' * 5_000}", "srn": f"a:b:{EVIL}"}
    of_texts = {
        "text": f"{EVIL} <em>not ours</em> paddenstoelen",
        "document": "x",
        "provider": None,
        "by_machine": False,
    }
    made["texts"] = {**made["texts"], "nl": {**made["texts"]["nl"], "contents": [of_texts]}}
    body = {"mappings": {"dynamic": False, "properties": CATALOG.mapping("products")}, "aliases": {name: {}}}
    body["settings"] = settings()
    client.indices.create(index=f"{name}--main-1", body=body)
    try:
        answer = client.bulk(index=name, body=line(0, made["srn"], bytes(9), FORM.stored(made)).data, refresh=True)
        assert not answer["errors"], answer
        for url in opened.over(opensearch_url, platform):
            page.goto(f"{url}?q=paddenstoelen")
            expect(page.locator("mark", has_text="paddenstoelen")).to_be_visible()
            expect(page.locator(".hit h2")).to_contain_text(EVIL)
            assert page.title() != "hacked" and page.locator("main img[src=x]").count() == 0
            page.set_viewport_size({"width": 390, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            page.get_by_role("link", name="Why this score").click()
            expect(page.get_by_role("region", name="How it was scored")).to_be_visible()
    finally:
        client.indices.delete(index=f"{name}--main-1")


def settings() -> dict[str, object]:
    from harvester_dagster.config import Index
    from harvester_dagster.search.default_mapping import settings as of

    return of(Index())


def test_without_an_index_the_page_teaches_how_to_have_one(opened: Open, opensearch_url: str) -> None:
    for url in opened.over("none"):
        text = get(url, q="x").text
        assert "[index]" in text and "harvester index rebuild" in text
    for url in opened.over(opensearch_url, f"t{uuid.uuid4().hex[:12]}"):
        assert "Nothing is indexed yet" in get(url).text
    for url in opened.over(NO_SERVER):
        answer = get(url)
        assert answer.status_code == 503 and "no connection" in answer.text


def test_an_analyzer_is_known_by_the_fields_that_it_serves() -> None:
    properties = CATALOG.mapping("products")
    assert properties is not None
    fields = queries.fields_of(properties)
    found = queries.analyzers(properties, fields)
    searched = {name.rpartition("^")[0] for name in fields.searched} - {"publisher_year"}
    assert "texts.nl.titles.text" in {name for names in found.values() for name in names} <= searched
    assert set(found) >= {"custom_dutch", "folding"}
