"""The pages as a person sees them, in a real browser."""

import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser import chromium
from tests.web.conftest import Site


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        found = browser.new_page()
        problems: list[str] = []
        found.on("pageerror", lambda error: problems.append(str(error)))
        found.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        yield found
        assert problems == []


def test_a_run_from_start_to_log_and_a_decision_explained(site: Site, page: Page) -> None:
    evil = "<img src=x onerror=document.title='hacked'>"
    fields = {"title_ts": [evil], "fulltext_list_ssf": ['{"type": "research"}']}
    site.collection.add(*({"id": f"{n:03}", **fields} for n in range(50)))
    page.goto(site.url + "/cache/update")
    page.get_by_role("button", name="Read the journals now").click()
    expect(page.get_by_role("heading")).to_have_text("Journals of dtu")

    page.goto(site.url + "/harvest/status")
    page.get_by_label("Mode").select_option("partial")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Run 1 of the enricher")
    expect(page.locator(".state").first).to_have_text("complete", timeout=30_000)  # by itself: the page is live
    expect(page.locator("main")).to_contain_text("fulltext_research")

    page.get_by_role("link", name="Log").click()
    expect(page.locator("main")).to_contain_text("complete: 50 documents")

    page.get_by_role("link", name="Debug").click()
    page.get_by_label("Id or cluster id").fill("007")
    page.evaluate(
        "addEventListener('pagehide', () => sessionStorage.said = document.querySelector('.waits')?.textContent)"
    )
    page.get_by_role("button", name="Explain").click()
    expect(page.locator(".rules .answered")).to_contain_text("fulltext_research")
    assert page.evaluate("sessionStorage.said") == "Asking Solr and the DOI resolver …", "an answer may take a while"
    expect(page.locator(".rules .not-reached")).to_have_count(8)
    assert page.title() != "hacked" and evil in page.locator("h2").inner_text()


def test_history_a_run_and_what_would_be_if(site: Site, page: Page) -> None:
    fields = {"fulltext_list_ssf": ['{"type": "research"}']}
    site.collection.add(*({"id": f"{n:03}", **fields} for n in range(150)))
    page.goto(site.url + "/access/runs/")
    page.get_by_role("link", name="start one").click()
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".state").first).to_have_text("complete", timeout=30_000)
    page.get_by_role("link", name="Runs", exact=True).click()
    row = page.get_by_role("region", name="Runs").get_by_role("row").nth(1)
    expect(row).to_contain_text("complete")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Run 1 of the enricher")
    expect(page.get_by_role("region", name="Decided by")).to_contain_text("fulltext_research")

    page.get_by_role("link", name="What if").click()
    page.get_by_label("fulltext_research").check()
    page.get_by_role("button", name="Decide").click()
    expect(page.locator(".state")).to_have_text("complete", timeout=30_000)
    expect(page.get_by_role("status")).to_have_text("150 of 150 documents would change")
    expect(page.locator("main")).to_contain_text("harvester access what-if --without fulltext_research --endpoint dtu")
    page.get_by_role("region", name="Some of them").get_by_role("link").first.click()
    expect(page.locator(".rules .answered")).to_contain_text("fulltext_research")


def test_a_stop_shows_what_came_of_it(site: Site, page: Page) -> None:
    site.collection.add(*({"id": f"{n:03}"} for n in range(300)))
    go_on = threading.Event()
    site.proxy.before = lambda asked: go_on.wait(60) and None if asked.is_update else None
    page.goto(site.url + "/harvest/status")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Run 1 of the enricher")
    page.goto(site.url + "/harvest/status")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".state")).to_have_text(re.compile("stopping|stopped"))
    go_on.set()
    expect(page.locator(".state")).to_have_text("stopped", timeout=30_000)
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
