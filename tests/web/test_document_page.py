"""The page of one document, in a real browser: what it was made from, how versions differ in it, and two people who
overwrite it at once."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import requests
from playwright.sync_api import Page, expect

from harvester_dagster.releases import taking_down
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.tasks import check_url
from harvester_dagster.web.document_pages import DocumentPages
from harvester_dagster.web.operator_pages import OperatorPages
from harvester_dagster.web.picture_pages import PicturePages
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, World, catalog, drawing
from tests.web.listening import listening
from tests.web.test_operator_pages import EVIL, Here, asked_back, rejected, released

__all__ = ["open_world", "source"]
SMALLEST = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)


class Site(NamedTuple):
    url: str
    world: World


@pytest.fixture
def site(open_world: OpenWorld) -> Iterator[Site]:
    editor = {"token_env": "EDITOR_TOKEN", "scopes": ["overwrite"]}
    reader = {"token_env": "READER_TOKEN", "scopes": ["read-raw"]}
    world = open_world(min_documents=0, installed={"web": {"tokens": {"editor": editor, "reader": reader}}})
    routes = [
        *DocumentPages(world.installation, "").routes(),
        *OperatorPages(world.installation, Here(world), "").routes(),
        *PicturePages(world.installation).routes(),
    ]
    with listening(routes, world.installation.config.web) as url:
        yield Site(url, world)


def published(world: World, title: str, **values: Any) -> None:
    world.source.put("a", title=title, **values)
    world.night()
    released(world)


def test_what_it_was_made_from_down_to_what_its_source_sent(site: Site, page: Page) -> None:
    published(site.world, "As sent", owner={"id": "o1", "name": EVIL, "type": "institute"})
    page.goto(f"{site.url}/document/?srn={KEY}:a")
    said = page.get_by_role("region", name="What its source says")
    expect(said).to_contain_text("As sent")
    expect(said).to_contain_text("onerror")
    expect(page.locator("main")).to_contain_text(f"harvester why {KEY}:a --record")
    said.get_by_role("link", name="The record as it was sent").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("As its source sent it")
    expect(page.get_by_role("region", name="The record")).to_contain_text('"type": "repoItem"')
    expect(page.locator("main")).to_contain_text("In the pages of attempt 1")
    page.get_by_role("link", name=f"{KEY}:a").click()
    page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="files")).get_by_role("link").click()
    expect(page.get_by_role("rowheader", name="part of")).to_be_visible()
    page.get_by_text("What it found").click()
    expect(page.locator("details[open]")).to_contain_text("text/plain")
    assert page.title() != "hacked"


def test_what_is_raw_is_shown_to_who_may_read_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR_TOKEN", "editor's")
    monkeypatch.setenv("READER_TOKEN", "reader's")
    published(site.world, "As sent", subtitle="e@example.org")

    def get(path: str, token: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(site.url + path, params={"srn": f"{KEY}:a"}, headers=headers, timeout=30)

    assert "e@example.org" in get("/document/", "reader's").text
    assert "e@example.org" in get("/document/source/", "reader's").text
    other = get("/document/", "editor's").text
    assert "e@example.org" not in other and "has the scope <code>read-raw</code>" in other
    assert get("/document/source/", "editor's").status_code == 403
    assert requests.get(f"{site.url}/document/source/?srn=nowhere", timeout=30).status_code == 404
    assert requests.get(f"{site.url}/document/source/", timeout=30).status_code == 404


def test_what_is_taken_down_is_shown_to_nobody(site: Site) -> None:
    published(site.world, "As sent")
    doc_id, set_id = site.world.rows("SELECT doc_id, set_id FROM document WHERE external_id = 'a'")[0]
    taking_down.take_down(site.world.installation, Named(doc_id, set_id, f"{KEY}:a"), "case 12")
    for path in ("/document/", "/document/source/"):
        answer = requests.get(site.url + path, params={"srn": f"{KEY}:a"}, timeout=30)
        assert answer.status_code == 200 and "As sent" not in answer.text, path


def test_how_versions_differ_in_it(site: Site, page: Page) -> None:
    published(site.world, "First")
    site.world.source.put("b")
    site.world.night()
    released(site.world)
    published(site.world, f"Second {EVIL}", subtitle="New")
    page.goto(f"{site.url}/document/?srn={KEY}:a")
    part = page.get_by_role("region", name="In versions")
    expect(part.get_by_role("heading", level=3)).to_have_count(1)
    expect(part.get_by_role("heading", level=3)).to_contain_text("Version 3")
    expect(part).to_contain_text("It differs from version 2")
    expect(part).to_contain_text("title: First → Second")
    expect(part).to_contain_text("subtitle: nothing → New")
    expect(part).to_contain_text("harvester versions diff 2 3")
    page.goto(f"{site.url}/document/?srn={KEY}:b")
    expect(part).to_contain_text("It is there; in version 1 it was not")
    assert page.title() != "hacked"


def test_its_title_is_its_heading_and_what_differs_for_people_stands_first(site: Site, page: Page) -> None:
    published(site.world, "First")
    published(site.world, f"Second {EVIL}{'x' * 300}", subtitle="s")
    page.goto(f"{site.url}/document/?srn={KEY}:a")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("Second <img")
    expect(heading).to_contain_text(f"{KEY}:a")
    expect(heading.locator("bdi")).to_contain_text("...")
    fields = page.get_by_role("region", name="In versions").locator("div > b").all_inner_texts()
    assert fields[:3] == ["title", "subtitle", "modified_at"] and {"suggest_completion", "texts"} >= set(fields[-2:])
    box = page.get_by_role("region", name="Stages")
    assert box.evaluate("each => each.scrollHeight <= each.clientHeight + 1"), "its end is in sight"
    assert page.title() != "hacked"
    page.goto(f"{site.url}/document/")
    expect(page.get_by_role("main")).to_contain_text("such as sharekit:edusources:5be6dfeb")
    expect(page.get_by_role("main").get_by_role("link", name="search")).to_have_attribute("href", "/search/")


def test_a_verdict_that_is_not_of_what_is_shown_says_so(open_world: OpenWorld, page: Page) -> None:
    world = open_world(min_documents=0)
    with listening(DocumentPages(world.installation, "").routes()) as url:
        rejected(world)
        page.goto(f"{url}/document/?srn={KEY}:00")
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="verdict"))
        expect(row).to_contain_text("rejected")
        expect(row).to_contain_text("what consumers see of this document is what was accepted before")


def test_versions_of_other_sets_in_between_hide_no_difference(site: Site, page: Page) -> None:
    published(site.world, "First")
    published(site.world, "Second")
    for number in range(25):
        site.world.source.put("x", spec="two", title=f"Other {number}")
        site.world.night("src:two")
        released(site.world)
    page.goto(f"{site.url}/document/?srn={KEY}:a")
    part = page.get_by_role("region", name="In versions")
    expect(part.get_by_role("heading", level=3)).to_have_count(1)
    expect(part).to_contain_text("title: First → Second")


def test_text_that_turns_around_turns_nothing_beside_it(site: Site, page: Page) -> None:
    published(site.world, "\u202eone")
    published(site.world, "\u202etwo")
    page.goto(f"{site.url}/document/?srn={KEY}:a")
    line = page.get_by_role("region", name="In versions").locator("div").filter(has_text="title:").first
    before, after = (value.bounding_box() for value in line.locator("bdi").all())
    name = line.locator("b").bounding_box()
    assert name and before and after and name["x"] < before["x"] < after["x"]


def test_a_picture_that_consumers_see_stands_beside_its_task(open_world: OpenWorld, page: Page) -> None:
    drawn = replace(drawing(), picture="preview_small")
    world = open_world(catalog=catalog(check_url.TASK, drawn), min_documents=0)
    world.source.contents["a/a"] = SMALLEST
    published(world, "Pictured")
    file = world.one("SELECT external_id FROM document WHERE entity = 'files'")
    routes = [*DocumentPages(world.installation, "").routes(), *PicturePages(world.installation).routes()]
    with listening(routes) as url:
        page.goto(f"{url}/document/?srn={KEY}:{file}")
        picture = page.get_by_role("img", name="what task image_preview made")
        expect(picture).to_have_js_property("naturalWidth", 1)


def test_of_two_who_overwrite_at_once_the_later_sees_what_changed(site: Site, page: Page) -> None:
    published(site.world, "As sent")
    page.goto(f"{site.url}/document/?srn={KEY}:a")
    part = page.get_by_role("region", name="Overwrite")
    site.world.overwrite("a", {"title": "By another", "subtitle": "theirs"})
    part.get_by_label("Fields, as JSON").fill('{"title": "By me"}')
    part.get_by_role("button", name="Overwrite").click()
    expect(page.get_by_role("alert")).to_contain_text("dagster has overwritten title, subtitle meanwhile")
    expect(part.locator(".hand")).to_contain_text("title: nothing → By another")
    expect(part.get_by_label("Fields, as JSON")).to_have_value('{"title": "By me"}')
    assert site.world.one("SELECT body ->> 'title' FROM overwrite") == "By another"
    part.get_by_role("button", name="Overwrite").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert site.world.one("SELECT body ->> 'title' FROM overwrite") == "By me", "now it was seen"

    site.world.overwrite("a", {"title": "Once more"})
    asked_back(page, "Take it away")
    expect(part.locator(".hand")).to_contain_text("title: By me → Once more")
    assert site.world.one("SELECT count(*) FROM overwrite") == 1
    asked_back(page, "Take it away")
    expect(part.get_by_role("button", name="Take it away")).to_have_count(0)
    outcomes = site.world.rows("SELECT act, outcome FROM audit ORDER BY audit_id")
    assert ("overwrite", "refused") in outcomes and outcomes[-1] == ("clear overwrite", "done")


def test_history_is_read_a_page_at_a_time(site: Site, page: Page) -> None:
    published(site.world, "As sent")
    for number in range(13):
        site.world.overwrite("a", {"title": f"No. {number}", "keywords": [str(number)]})
    page.goto(f"{site.url}/document/?srn={KEY}:a")
    rows = page.get_by_role("region", name="Overwrites").locator("tbody tr")
    expect(rows).to_have_count(10)
    expect(rows.first).to_contain_text('keywords: ["12"]')
    page.get_by_role("link", name="Earlier ones").click()
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("No. 2")
    expect(page.get_by_label("Fields, as JSON")).to_have_value(
        '{\n  "title": "No. 12",\n  "keywords": [\n    "12"\n  ]\n}'
    )
    for odd in ("x", "-1", "9" * 40):
        assert requests.get(f"{site.url}/document/?srn={KEY}:a&before={odd}", timeout=30).status_code == 200
