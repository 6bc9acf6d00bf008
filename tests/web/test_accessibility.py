"""Every page in a real browser, in light on a desk and in dark on a telephone: axe-core finds nothing that is serious,
and nothing is wider than the screen."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

from harvester_dagster.publication import takedowns
from harvester_dagster.releases import alerts, nights, taking_down
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.web.acts import RunSeen, Said
from harvester_dagster.web.alert_page import AlertPage
from harvester_dagster.web.document_pages import DocumentPages
from harvester_dagster.web.failure_pages import FailurePages
from harvester_dagster.web.operator_pages import OperatorPages
from harvester_dagster.web.push_pages import PushPages
from harvester_dagster.web.search_page import SearchPage
from harvester_dagster.web.source_pages import SourcePages
from harvester_dagster.web.takedown_pages import TakedownPages
from harvester_dagster.web.version_pages import VersionPages
from tests.push.pushing import push
from tests.sets.conftest import OpenWorld, indexed, open_world, source
from tests.sets.world import KEY, World
from tests.web.conftest import Site
from tests.web.conftest import site as access_site
from tests.web.listening import PHONE, listening
from tests.web.test_operator_pages import Here, failing, rejected, released

__all__ = ["access_site", "indexed", "open_world", "source"]
LOOKS: tuple[tuple[Literal["light", "dark"], ViewportSize], ...] = (
    ("light", {"width": 1280, "height": 900}),
    ("dark", PHONE),
)
LONG = "x" * 5_000
PATHS = (
    *("/", f"/set/{KEY}/", "/set/src:two/", f"/document/?srn={KEY}:00", f"/document/?srn={KEY}:a", "/versions/"),
    *(
        f"/document/source/?srn={KEY}:00",
        "/versions/1/rollback/",
        "/versions/next/",
        "/versions/difference/?old=1&new=2",
    ),
    *(
        "/failures/",
        "/audit/",
        "/nights/",
        "/night/1/",
        "/sources/",
        "/source/src/",
        "/search/",
        "/search/?q=title&why=src:one:00",
    ),
    *("/search/?q=ofx", f"/search/?q={LONG[:400]}", "/alerts/", "/run/run/", "/takedowns/", f"/document/?srn={KEY}:b"),
)
ASKING = ("/versions/1/rollback/",)
"""Where the page as a whole asks back: it says what a button does that was none yet."""
UNKNOWN = ("/document/?srn=nowhere", "/source/nowhere/", "/nowhere")
ACCESS = (*("/harvest/status", "/access/runs/", "/harvest/log", "/debug/article", "/access/what-if/", "/cache/update"),)


def found_by_axe(page: Page) -> list[str]:
    """What is serious or critical."""
    violations: list[Any] = Axe().run(page).response["violations"]
    return [
        f"{page.url}: {each['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for each in violations
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def looked_at(page: Page, urls: list[str], status: int = 200) -> list[str]:
    found = []
    for url in urls:
        for scheme, size in LOOKS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)
            answer = page.goto(url)
            assert answer and answer.status == status, url
            if page.evaluate("document.documentElement.scrollWidth") > size["width"]:
                found.append(f"{url}: wider than {size['width']}")
            found += found_by_axe(page)
    return found


@pytest.fixture
def url(open_world: OpenWorld, indexed: dict[str, Any]) -> Iterator[str]:
    world = peopled(open_world, indexed)
    with listening(routes(world)) as url:
        yield url


def peopled(open_world: OpenWorld, indexed: dict[str, Any]) -> World:
    """A world with something on every page: a rejected set, problems, failures, an index, what was told, what is taken
    down, pushes, long text, two versions."""
    email = {"host": "127.0.0.1", "port": 9, "security": "none", "sender": "h@example.org", "to": ["o@example.org"]}
    world: World = open_world(min_documents=0, installed={**indexed, "alerts": {"email": email}})
    failing(world)
    released(world)
    world.source.put("99", title=f"مرحبا <b>bold</b> {LONG}")
    world.source.spoil("98")
    rejected(world)
    with world.installation.pool.connection() as connection:
        connection.execute("UPDATE problem SET reason = reason || %s", (LONG,))
        nights.open_night(connection, world.installation.config, world.now)
        connection.execute("UPDATE attempt SET night_id = 1")
        connection.execute("UPDATE night_set SET outcome = 'failure', reason = %s WHERE set_id = 2", (LONG,))
        nights.end(connection, 1, world.now)
    alerts.tell(world.installation, [alerts.Alert("a", f"{KEY}: failed {LONG}", "look at it", key=KEY)])
    push(world, *(world.source.record(name) for name in "ab"))
    world.change("UPDATE push SET state = 'rejected', ended_at = now(), reason = %s WHERE external_id = 'a'", LONG)
    doc_id, set_id = world.rows("SELECT doc_id, set_id FROM document WHERE external_id = 'b'")[0]
    taking_down.take_down(world.installation, Named(doc_id, set_id, f"{KEY}:b"), LONG[: takedowns.LONGEST_REASON])
    return world


def routes(world: World) -> list[Any]:
    dagster, acts = "http://dagster.example:3000", Here(world)
    acts.runs["run"] = RunSeen("run", "harvest", KEY, "failed", [Said(world.now, LONG)], f"<b>why</b> {LONG}")
    return [
        *OperatorPages(world.installation, acts, dagster).routes(),
        *VersionPages(world.installation, dagster).routes(),
        *DocumentPages(world.installation, dagster).routes(),
        *TakedownPages(world.installation, dagster).routes(),
        *PushPages(world.installation, dagster).routes(),
        *FailurePages(world.installation, acts, dagster).routes(),
        *SourcePages(world.installation, dagster).routes(),
        *SearchPage(world.installation, dagster).routes(),
        *AlertPage(world.installation, dagster).routes(),
    ]


def test_what_is_looked_for_would_be_found(page: Page) -> None:
    page.set_content("<html><body><img src='data:,'><p style='color:#ccc;background:#fff'>pale</p></body></html>")
    assert {each.split(": ")[1] for each in found_by_axe(page)} >= {"image-alt", "color-contrast", "html-has-lang"}


def test_no_page_has_what_is_serious(url: str, page: Page) -> None:
    assert looked_at(page, [url + path for path in PATHS]) == []
    assert looked_at(page, [url + path for path in UNKNOWN], 404) == []


def test_answers_of_buttons_have_nothing_that_is_serious(url: str, page: Page) -> None:
    found = []
    for path, button in (
        ("/source/src/", "Ask what it offers"),
        ("/failures/", "Retry"),
        ("/alerts/", "Try"),
        (f"/document/?srn={KEY}:b", "Purge …"),
        (f"/document/?srn={KEY}:a", "Take down …"),
        (f"/document/?srn={KEY}:b", "Show it again"),
        ("/", "Accept attempt"),
        (f"/set/{KEY}/", "Harvest now"),
    ):
        page.goto(url + path)
        page.get_by_role("button", name=button).first.click()
        page.wait_for_load_state()
        found += found_by_axe(page)
    assert found == []


def test_pages_of_the_enricher_have_nothing_that_is_serious(access_site: Site, page: Page) -> None:
    """With nothing to show; then with a document, its journal, runs, and what would be if."""
    assert looked_at(page, [access_site.url + path for path in ACCESS]) == []
    entry = json.dumps({"type": "other", "url": LONG})
    access_site.collection.add(
        {"id": "1", "title_ts": [LONG], "issn_ss": ["1"], "fulltext_list_ssf": [entry, LONG], "source_ss": [LONG]},
        {"id": "j", "format": "journal", "source_ss": ["jnl_sfx"], "issn_ss": ["1"], "title_ts": [f"مرحبا {LONG}"]},
    )
    for path, given in (
        ("/cache/update", {}),
        ("/harvest/create", {"mode": "full"}),
        ("/access/what-if/", {"without": "sfx_journal"}),
    ):
        requests.post(access_site.url + path, {"endpoint": "dtu", **given}, timeout=30).raise_for_status()
    page.goto(access_site.url + "/harvest/status")
    expect(page.locator(".state")).to_have_text("complete", timeout=30_000)
    paths = (*ACCESS, "/debug/article?id=1&endpoint=dtu", "/access/runs/1/")
    assert looked_at(page, [access_site.url + path for path in paths]) == []


def test_every_page_is_reached_from_every_other(url: str, page: Page) -> None:
    page.goto(url)
    own = {link.get_attribute("href") for link in page.get_by_role("navigation").get_by_role("link").all()}
    named = (
        "/",
        "/failures/",
        "/sources/",
        "/document/",
        "/takedowns/",
        "/search/",
        "/versions/",
        "/alerts/",
        "/audit/",
    )
    assert own == {*named, *ACCESS, "http://dagster.example:3000"}
    here = {
        "/": "page",
        f"/set/{KEY}/": "true",
        "/source/src/": "true",
        "/sources/": "page",
        "/search/?q=title": "page",
    }
    for path, said in here.items():
        page.goto(url + path)
        assert [each.get_attribute("aria-current") for each in page.locator("nav [aria-current]").all()] == [said], path


PRESSED = """() => [...document.querySelectorAll("main button, main summary")].map((each) => {
  const form = each.closest("form"), fields = form ? [...new FormData(form)].map(String) : [];
  return [each.ariaLabel || each.textContent, each.nodeName + (form?.getAttribute("action") ?? "") + fields];
})"""


def test_whoever_hears_a_button_knows_which_it_is(url: str, page: Page) -> None:
    for path in ("/", f"/set/{KEY}/", "/failures/", "/versions/", f"/document/?srn={KEY}:a"):
        page.goto(url + path)
        told: dict[str, str] = {}
        pressed: list[tuple[str, str]] = page.evaluate(PRESSED)
        assert pressed or path == "/versions/", path
        for name, act in pressed:
            assert told.setdefault(name, act) == act, f"{path}: {name}"


def test_nothing_that_does_harm_is_done_by_one_click(url: str, page: Page) -> None:
    asked = 0
    for path in PATHS:
        page.goto(url + path)
        at_once = page.locator("button.stop:visible").filter(has_not_text="…")  # those lead to a look first
        assert at_once.count() == (path in ASKING), path
        asked += page.locator(".asks button.stop").count()
    assert asked, "there is one that asks back"


def test_what_asks_back_and_what_is_focused_have_nothing_that_is_serious(url: str, page: Page) -> None:
    found = []
    for scheme, size in LOOKS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        page.goto(f"{url}/set/{KEY}/")
        page.locator("summary").first.press("Enter")
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert (
            focused.inner_text().startswith("Dismiss")
            and focused.evaluate("node => getComputedStyle(node).outlineWidth") == "3px"
        )
        found += found_by_axe(page)
    assert found == []


LENGTHENED = """(part) => {
  const body = part.querySelector("tbody"), row = body.firstElementChild;
  for (let place = 0; place < 300; place++) body.append(row.cloneNode(true));
  part.scrollTop = 5_000;
  part.scrollIntoView();
}"""


def test_headings_of_a_long_table_stay_in_sight(url: str, page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 700})
    page.goto(url)
    sets = page.get_by_role("region", name="Sets")
    sets.evaluate(LENGTHENED)
    expect(sets.get_by_role("columnheader", name="verdict")).to_be_in_viewport()
    assert sets.evaluate("part => part.scrollTop") == 5_000
    page.set_viewport_size(PHONE)
    sets.evaluate("part => { part.scrollTop = 0; part.scrollIntoView(); part.scrollLeft = 200; }")
    expect(sets.get_by_role("rowheader").first.get_by_role("link")).to_be_in_viewport()


def test_nothing_moves_for_who_wants_nothing_to_move(url: str, page: Page) -> None:
    for wish, seconds in (("reduce", "0s"), ("no-preference", "0.12s")):
        page.emulate_media(reduced_motion=wish)
        page.goto(f"{url}/set/{KEY}/")
        button = page.get_by_role("button", name="Harvest now")
        assert button.evaluate("node => getComputedStyle(node).transitionDuration.split(',')[0]") == seconds
