"""How a run goes that a button has begun: live, by a reload, and what is to be done when it is over."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests
from playwright.sync_api import Page, expect

from harvester_dagster.web.acts import RunSeen, RunState, Said
from harvester_dagster.web.operator_pages import OperatorPages
from harvester_dagster.web.run_pages import RunPages
from tests.browser import chromium
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY
from tests.web.listening import listening
from tests.web.test_operator_pages import EVIL, Here, Site, get, rejected, released

__all__ = ["open_world", "source"]
RUN = "0b8f7f0a-run"


@pytest.fixture
def site(open_world: OpenWorld) -> Iterator[Site]:
    world = open_world(min_documents=0)
    acts = Here(world)
    routes = OperatorPages(world.installation, acts, "http://dagster.example:3000").routes()
    with listening(routes, world.installation.config.web) as url:
        yield Site(url, world, acts)


def goes(site: Site, act: str, subject: str, state: RunState, *said: str, reason: str = "") -> None:
    """What Dagster would say of the run now."""
    lines = [Said(site.world.now + timedelta(seconds=number), text) for number, text in enumerate(said)]
    site.acts.runs[RUN] = RunSeen(RUN, act, subject, state, lines, reason)


def test_a_harvest_is_followed_to_its_end_without_a_reload(site: Site, page: Page) -> None:
    goes(site, "harvest", KEY, "waits")
    page.goto(f"{site.url}/run/{RUN}/")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Harvest {KEY}")
    page.evaluate("window.stays = true")
    progress = page.get_by_role("status")
    expect(progress).to_have_text("waits")
    goes(site, "harvest", KEY, "goes on", f"{KEY}: 3 pages {EVIL}")
    expect(progress).to_have_text("goes on", timeout=10_000)
    expect(page.locator("[data-said] li")).to_contain_text("2026-03-01 02:30:00")
    expect(page.locator("[data-said] li")).to_contain_text(f"{KEY}: 3 pages {EVIL}")
    site.world.source.put("a")
    site.world.night()
    goes(site, "harvest", KEY, "done", "one", "two")
    expect(progress).to_have_text("done", timeout=10_000)
    expect(page.get_by_role("button", name="Release")).to_be_visible()
    expect(page.locator("[data-came]")).to_contain_text(f"{KEY}: accepted")
    assert page.evaluate("window.stays") is True and page.title() == f"done: Harvest {KEY} · harvester"
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Release")
    assert site.world.one("SELECT version_id FROM current_version") == 1


def test_without_a_script_a_reload_shows_it(site: Site) -> None:
    goes(site, "harvest", KEY, "goes on", "asks its source")
    with chromium() as browser:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(f"{site.url}/run/{RUN}/")
        expect(page.locator("main")).to_contain_text("asks its source")
        rejected(site.world)
        goes(site, "harvest", KEY, "done")
        page.get_by_role("link", name="Look again").click()
        expect(page.get_by_role("link", name="See what attempt 2 would change")).to_be_visible()
        expect(page.get_by_role("link", name="Look again")).to_have_count(0)


def test_what_came_of_it_and_what_is_next(site: Site) -> None:
    site.world.source.put("a")
    site.world.night()
    released(site.world)

    def text(act: str, subject: str, state: RunState, reason: str = "") -> str:
        goes(site, act, subject, state, reason=reason)
        return get(site, f"/run/{RUN}/").text

    assert "Harvest again" in text("harvest", KEY, "failed", "the disk is full")
    assert "the disk is full" in text("harvest", KEY, "failed", "the disk is full")
    assert "Somebody has ended it" in text("harvest", KEY, "stopped")
    done = text("harvest", KEY, "done")
    assert "Harvest again" not in done and "<button>Release" not in done, "nothing is left to do"
    assert "Current: " in text("release", "", "done") and "Release again" in text("release", "", "failed", "no index")
    assert "What failed" in text("retry", "check_url", "done")
    assert text("rollback", "1", "done").count("<button>") == 0, "nothing is held"
    assert "mend" in text("mend", "", "done"), "a run that no page begins"
    assert text("accept", "src:gone", "done")


def test_the_stream_has_an_event_for_each_change_and_ends(site: Site) -> None:
    goes(site, "release", "", "goes on", "indexed")
    with requests.get(f"{site.url}/run/{RUN}/events", stream=True, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines(decode_unicode=True)
        assert next(lines) == "event: progress"
        assert json.loads(next(lines).removeprefix("data: ")) == {
            "state": "goes on", "over": False, "said": [["2026-03-01 02:30:00", "indexed"]]
        }  # fmt: skip
        goes(site, "release", "", "done")
        rest = [line for line in lines if line]
    assert rest == ["event: progress", 'data: {"state":"done","over":true,"said":[]}']


def test_a_run_that_there_is_none_of_is_said(site: Site) -> None:
    for path in (f"/run/{RUN}/", f"/run/{RUN}/events", "/run/%3Cimg%3E/"):
        assert get(site, path).status_code == 404, path
    assert "<img>" not in get(site, "/run/%3Cimg%3E/").text


def test_so_many_pages_listen_and_no_more(open_world: OpenWorld) -> None:
    world = open_world()
    site_acts = Here(world)
    routes = RunPages(world.installation, site_acts, "", most_listeners=1).routes()
    with listening(routes, world.installation.config.web) as url:
        site = Site(url, world, site_acts)
        goes(site, "harvest", KEY, "goes on")
        with requests.get(f"{url}/run/{RUN}/events", stream=True, timeout=30) as first:
            lines = first.iter_lines()  # as long as somebody reads them
            assert next(lines) == b"event: progress"
            second = requests.get(f"{url}/run/{RUN}/events", timeout=30)
            assert second.status_code == 429 and "reload" in second.text
        goes(site, "harvest", KEY, "done")
