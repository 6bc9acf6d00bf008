"""Taking a document down on its page, in a real browser, and what is kept from doing so."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import requests
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from harvester_dagster.publication import audit, takedowns
from harvester_dagster.releases import release
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.web.api.consumer_api import PATH, consumer_api
from harvester_dagster.web.document_pages import DocumentPages
from harvester_dagster.web.takedown_pages import TakedownPages
from tests.served import served
from tests.sets.conftest import OpenWorld, indexed, open_world, source
from tests.sets.world import KEY, World, check
from tests.web.listening import listening

__all__ = ["indexed", "open_world", "source"]
SRN = f"{KEY}:b"
EVIL = "<img src=x onerror=document.title='hacked'>‮"
TOKENS = {
    "officer": {"token_env": "OFFICER_TOKEN", "scopes": ["takedown"]},
    "operator": {"token_env": "OPERATOR_TOKEN", "scopes": ["operate", "overwrite", "push", "read-raw"]},
}


class Site(NamedTuple):
    url: str
    world: World

    def post(self, path: str, token: str = "", headers: dict[str, str] | None = None, **form: Any) -> requests.Response:
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.post(self.url + path, data=form, headers={**bearer, **(headers or {})}, timeout=60)

    def get(self, path: str, token: str = "", **asked: str) -> str:
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.get(self.url + path, params=asked, headers=bearer, timeout=60).text

    def shown(self) -> set[str]:
        """What consumers see."""
        answer = requests.get(f"{self.url}{PATH}/product/", timeout=60)
        return {each["srn"] for each in answer.json()["results"]}

    def acts(self) -> list[tuple[str, str, str, str]]:
        with self.world.installation.pool.connection() as connection:
            rows = audit.rows(connection)
        return [(row.actor, row.act, row.subject, row.outcome) for row in reversed(rows) if takedowns.ACT in row.act]


@pytest.fixture
def site(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("OFFICER_TOKEN", "officer-secret")
    monkeypatch.setenv("OPERATOR_TOKEN", "operator-secret")
    world = open_world(min_documents=0, installed={"web": {"tokens": TOKENS}})
    yield from serving(world)


def serving(world: World) -> Iterator[Site]:
    """Three documents that are published; one of them is in another set, too."""
    world.source.put("a", "b", "c", files=("x", "y"))
    world.source.put("b", spec="two")
    world.night()
    world.night("src:two")
    release.release(world.installation, by_hand=True)
    installation = world.installation
    routes = [
        *DocumentPages(installation, "").routes(),
        *TakedownPages(installation, "").routes(),
        Mount(PATH, consumer_api(installation)),
    ]
    with listening(routes, installation.config.web) as url:
        yield Site(url, world)


def took(site: Site, srn: str = SRN, **form: Any) -> None:
    answer = site.post("/document/takedown", srn=srn, **{"reason": "case 12", **form})
    assert answer.status_code == 200, answer.text


def test_a_document_is_taken_down_on_its_page_and_shown_again(site: Site, page: Page) -> None:
    assert site.shown() == {f"{KEY}:a", SRN, f"{KEY}:c", "src:two:b"}
    page.goto(f"{site.url}/document/?srn={SRN}")
    part = page.get_by_role("region", name="Takedown")
    expect(part).to_contain_text(f"harvester takedown {SRN} --reason ''")
    part.get_by_role("button", name="Take down …").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Take down {SRN}?")
    goes = page.get_by_role("region", name="What goes")
    expect(goes).to_contain_text("3 documents")
    expect(goes.get_by_role("listitem").first).to_have_text(SRN)
    same = page.get_by_role("group", name="The same record by another route")
    expect(same).to_contain_text("src:two:b has the same id at its source")
    assert SRN in site.shown() and site.acts() == [], "it was only looked at"
    page.get_by_role("button", name="Take down").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Take down {SRN}?")  # the browser asks for a reason
    page.get_by_label("Reason").fill("case 12")
    page.get_by_role("button", name="Take down").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Taken down: {SRN}")
    expect(page.locator("main")).to_contain_text("3 documents taken down")
    assert site.shown() == {f"{KEY}:a", f"{KEY}:c", "src:two:b"}
    assert requests.get(f"{site.url}{PATH}/product/{SRN}/", timeout=60).status_code == 404
    page.get_by_role("link", name=SRN).click()
    down = page.get_by_role("region", name="Taken down")
    expect(down).to_contain_text("by local")
    expect(down).to_contain_text("case 12")
    expect(down).to_contain_text("can be shown again")
    expect(page.get_by_role("region", name="Overwrite")).to_have_count(0)
    down.get_by_role("link", name="All that is taken down").click()
    row = page.get_by_role("row").filter(has_text=SRN)
    expect(row).to_contain_text("case 12")
    row.get_by_role("link", name=SRN).click()
    down.get_by_role("button", name="Show it again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Shown again: {SRN}")
    assert SRN in site.shown()
    page.get_by_role("link", name=SRN).click()
    expect(part.get_by_role("button", name="Take down …")).to_be_visible()
    assert site.acts() == [("local", "takedown", SRN, "done"), ("local", "undo takedown", SRN, "done")]
    check(site.world)


def test_those_of_the_same_record_that_are_chosen_go_too(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/document/?srn={SRN}")
    page.get_by_role("button", name="Take down …").click()
    page.get_by_label("src:two:b has the same id").check()
    page.get_by_label("Reason").fill("case 12")
    page.get_by_role("button", name="Take down").click()
    expect(page.get_by_role("region", name="src:two:b")).to_contain_text("2 documents taken down")
    assert site.shown() == {f"{KEY}:a", f"{KEY}:c"}
    assert [subject for _, _, subject, _ in site.acts()] == [SRN, "src:two:b"]


def test_a_purge_is_a_choice_of_its_own_that_is_said_twice_and_comes_back_from_its_source(
    site: Site, page: Page
) -> None:
    page.goto(f"{site.url}/document/?srn={SRN}")
    page.get_by_role("button", name="Purge …").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Purge {SRN}?")
    page.get_by_label("Reason").fill("case 12")
    page.get_by_role("button", name="Purge").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Purge {SRN}?")
    unsure = site.post("/document/takedown", srn=SRN, reason="case 12", purge="yes")
    assert unsure.status_code == 422 and "say that it is meant" in unsure.text
    assert SRN in site.shown() and site.acts() == []
    page.get_by_label("Remove what is kept of it").check()
    page.get_by_role("button", name="Purge").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Purged: {SRN}")
    assert site.world.rows("SELECT FROM body JOIN document USING (doc_id) WHERE external_id = 'b' AND set_id = 1") == []
    page.get_by_role("link", name=SRN).click()
    down = page.get_by_role("region", name="Taken down")
    expect(down).to_contain_text("Nothing: it was purged")
    expect(down).to_contain_text(f"harvester takedown {SRN} --undo")
    down.get_by_role("button", name="Show it again").click()
    expect(page.locator("main")).to_contain_text("It was purged: it is asked for at its source within minutes")
    expect(page.locator("main")).to_contain_text(f"harvester takedown {SRN} --undo")
    page.get_by_role("link", name=SRN).click()
    expect(page.get_by_role("region", name="Takedown")).to_contain_text("Nothing of it is kept")
    site.world.night(asked="full")
    release.release(site.world.installation, by_hand=True)
    page.reload()
    expect(page.get_by_role("region", name="Takedown")).not_to_contain_text("Nothing of it is kept")
    assert SRN in site.shown()


def test_a_purge_that_waits_says_so_and_is_gone_on_with(site: Site) -> None:
    with lock_set(site.world.installation, KEY):
        answer = site.post("/document/takedown", srn=SRN, reason="case 12", purge="yes", sure="yes")
    assert answer.status_code == 200 and "its purge is not finished" in answer.text
    assert SRN not in site.shown()
    text = site.get("/document/", srn=SRN)
    assert "is not finished" in text and "Go on with the purge" in text and "Show it again" not in text
    assert "not finished" in site.get("/takedowns/")
    assert site.post("/document/takedown/undo", srn=SRN).status_code == 409
    took(site, purge="yes", sure="yes")
    assert "it was purged" in site.get("/document/", srn=SRN)
    assert site.acts() == [("local", "takedown", SRN, "done"), ("local", "undo takedown", SRN, "refused")]


def test_more_than_twenty_in_a_day_are_said_twice(site: Site, page: Page) -> None:
    site.world.change(
        """INSERT INTO audit (at, actor, act, subject, address, outcome)
           SELECT %s, 'cli:ada', 'takedown', 's' || n, '', 'done' FROM generate_series(1, %s) n""",
        site.world.now,
        takedowns.A_DAY - 1,
    )
    page.goto(f"{site.url}/document/?srn={SRN}")
    page.get_by_role("button", name="Take down …").click()
    expect(page.get_by_label("go on all the same")).to_have_count(0)
    page.get_by_label("src:two:b has the same id").check()
    page.get_by_label("Reason").fill("case 12")
    page.get_by_role("button", name="Take down").click()
    expect(page.get_by_role("alert")).to_contain_text("19 other documents were taken down or purged within a day")
    assert len(site.shown()) == 4, "all of them, or none"
    assert site.acts()[-1] == ("local", "takedown", SRN, "refused")
    expect(page.get_by_label("Reason")).to_have_value("case 12")
    expect(page.get_by_label("src:two:b has the same id")).to_be_checked()
    expect(page.locator("main")).to_contain_text("--confirm")
    page.get_by_label("go on all the same").check()
    page.get_by_role("button", name="Take down").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Taken down: {SRN}")
    assert site.shown() == {f"{KEY}:a", f"{KEY}:c"}


def test_it_goes_without_scripts(site: Site, page: Page) -> None:
    assert page.context.browser
    plain = page.context.browser.new_page(java_script_enabled=False)
    plain.goto(f"{site.url}/document/?srn={SRN}")
    plain.get_by_role("button", name="Take down …").click()
    plain.get_by_label("Reason").fill("case 12")
    plain.get_by_role("button", name="Take down").click()
    plain.get_by_role("link", name=SRN).click()
    assert SRN not in site.shown()
    plain.get_by_role("button", name="Show it again").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text(f"Shown again: {SRN}")
    assert SRN in site.shown()


def test_a_page_of_another_origin_cannot_take_down(site: Site, page: Page) -> None:
    form = f"""<form method="post" action="{site.url}/document/takedown"><input name="srn" value="{SRN}">
        <input name="reason" value="x"><button>Win</button></form>"""

    async def lure(_: Request) -> HTMLResponse:
        return HTMLResponse(form)

    with served(Starlette(routes=[Route("/", lure)])) as elsewhere:
        page.goto(elsewhere)
        with page.expect_response(f"{site.url}/document/takedown") as answer:
            page.get_by_role("button", name="Win").click()
        assert answer.value.status == 403
    assert SRN in site.shown() and site.acts() == []


def test_without_the_scope_there_is_no_button_and_403(site: Site) -> None:
    took(site, f"{KEY}:c")
    acts = site.acts()
    for srn, command in ((SRN, f"harvester takedown {SRN}"), (f"{KEY}:c", f"takedown {KEY}:c --undo")):
        text = site.get("/document/", "operator-secret", srn=srn)
        assert "/document/takedown" not in text and command in re.sub("<[^>]*>", "", text)
        assert "/document/takedown" in site.get("/document/", "officer-secret", srn=srn)
        assert "/document/takedown" in site.get("/document/", srn=srn)
    form = {"srn": SRN, "reason": "x"}
    for path in ("", "/look", "/undo"):
        assert site.post(f"/document/takedown{path}", "operator-secret", **form).status_code == 403
    assert site.post("/document/overwrite", "officer-secret", srn=SRN, fields="{}").status_code == 403
    assert site.acts() == acts


def test_what_cannot_be_taken_down_is_said(site: Site) -> None:
    part = f"{KEY}:{site.world.one('SELECT min(external_id) FROM document WHERE owner_id IS NOT NULL')}"
    assert site.post("/document/takedown/look", srn=part).status_code == 409
    text = site.get("/document/", srn=part)
    assert "with what it is a part of" in text and "/document/takedown" not in text
    assert site.post("/document/takedown", srn="a\0b", reason="x").status_code == 400
    for srn in ("", "src:one:none", EVIL, "x" * 5_000):
        for path in ("", "/look", "/undo"):
            assert site.post(f"/document/takedown{path}", srn=srn, reason="x").status_code == 404, (srn, path)
    assert site.post("/document/takedown", srn=SRN, reason="x", also=["src:one:none"]).status_code == 404
    assert site.post("/document/takedown", srn=SRN, reason="x", also=[SRN] * 1_000).status_code == 400
    assert site.post("/document/takedown", srn=SRN, reason=" ").status_code == 422
    assert site.post("/document/takedown", srn=SRN, reason="x" * 1_001).status_code == 422
    assert site.post("/document/takedown/undo", srn=SRN).status_code == 409
    assert len(site.shown()) == 4


def test_what_is_typed_is_text(site: Site, page: Page) -> None:
    site.world.source.put(EVIL, title=EVIL)
    site.world.night()
    release.release(site.world.installation, by_hand=True)
    page.goto(f"{site.url}/document/?srn={KEY}:{EVIL}")
    page.get_by_role("button", name="Take down …").click()
    page.get_by_label("Reason").fill(EVIL)
    page.get_by_role("button", name="Take down").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Taken down: {KEY}:{EVIL}")
    page.get_by_role("link", name="All that is taken down").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text(EVIL)
    page.get_by_role("row").nth(1).get_by_role("link").click()
    expect(page.get_by_role("region", name="Taken down")).to_contain_text(EVIL)
    assert page.title() != "hacked"


def test_all_that_is_taken_down_is_listed_a_page_at_a_time(site: Site, page: Page) -> None:
    assert "Nothing." in site.get("/takedowns/")
    site.world.change(
        """INSERT INTO document (doc_id, set_id, entity, external_id)
           SELECT 1000000 + n, 1, 'products', 'bulk' || n FROM generate_series(1, 120) n;
           INSERT INTO takedown (doc_id, set_id, at, actor, reason)
           SELECT 1000000 + n, 1, timestamptz '2026-01-01' + n * interval '1 minute', 'cli:ada', 'case ' || n
           FROM generate_series(1, 120) n"""
    )
    page.goto(f"{site.url}/takedowns/")
    expect(page.locator("main")).to_contain_text("120 documents")
    seen = [page.get_by_role("rowheader").all_inner_texts()]
    for _ in range(2):
        page.get_by_role("link", name="Older").click()
        seen.append(page.get_by_role("rowheader").all_inner_texts())
    assert [len(each) for each in seen] == [50, 50, 20]
    assert [srn for each in seen for srn in each] == [f"{KEY}:bulk{number}" for number in range(120, 0, -1)]
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    for number in ("0", "-1", "x", "9" * 30, "99999"):
        assert "120 documents" in site.get("/takedowns/", page=number)


def test_so_many_are_looked_at_at_once(open_world: OpenWorld) -> None:
    world = open_world()
    world.source.put("b")
    world.night()
    pages = TakedownPages(world.installation, "")
    with listening(pages.routes(), world.installation.config.web) as url:
        site = Site(url, world)
        with pages.looks.one(), pages.looks.one():
            answer = site.post("/document/takedown/look", srn=SRN)
            assert answer.status_code == 429 and "try again" in answer.text
        assert site.post("/document/takedown/look", srn=SRN).status_code == 200


def test_a_record_that_was_given_up_is_not_said_to_be_asked_for(site: Site) -> None:
    took(site, purge="yes", sure="yes")
    assert site.post("/document/takedown/undo", srn=SRN).status_code == 200
    assert "is asked for at its source within minutes" in site.get("/document/", srn=SRN)
    site.world.change("DELETE FROM asked_anew")
    text = site.get("/document/", srn=SRN)
    assert "comes with the next harvest" in text and "within minutes" not in text


def test_the_search_index_is_told_of(open_world: OpenWorld, indexed: dict[str, Any]) -> None:
    world = open_world(min_documents=0, installed=indexed)
    for site in serving(world):
        took(site)
        assert "does not show it" in site.get("/document/", srn=SRN)
        world.change("UPDATE search_index SET overlay_seq = 0")
        assert "has not followed yet" in site.get("/document/", srn=SRN)
        assert site.post("/document/takedown/undo", srn=SRN).status_code == 200
        assert "has not followed yet" not in site.get("/document/", srn=SRN)
        world.change("UPDATE search_index SET overlay_seq = 0")
        assert "It came back, and the search index has not followed yet" in site.get("/document/", srn=SRN)
