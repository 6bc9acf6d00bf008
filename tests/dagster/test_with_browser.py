"""What an operator does and sees in the Dagster UI, in a real browser; after the nights under the daemon."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser import chromium
from tests.dagster.installed import KEYS, Up, eventually

PATIENCE = 120_000
pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(1500)]


@pytest.fixture
def page(up: Up) -> Iterator[Page]:
    with chromium() as browser:
        opened = browser.new_page(base_url=up.url, viewport={"width": 1500, "height": 1000})
        opened.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield opened


def test_a_backfill_of_two_sets_started_in_the_ui_is_released(up: Up, page: Page) -> None:
    before = up.generations()
    up.source.fill("one", 100, 101)
    up.source.fill("two", 100, 101)
    page.goto("/locations/harvester_dagster.definitions/jobs/harvest_set")
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("All", exact=True).click()
    expect(dialog.get_by_text("2 partitions").first).to_be_visible()
    dialog.get_by_role("button", name="Launch backfill").click()
    after = {key: before[key] + 1 for key in KEYS}
    eventually(lambda: up.generations() == after, "the backfill's release", lambda: str(up.generations()))
    runs = [run for run in up.instance.get_runs() if "dagster/backfill" in run.tags]
    assert {run.tags["dagster/partition"]: run.status.value for run in runs} == dict.fromkeys(KEYS, "SUCCESS")


def test_a_rejected_set_is_red_and_the_release_went_on(up: Up, page: Page) -> None:
    before = up.generations()
    up.source.forget(*list(up.source.records["two"])[:8], spec="two")
    up.source.fill("one", 101, 102)
    night = up.night()
    up.wait_for_night(night)
    assert up.generations() == {"src:one": before["src:one"] + 1, "src:two": before["src:two"]}
    page.goto("/assets/products/set?view=partitions&partition=src%3Atwo")
    expect(page.get_by_text(re.compile("fewer, at most"))).to_be_visible()
    page.goto("/assets/set_current_dataset_version?view=checks&checkDetail=all_sets_fresh")
    expect(page.get_by_text("1 of 2 sets are not fresh")).to_be_visible()
    states = page.goto("/assets/products/set?view=checks&checkDetail=check_set_integrity")
    assert states is not None
    page.get_by_text("Execution history").click()
    expect(page.get_by_text("Failed").first).to_be_visible()
