"""A set's harvests as plots, in a real browser, and as a table for whoever has no script."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from harvester_dagster.explain import night_report
from harvester_dagster.explain.night_report import Harvest, Usual
from harvester_dagster.web import set_plots
from harvester_dagster.web.operator_pages import OperatorPages
from tests.browser import chromium
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.scripted_source import ScriptedSource
from tests.sets.world import KEY, World
from tests.web.listening import listening

__all__ = ["open_world", "source"]
NIGHT = datetime(2026, 3, 1, 1, tzinfo=UTC)
DRAWN = """canvas => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(pixels.buffer)).size;
}"""


def harvest(number: int, records: int, mode: str = "full", state: str = "accepted") -> Harvest:
    began = NIGHT + timedelta(days=number)
    ended = began + timedelta(seconds=records)
    return Harvest(number, mode, began, ended, state, records, "", None, None, {"new": 1, "unchanged": records - 1})


def test_what_was_usual_is_the_median_of_those_before_in_the_same_mode() -> None:
    oldest_first = [harvest(1, 10), harvest(2, 500, "delta"), harvest(3, 30), harvest(4, 90, state="rejected")]
    oldest_first += [harvest(5, 20), harvest(6, 70), harvest(7, 1, "delta")]
    found = night_report.usual_then(oldest_first[::-1])[::-1]
    assert found == [None] * 5 + [Usual(20, 1, 20, 3), None]


def test_columns_are_oldest_first_and_have_nothing_where_nothing_was_staged() -> None:
    rows = [harvest(2, 7), harvest(1, 0, state="failed")._replace(tally=None, ended_at=None)]
    found = set_plots.columns(rows, [Usual(5, 2, 6, 3), None], "Europe/Amsterdam")
    assert found["at"] == sorted(found["at"]) and found["state"] == ["failed", "accepted"]
    assert found["records"] == {"full": {"number": [None, 7], "usual": [None, 5]}}
    assert found["changes"] == {"full": {"number": [None, 1], "usual": [None, 2]}}
    assert found["kinds"]["new"] == [None, 1]
    assert found["seconds"] == {"full": {"number": [None, 7.0], "usual": [None, 6]}}
    json.dumps(found)


def test_a_delta_among_full_harvests_is_no_dip_of_theirs() -> None:
    rows = [harvest(3, 100), harvest(2, 5, "delta"), harvest(1, 90)]
    found = set_plots.columns(rows, [Usual(95, 1, 9, 3), Usual(4, 1, 1, 3), None], "UTC")
    assert found["modes"] == ["delta", "full"]
    assert found["records"]["full"] == {"number": [90, None, 100], "usual": [None, None, 95]}
    assert found["records"]["delta"] == {"number": [None, 5, None], "usual": [None, 4, None]}


def test_what_is_usual_is_one_number_wherever_it_stands(open_world: OpenWorld, source: ScriptedSource) -> None:
    """Held against the newest harvest it holds nothing of it, on the night's page and on the set's."""
    world = open_world(min_documents=0)
    ids = [f"{number:02}" for number in range(9)]
    for night in range(night_report.LEAST + 4):
        world.source.put(*ids[: 2 + night])
        world.source.put(*ids[:night], title=f"Title {night}")
        world.night(asked=None if night % 3 == 2 else "full")
        with world.installation.pool.connection() as connection:
            newest = night_report.harvests(connection, world.state().set_id, 200)
            found = night_report.usual(connection).get((KEY, newest[0].mode))
        assert found == night_report.usual_then(newest)[0], night
    assert found and found.harvests == night_report.LEAST + 1 and (found.records, found.changes) == (4, 3)


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    world: World = open_world(min_documents=0)
    ids = [f"{number:02}" for number in range(30)]
    for night in range(night_report.LEAST + 2):
        world.source.put(*ids[: 20 + night])
        world.night(asked="full")
    world.source.records["one"].clear()
    world.source.put("00")
    world.night(asked="full")
    return world


@pytest.fixture
def url(world: World) -> Iterator[str]:
    acts: Any = None
    with listening(OperatorPages(world.installation, acts, "http://dagster.example:3000").routes()) as url:
        yield f"{url}/set/{KEY}/"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_plot_is_drawn_and_fits(url: str, page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(url)
    for name in ("Records", "Changes", "What changed", "Seconds"):
        figure = page.locator("figure.plot", has_text=name).first
        expect(figure.locator("canvas")).to_be_visible()
        assert figure.locator("canvas").evaluate(DRAWN) > 3, "lines in colours"
    expect(page.locator(".u-legend").first).to_contain_text("usual")
    expect(page.locator(".u-legend").first).to_contain_text("not accepted")
    page.mouse.move(0, 0)
    expect(page.locator(".u-legend .u-value", has_text="--")).to_have_count(0)
    expect(page.locator(".u-legend").first).to_contain_text("records1usual22")
    page.set_viewport_size({"width": 390, "height": 800})
    expect(page.locator("html")).to_have_js_property("scrollWidth", 390)


def test_modes_are_lines_of_their_own(world: World, url: str, page: Page) -> None:
    world.source.put("31")
    world.night()
    page.goto(url)
    legend = page.locator("figure.plot", has_text="Records").first.locator(".u-legend")
    for label in ("delta", "full", "usual full"):
        expect(
            legend.get_by_role("cell", name=label, exact=True).or_(legend.get_by_text(label, exact=True)).first
        ).to_be_visible()


def test_without_a_script_bars_and_a_table_say_it(url: str) -> None:
    with chromium() as browser:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(url)
        expect(page.locator("svg.bars")).to_be_visible()
        expect(page.get_by_role("region", name="Its last harvests").get_by_role("row")).to_have_count(7)


def test_no_page_has_a_script_or_a_style_of_its_own(url: str) -> None:
    answer = requests.get(url, timeout=30)
    assert "<script>" not in answer.text and "<style" not in answer.text and " style=" not in answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_the_set_leads_to_its_partition_and_its_source(url: str) -> None:
    text = requests.get(url, timeout=30).text
    assert "http://dagster.example:3000/assets/harvest?view=partitions&amp;partition=src%3Aone" in text
    assert 'href="/source/src/"' in text
