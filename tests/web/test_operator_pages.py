"""The pages of the morning over a real store, in a real browser: what needs a hand is seen, pressed, and then so."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import requests
from playwright.sync_api import Page, expect

from harvester_dagster.explain import night_report
from harvester_dagster.publication import audit
from harvester_dagster.releases import nights, release
from harvester_dagster.sets import steps, versions
from harvester_dagster.web.launching import NotStarted
from harvester_dagster.web.operator_pages import OperatorPages
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, World
from tests.web.listening import listening, opened_page

__all__ = ["open_world", "source"]

EVIL = "<img src=x onerror=document.title='hacked'>‮"


class Here:
    """Does in this process what Dagster's runs do elsewhere."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.away = False

    def harvest(self, key: str) -> str:
        if self.away:
            raise NotStarted("Dagster is away")
        self._world.night(key)
        return "run-of-a-harvest"

    def accept(self, key: str, attempt: int) -> str:
        steps.accept(self._world.installation, key, attempt_id=attempt)
        return "run-of-an-acceptance"

    def release(self) -> str:
        released(self._world)
        return "run-of-a-release"

    def roll_back(self, version: int) -> str:
        with self._world.installation.pool.connection() as connection:
            earlier = versions.by_id(connection, version)
        release.roll_back(self._world.installation, earlier)
        return "run-of-a-rollback"


class Site(NamedTuple):
    url: str
    world: World
    acts: Here


def released(world: World) -> None:
    version = release.prepare(world.installation)
    assert version is not None
    release.publish(world.installation, version)


@pytest.fixture
def site(open_world: OpenWorld) -> Iterator[Site]:
    world = open_world(min_documents=0)
    acts = Here(world)
    routes = OperatorPages(world.installation, acts, "http://dagster.example:3000").routes()
    with listening(routes) as url:
        yield Site(url, world, acts)


@pytest.fixture
def page() -> Iterator[Page]:
    with opened_page() as found:
        yield found


def rejected(world: World) -> None:
    """A set of twelve, published; then a harvest of one."""
    world.source.put(*(f"{number:02}" for number in range(12)))
    world.night()
    released(world)
    world.source.records["one"].clear()
    world.source.put("00")
    world.night(asked="full")


def get(site: Site, path: str, **query: str) -> requests.Response:
    return requests.get(site.url + path, params=query, timeout=30)


def test_before_the_first_night_pages_say_what_to_do(site: Site) -> None:
    assert "first night makes it" in get(site, "/").text
    assert "first release makes it" in get(site, "/versions/").text
    assert "Nobody has done anything yet" in get(site, "/audit/").text
    assert get(site, "/document/").status_code == 200


def test_a_rejected_set_is_seen_looked_at_accepted_and_published(site: Site, page: Page) -> None:
    rejected(site.world)
    page.goto(site.url)
    hand = page.get_by_role("region", name="Needs a hand")
    expect(hand).to_contain_text("12")
    hand.get_by_role("link", name="See what attempt").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(KEY)
    page.get_by_role("button", name="Accept attempt").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Begun: accept {KEY}")
    expect(page.get_by_role("link", name="run run-of-a")).to_have_attribute(
        "href", "http://dagster.example:3000/runs/run-of-an-acceptance"
    )
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Begun: release")
    page.get_by_role("link", name="The night").click()
    expect(hand.get_by_role("heading", name=KEY)).to_have_count(0)
    assert [one for one, body in site.world.outputs().items() if body["entity"] == "products"] == ["00"]


def test_a_candidate_is_dismissed_at_once(site: Site, page: Page) -> None:
    rejected(site.world)
    page.goto(f"{site.url}/set/{KEY}/")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("button", name="Dismiss")).to_have_count(0)
    assert site.world.one("SELECT count(*) FROM attempt WHERE state = 'dismissed'") == 1
    again = requests.post(f"{site.url}/set/{KEY}/dismiss", timeout=30)
    assert again.status_code == 409
    acts = [(row["act"], row["outcome"]) for row in audited(site.world)]
    assert acts[-2:] == [("dismiss", "done"), ("dismiss", "refused")]


def test_a_version_is_gone_back_to(site: Site, page: Page) -> None:
    site.world.source.put("a")
    site.world.night()
    released(site.world)
    site.world.source.put("b")
    site.world.night()
    released(site.world)
    page.goto(f"{site.url}/versions/")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Begun: rollback 1")
    assert site.world.one("SELECT version_id FROM current_version") == 1
    page.get_by_role("link", name="Versions").click()
    expect(page.locator("main")).to_contain_text("Automatic releases are held")


def test_what_cannot_be_begun_is_said_and_written_down(site: Site) -> None:
    site.acts.away = True
    answer = requests.post(f"{site.url}/set/{KEY}/harvest", timeout=30)
    assert answer.status_code == 502 and "Dagster is away" in answer.text
    assert [(row["act"], row["outcome"]) for row in audited(site.world)] == [("harvest", "refused")]
    assert requests.post(f"{site.url}/set/nowhere:none/harvest", timeout=30).status_code == 404
    for attempt in ("", "-1", "9" * 30, "١٢"):
        given = {"attempt": attempt}
        assert requests.post(f"{site.url}/set/{KEY}/accept", data=given, timeout=30).status_code == 400, attempt


def test_a_page_of_another_origin_cannot_press(site: Site) -> None:
    headers = {"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    for path in ("/release", f"/set/{KEY}/harvest", "/versions/1/rollback"):
        assert requests.post(site.url + path, headers=headers, timeout=30).status_code == 403
    assert audited(site.world) == []


def test_text_from_outside_is_text(site: Site, page: Page) -> None:
    site.world.source.put("1", title=EVIL)
    site.world.night()
    released(site.world)
    page.goto(f"{site.url}/document/?srn={KEY}:1")
    expect(page.get_by_role("rowheader", name="set harvested")).to_be_visible()
    page.get_by_label("SRN").fill(EVIL)
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("alert")).to_contain_text("no source has sent")
    assert page.title() != "hacked"
    assert get(site, "/document/", srn="x" * 100_000).status_code in {404, 431, 400}
    assert get(site, "/document/", srn="a\0b").status_code == 404


def test_what_is_far_off_the_usual_is_marked_with_both_numbers(site: Site) -> None:
    ids = [f"{number:03}" for number in range(100)]
    site.world.source.put(*ids)
    for _ in range(night_report.LEAST):
        site.world.night(asked="full")
    for one in ids[40:]:
        site.world.source.records["one"].pop(one)
    site.world.night(asked="full")
    assert "40 records, usually 100" in get(site, "/").text
    assert "40 records, usually 100" in get(site, f"/set/{KEY}/").text


@pytest.mark.parametrize(
    ("is_now", "usually", "said"),
    [
        (40, 100, "40 records, usually 100"),
        (50, 100, ""),
        (200, 100, ""),
        (201, 100, "201 records, usually 100"),
        (0, 19, ""),
        (0, 20, "0 records, usually 20"),
    ],
)
def test_far_off_is_more_than_twice_or_less_than_half(is_now: float, usually: float, said: str) -> None:
    assert night_report.mark("records", is_now, usually, least=20) == said


def test_a_running_night_and_those_before_it(site: Site) -> None:
    installation = site.world.installation
    site.world.source.put("a")
    with installation.pool.connection() as connection:
        night = nights.open_night(connection, installation.config, site.world.now)
    text = get(site, "/").text
    assert f"Night {night.night_id} goes on" in text and "waits for Dagster to start its run" in text
    steps.harvest(installation, KEY, night_id=night.night_id)
    assert "is extracted and compared" in get(site, "/").text
    with installation.pool.connection() as connection:
        (summary,) = night_report.nights(connection, 5)
    assert (summary.night_id, summary.sets, summary.accepted, summary.failed) == (night.night_id, 2, 0, 0)


def audited(world: World) -> list[dict[str, object]]:
    with world.installation.pool.connection() as connection:
        return [row._asdict() for row in reversed(audit.rows(connection))]
