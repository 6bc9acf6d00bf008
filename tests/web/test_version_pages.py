"""The pages of versions, in a real browser: what going back would do is seen, pressed, and then so; what was
published when; a hold, and its end."""

from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

import pytest
import requests
from playwright.sync_api import Page, expect

from harvester_dagster.sets import versions
from harvester_dagster.web.operator_pages import OperatorPages
from harvester_dagster.web.version_pages import VersionPages
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, World
from tests.web.listening import listening
from tests.web.test_operator_pages import EVIL, Here, audited, released

__all__ = ["open_world", "source"]


class Site(NamedTuple):
    url: str
    world: World

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=30)

    def post(self, path: str, **form: str) -> int:
        return requests.post(self.url + path, data=form, allow_redirects=False, timeout=30).status_code

    @property
    def current(self) -> int:
        found: int = self.world.one("SELECT version_id FROM current_version")
        return found


@pytest.fixture
def site(open_world: OpenWorld) -> Iterator[Site]:
    world = open_world(min_documents=0)
    acts, dagster = Here(world), "http://dagster.example:3000"
    routes = [
        *VersionPages(world.installation, dagster).routes(),
        *OperatorPages(world.installation, acts, dagster).routes(),
    ]
    with listening(routes, world.installation.config.web) as url:
        yield Site(url, world)


def two_versions(world: World) -> None:
    """The second has b as well, another title of a, and no c."""
    world.source.put("a", "c", title=f"As it was {EVIL}")
    world.night()
    released(world)
    world.source.put("a", "b", title="As it is")
    world.source.delete("c")
    world.night()
    released(world)


def test_one_goes_back_after_seeing_what_that_would_do(site: Site, page: Page) -> None:
    two_versions(site.world)
    page.goto(f"{site.url}/versions/")
    page.get_by_role("link", name="see what going back to 1 would do").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Back to version 1?")
    counts = page.get_by_role("region", name="What consumers would see")
    expect(counts.get_by_role("row").filter(has_text="products")).to_contain_text("111")
    samples = page.get_by_role("region", name="Some of them")
    came, changed = (
        samples.get_by_role("row").filter(has=page.get_by_role("link", name=f"{KEY}:{name}", exact=True))
        for name in "ca"
    )
    expect(came).to_contain_text("added")
    expect(changed).to_contain_text("title: As it is → As it was")
    expect(page.locator("main")).to_contain_text("harvester versions rollback 1 --dry-run")
    assert site.current == 2 and audited(site.world) == [], "looking does nothing"

    page.get_by_role("button", name="Roll back to version 1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Going back to version 1")
    expect(page.locator("main")).to_contain_text("Automatic releases are held: rolled back to version 1.")
    assert site.current == 1
    page.get_by_role("link", name="Versions").click()
    expect(page.get_by_role("heading", name="Automatic releases are held")).to_be_visible()
    expect(page.get_by_role("rowheader", name="1, current")).to_be_visible()
    log = page.get_by_role("region", name="Log")
    expect(log.get_by_role("row").nth(1)).to_contain_text("gone back from version 2, by local")
    expect(log.get_by_role("row").nth(2)).to_contain_text("promoted")
    assert page.title() != "hacked"
    assert ("rollback", "local", "asked for") in [
        (row["act"], row["actor"], row["outcome"]) for row in audited(site.world)
    ]


def test_what_is_accepted_stands_beside_what_is_published_until_it_is_released(site: Site, page: Page) -> None:
    two_versions(site.world)
    assert "Nothing: consumers see what the sets have accepted" in site.get("/versions/next/").text
    site.world.source.put("d")
    site.world.night()
    page.goto(site.url)
    waiting = page.get_by_role("region", name="Accepted, and not published yet")
    expect(waiting).to_contain_text(f"{KEY}: 3 products, 3 files of generation 3, in the place of 2 products, 2 files")
    waiting.get_by_role("link", name="see what a release would publish").click()
    counts = page.get_by_role("region", name="What consumers would see")
    expect(counts.get_by_role("row").filter(has_text="products")).to_contain_text("100")
    page.get_by_role("button", name="Release", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Release")
    page.goto(site.url)
    expect(page.get_by_role("heading", name="Accepted, and not published yet")).to_have_count(0)


def test_what_was_gone_back_from_is_not_told_as_published(site: Site) -> None:
    two_versions(site.world)
    assert site.post("/versions/1/rollback", instead_of="2") == 303
    for path in ("/", f"/set/{KEY}/"):
        text = " ".join(site.get(path).text.split())
        assert "2 products, 2 files of generation 2, in the place of 2 products, 2 files" in text, path
    text = " ".join(site.get("/versions/next/").text.split())
    assert '<th scope="row">products</th><td class="number">1</td><td class="number">1</td>' in text
    assert "A release by hand ends the hold" in text
    assert "is current" in site.get("/versions/1/rollback/").text


def test_what_is_not_what_was_looked_at_is_not_done(site: Site) -> None:
    two_versions(site.world)
    site.world.source.put("d")
    site.world.night()
    released(site.world)
    for instead_of in ("2", "", "x", "9" * 30):
        assert site.post("/versions/1/rollback", instead_of=instead_of) == 409, instead_of
    assert site.current == 3
    assert [row["outcome"] for row in audited(site.world)] == ["refused"] * 4
    assert site.post("/versions/1/rollback", instead_of="3") == 303
    assert site.current == 1
    for path in ("9", "9" * 18, "9" * 40, "9" * 5_000, "x"):
        assert site.get(f"/versions/{path}/rollback/").status_code == 404, path
    for path in (f"/versions/{'9' * 5_000}/rollback", f"/night/{'9' * 5_000}/stop"):
        assert site.post(path, instead_of="3") == 404
    assert "holds the same documents" not in site.get("/versions/2/rollback/").text


def test_where_there_is_nothing_to_go_back_to_the_page_says_why(site: Site) -> None:
    two_versions(site.world)
    site.world.source.put("d")
    site.world.night()
    with site.world.installation.pool.connection() as connection:
        assert versions.current(connection)
    prepared = versions.prepare(site.world.installation)
    assert prepared
    text = site.get(f"/versions/{prepared.version_id}/rollback/").text
    assert "has never been current" in text and "<button" not in text


def test_where_pushes_flow_one_is_told_to_hold_first(site: Site, page: Page) -> None:
    two_versions(site.world)
    assert "Hold releases first" not in site.get("/versions/1/rollback/").text
    site.world.change("UPDATE dataset_version SET pushed = true WHERE version_id = 2")
    page.goto(f"{site.url}/versions/1/rollback/")
    first = page.get_by_role("region", name="Hold releases first")
    expect(first).to_contain_text("Pushes or overwrites have made 1 version within the last hour")
    first.get_by_role("button", name="Hold releases").click()
    hand = page.get_by_role("region", name="Automatic releases are held")
    expect(hand).to_contain_text("held by local: going back to version 1")
    page.get_by_role("link", name="see what going back to 1 would do").click()
    expect(page.get_by_role("button", name="Roll back to version 1")).to_be_visible()
    expect(first).to_have_count(0)
    site.world.change("DELETE FROM release_hold")
    site.world.forward(timedelta(hours=2))
    assert "Hold releases first" not in site.get("/versions/1/rollback/").text


def test_what_differs_is_read_a_page_at_a_time(site: Site, page: Page) -> None:
    site.world.source.put("a")
    site.world.night()
    released(site.world)
    site.world.source.put(*(f"{number:03}" for number in range(70)), files=())
    site.world.night()
    released(site.world)
    page.goto(f"{site.url}/versions/")
    page.get_by_role("button", name="What differs").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("From version 1 to 2")
    first = page.locator("tbody th").all_inner_texts()
    page.get_by_role("link", name="More").click()
    expect(page.locator("tbody th")).to_have_count(20)
    assert len({*first, *page.locator("tbody th").all_inner_texts()}) == 70
    expect(page.get_by_role("link", name="More")).to_have_count(0)
    page.get_by_role("link", name="To the beginning").click()
    expect(page.locator("tbody th")).to_have_count(50)
    for odd in ("?old=1", "?old=x&new=2", "?old=1&new=-1"):
        assert site.get(f"/versions/difference/{odd}").status_code == 400, odd
    for odd in ("?old=1&new=9", f"?old=1&new={'9' * 18}"):
        assert site.get(f"/versions/difference/{odd}").status_code == 404, odd
    for place in ("x", "1~to_gen~9~9", "1~takedowns~0~0", f"{'9' * 40}~from_gen~1~1", "1~from_gen~1~" + "9" * 18):
        assert site.get(f"/versions/difference/?old=1&new=2&place={place}").status_code == 200, place


def test_versions_are_read_a_page_at_a_time_and_those_of_pushes_are_counted(site: Site) -> None:
    two_versions(site.world)
    site.world.change(
        """INSERT INTO dataset_version (version_id, prepared_at, promoted_at, code_version, pushed)
           OVERRIDING SYSTEM VALUE
           SELECT n, now(), now(), '', n %% 100 > 0 FROM generate_series(3, %s) n""",
        6_000,
    )
    text = site.get("/versions/").text
    assert text.count('<th scope="row" class="number">') == 50 + 2, "and two rows of the log"
    assert "99 versions that pushes or overwrites have made since" in text
    assert '<input name="old" inputmode="numeric" pattern="[0-9]{1,18}" size="8" required value="5900">' in text
    assert "version=1100" in text
    rest = site.get("/versions/?version=1100").text
    assert rest.count('<th scope="row" class="number">') == 12 + 2 and "Earlier versions" not in rest
    assert "2, current" in rest and "97 versions that pushes or overwrites have made since" in rest
    assert "/versions/difference/?old=1&amp;new=2" in rest
    assert "There are none before that" in site.get("/versions/?version=1").text
    site.world.change("UPDATE current_version SET version_id = 5950")
    text = site.get("/versions/").text
    assert "5950, current" in text and text.count("49 versions that pushes or overwrites have made since") == 2


def test_what_takes_too_long_to_compare_is_told_so(site: Site, page: Page) -> None:
    two_versions(site.world)
    with site.world.installation.reading.connection() as connection:
        connection.execute("SET statement_timeout = '300ms'")  # the only connection of that pool
    with site.world.installation.pool.connection() as connection:
        connection.execute("LOCK TABLE output IN ACCESS EXCLUSIVE MODE")
        page.goto(f"{site.url}/versions/1/rollback/")
        expect(page.locator("main")).to_contain_text("More differs than could be counted")
        difference = site.get("/versions/difference/?old=1&new=2")
    assert difference.status_code == 503 and "takes longer than a page may" in difference.text
    assert "harvester versions diff 1 2" in difference.text
    page.get_by_role("button", name="Roll back to version 1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Going back to version 1")
    assert site.current == 1


def test_releases_are_held_and_go_on(site: Site, page: Page) -> None:
    two_versions(site.world)
    page.goto(f"{site.url}/versions/")
    page.get_by_label("Why").fill(EVIL)
    page.get_by_role("button", name="Hold releases").click()
    hand = page.get_by_role("region", name="Automatic releases are held")
    expect(hand).to_contain_text("held by local: <img src=x")
    expect(hand).to_contain_text("harvester versions end-hold")
    with site.world.installation.pool.connection() as connection:
        seen = versions.holding(connection)
    assert seen and site.post("/hold/end", since="2020-01-01T00:00:00+00:00") == 409, "that one is over"
    for odd in ("", "x", "2020-01-01"):
        assert site.post("/hold/end", since=odd) == 400
    hand.get_by_role("button", name="End the hold").click()
    expect(hand).to_have_count(0)
    assert site.post("/hold/end", since=seen.since.isoformat()) == 409
    acts = [(row["act"], row["outcome"]) for row in audited(site.world)]
    assert acts == [("hold", "done"), ("end hold", "refused"), ("end hold", "done"), ("end hold", "refused")]
    assert page.title() != "hacked"


def test_the_log_is_read_a_page_at_a_time(site: Site) -> None:
    assert "first release makes it" in site.get("/versions/").text
    two_versions(site.world)
    site.world.change(
        """INSERT INTO publication (seq, set_id, at, version_id, from_gen, to_gen)
           SELECT n, set_id, now() + n * interval '1 second', 2, 1, 2 FROM generate_series(3, 60) n,
                  harvest_set WHERE key = %s""",
        KEY,
    )
    first = site.get("/versions/").text
    assert first.count("promoted: 1 set moved") == 50 and "before=11#log" in first
    rest = site.get("/versions/?before=11").text
    assert rest.count("promoted: 1 set moved") == 10 and "before=" not in rest
    assert "There are none before that" in site.get("/versions/?before=1").text
    for odd in ("x", "-1", "9" * 40):
        assert site.get(f"/versions/?before={odd}").status_code == 200


def test_a_page_of_another_origin_cannot_press(site: Site) -> None:
    headers = {"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    for path in ("/versions/1/rollback", "/hold", "/hold/end"):
        assert requests.post(site.url + path, headers=headers, timeout=30).status_code == 403
    assert audited(site.world) == []
