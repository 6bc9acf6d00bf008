"""Every page in a real browser, in light on a desk and in dark on a telephone: axe-core finds nothing that is serious,
and nothing is wider than the screen."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize

from harvester_dagster.releases import alerts
from harvester_dagster.web.acts import RunSeen, Said
from harvester_dagster.web.alert_page import AlertPage
from harvester_dagster.web.document_pages import DocumentPages
from harvester_dagster.web.failure_pages import FailurePages
from harvester_dagster.web.operator_pages import OperatorPages
from harvester_dagster.web.search_page import SearchPage
from harvester_dagster.web.source_pages import SourcePages
from tests.sets.conftest import OpenWorld, indexed, open_world, source
from tests.sets.world import KEY, World
from tests.web.conftest import Site
from tests.web.conftest import site as access_site
from tests.web.listening import PHONE, listening, opened_page
from tests.web.test_operator_pages import Here, failing, rejected

__all__ = ["access_site", "indexed", "open_world", "source"]
LOOKS: tuple[tuple[Literal["light", "dark"], ViewportSize], ...] = (
    ("light", {"width": 1280, "height": 900}),
    ("dark", PHONE),
)
LONG = "x" * 5_000
PATHS = (
    *("/", f"/set/{KEY}/", "/set/src:two/", f"/document/?srn={KEY}:00", f"/document/?srn={KEY}:a", "/versions/"),
    *("/failures/", "/audit/", "/sources/", "/source/src/", "/search/", "/search/?q=title&why=src:one:00"),
    *("/search/?q=ofx", f"/search/?q={LONG[:400]}", "/alerts/", "/run/run/"),
)
UNKNOWN = ("/document/?srn=nowhere", "/source/nowhere/", "/nowhere")
ACCESS = ("/harvest/status", "/harvest/log", "/debug/article", "/cache/update")


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
def page() -> Iterator[Page]:
    with opened_page() as found:
        yield found


@pytest.fixture
def url(open_world: OpenWorld, indexed: dict[str, Any]) -> Iterator[str]:
    world = peopled(open_world, indexed)
    with listening(routes(world)) as url:
        yield url


def peopled(open_world: OpenWorld, indexed: dict[str, Any]) -> World:
    """A world with something on every page: a rejected set, problems, failures, an index, what was told, long text."""
    email = {"host": "127.0.0.1", "port": 9, "security": "none", "sender": "h@example.org", "to": ["o@example.org"]}
    world: World = open_world(min_documents=0, installed={**indexed, "alerts": {"email": email}})
    failing(world)
    world.source.put("99", title=f"مرحبا <b>bold</b> {LONG}")
    world.source.spoil("98")
    rejected(world)
    with world.installation.pool.connection() as connection:
        connection.execute("UPDATE problem SET reason = reason || %s", (LONG,))
    alerts.tell(world.installation, [alerts.Alert("a", f"{KEY}: failed {LONG}", "look at it", key=KEY)])
    return world


def routes(world: World) -> list[Any]:
    dagster, acts = "http://dagster.example:3000", Here(world)
    acts.runs["run"] = RunSeen("run", "harvest", KEY, "failed", [Said(world.now, LONG)], f"<b>why</b> {LONG}")
    return [
        *OperatorPages(world.installation, acts, dagster).routes(),
        *DocumentPages(world.installation, dagster).routes(),
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
        ("/", "Accept attempt"),
        (f"/set/{KEY}/", "Harvest now"),
    ):
        page.goto(url + path)
        page.get_by_role("button", name=button).first.click()
        page.wait_for_load_state()
        found += found_by_axe(page)
    assert found == []


def test_pages_of_the_enricher_have_nothing_that_is_serious(access_site: Site, page: Page) -> None:
    access_site.collection.add({"id": "1", "title_ts": [LONG]})
    assert looked_at(page, [access_site.url + path for path in ACCESS]) == []


def test_every_page_is_reached_from_every_other(url: str, page: Page) -> None:
    page.goto(url)
    own = {link.get_attribute("href") for link in page.get_by_role("navigation").get_by_role("link").all()}
    named = ("/", "/failures/", "/sources/", "/document/", "/search/", "/versions/", "/alerts/", "/audit/")
    assert own == {*named, *ACCESS, "http://dagster.example:3000"}
    assert page.locator("nav a[aria-current=page]").count() == 1
