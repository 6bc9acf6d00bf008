"""The buttons of the night's page: pressed in a real browser over a real store, and then so, as consumers see it."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect
from starlette.routing import Mount

from harvester_dagster.publication import audit
from harvester_dagster.releases import nights, release
from harvester_dagster.sets import steps, versions
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.web.api.consumer_api import PATH, consumer_api
from harvester_dagster.web.operator_pages import OperatorPages
from harvester_dagster.web.version_pages import VersionPages
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.test_tasks import statements
from tests.sets.world import KEY
from tests.web.listening import listening
from tests.web.test_operator_pages import EVIL, Here, Site, asked_back, audited, get, rejected, released

__all__ = ["open_world", "source"]
DAGSTER = "http://dagster.example:3000"


@pytest.fixture
def site(open_world: OpenWorld) -> Iterator[Site]:
    world = open_world(min_documents=0, max_shrink=0.2)
    acts = Here(world)
    pages = OperatorPages(world.installation, acts, DAGSTER).routes()
    pages += VersionPages(world.installation, DAGSTER).routes()
    with listening([*pages, Mount(PATH, consumer_api(world.installation))], world.installation.config.web) as url:
        yield Site(url, world, acts)


def products(site: Site) -> list[str]:
    """What consumers are shown, by HTTP."""
    found = requests.get(f"{site.url}{PATH}/product/", timeout=30)
    assert found.status_code == 200, found.text
    return sorted(each["srn"].removeprefix(f"{KEY}:") for each in found.json()["results"])


def press(site: Site, path: str, **form: str) -> requests.Response:
    return requests.post(site.url + path, data=form, timeout=30, allow_redirects=False)


def test_a_rejected_set_is_accepted_from_the_night_and_then_seen_in_the_api(site: Site, page: Page) -> None:
    rejected(site.world)
    assert len(products(site)) == 12
    page.goto(site.url)
    hand = page.get_by_role("region", name="Needs a hand")
    hand.get_by_role("button", name="Accept attempt 2").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(KEY)
    assert len(products(site)) == 12, "it is not released yet"
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Release")
    assert products(site) == ["00"]


def test_a_candidate_that_was_pushed_aside_is_staged_again_looked_at_and_accepted(site: Site, page: Page) -> None:
    rejected(site.world)
    site.world.overwrite("01", {"title": "By hand"})
    site.world.day_work()
    page.goto(f"{site.url}/set/{KEY}/#waits")
    waits = page.get_by_role("region", name="Attempt 2 waits")
    expect(waits.get_by_role("button", name="Accept")).to_have_count(0)
    expect(waits).to_contain_text(f"harvester accept {KEY} --dry-run")
    waits.get_by_role("button", name="Stage it again to look at it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Staging the candidate of {KEY}")
    page.get_by_role("link", name="See what attempt 2 would change").click()
    expect(waits).to_contain_text("It proposes 1 products after 12")
    waits.get_by_role("button", name="Accept attempt 2").click()
    expect(page.get_by_role("region", name="Accepted, and not published yet")).to_be_visible()
    assert list(site.world.titles()) == ["00"]


def test_what_was_not_shown_is_not_accepted(site: Site, page: Page) -> None:
    rejected(site.world)
    page.goto(f"{site.url}/set/{KEY}/")
    site.world.overwrite("05", {"language": 7})  # one product less is shown
    site.world.day_work()
    page.get_by_role("button", name="Accept attempt 2").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Accepting the candidate of {KEY}")
    expect(page.get_by_role("alert")).to_contain_text("attempt 2 has moved since it was looked at: it is 1 products")
    assert len(site.world.titles()) == 11
    page.get_by_role("link", name="See what attempt 2 would change").click()
    page.get_by_role("button", name="Accept attempt 2").click()
    expect(page.get_by_role("region", name="Accepted, and not published yet")).to_be_visible()
    acts = [(row["actor"], row["act"], row["outcome"]) for row in audited(site.world) if row["act"] == "accept"]
    assert acts == [("dagster", "accept", "refused"), ("local", "accept", "asked for"), ("local", "accept", "done")]


def test_a_tab_of_yesterday_dismisses_nothing_of_tonight(site: Site, page: Page) -> None:
    rejected(site.world)
    page.goto(site.url)
    site.world.night(asked="full")
    asked_back(page, "Dismiss attempt 2")
    expect(page.locator("main")).to_contain_text("attempt 2 is not the candidate that waits; attempt 3 is")
    assert site.world.attempts()[-1] == ("full", "rejected")
    assert press(site, f"/set/{KEY}/dismiss", attempt="3").headers["location"] == f"/set/{KEY}/"
    assert site.world.attempts()[-1] == ("full", "dismissed")


def test_no_number_is_not_whichever_waits(site: Site) -> None:
    rejected(site.world)
    for act in ("dismiss", "accept"):
        answer = press(site, f"/set/{KEY}/{act}", attempt="0", seen="")
        assert answer.status_code == 409 and "attempt 0 is not the candidate that waits" in answer.text
    assert site.world.attempts()[-1][1] == "rejected"


def test_nobody_waits_for_a_set_that_is_worked_on(site: Site) -> None:
    rejected(site.world)
    with lock_set(site.world.installation, KEY):
        answers: list[int] = []
        asked = [
            threading.Thread(target=lambda: answers.append(press(site, f"/set/{KEY}/dismiss", attempt="2").status_code))
            for _ in range(3)
        ]
        for thread in asked:
            thread.start()
        begun = time.monotonic()
        while any(thread.is_alive() for thread in asked):
            assert get(site, "/audit/").status_code == 200, "other pages are answered meanwhile"
        assert time.monotonic() - begun < 20 and answers == [409] * 3


def test_automatic_releases_are_held_and_released_by_hand(site: Site, page: Page) -> None:
    site.world.source.put("a")
    site.world.night()
    released(site.world)
    site.world.source.put("b")
    site.world.night()
    page.goto(site.url)
    page.get_by_text("Hold automatic releases").click()
    page.get_by_label("Why").fill(f"a demonstration {EVIL}")
    page.get_by_role("button", name="Hold now").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Versions")
    page.get_by_role("link", name="Night").click()
    hand = page.get_by_role("region", name="Needs a hand")
    expect(hand).to_contain_text("held by local: a demonstration <img")
    assert page.title() != "hacked"
    assert release.release(site.world.installation, by_hand=False).said.startswith("held: ")
    assert products(site) == ["a"]
    hand.get_by_role("button", name="Release").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Release")
    page.get_by_role("link", name="The night").click()
    expect(page.get_by_role("heading", name="Automatic releases are held")).to_have_count(0)
    assert products(site) == ["a", "b"]
    acts = [(row["act"], row["outcome"]) for row in audited(site.world)]
    assert acts[0] == ("hold", "done") and ("release", "asked for") in acts


def test_one_goes_back_from_the_night(site: Site, page: Page) -> None:
    for name in "ab":
        site.world.source.put(name)
        site.world.night()
        released(site.world)
    page.goto(site.url)
    page.get_by_role("link", name="See what going back to version 1 would do").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Back to version 1?")
    assert products(site) == ["a", "b"], "nothing is done yet"
    page.get_by_role("button", name="Roll back to version 1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Going back to version 1")
    assert products(site) == ["a"]


def test_what_became_current_after_the_press_stays(site: Site) -> None:
    for name in "ab":
        site.world.source.put(name)
        site.world.night()
        released(site.world)

    def another() -> None:
        site.world.source.put("c")
        site.world.night()
        released(site.world)

    site.acts.before_going_back = another
    run = press(site, "/versions/1/rollback", instead_of="2").headers["location"]
    assert products(site) == ["a", "b", "c"]
    text = get(site, run).text
    assert "version 3 is current by now" in text and "harvester versions hold" in text
    assert 'href="/versions/1/rollback/">Look again' in text
    assert "Automatic releases are held" not in text


def test_a_release_ends_the_hold_that_was_on_its_page_and_no_other(site: Site) -> None:
    installation = site.world.installation
    site.world.source.put("a")
    site.world.night()
    seen = versions.hold_releases(installation, "a demonstration")
    for page in ("/", "/versions/", f"/set/{KEY}/"):
        assert f'name="hold_seen" value="{seen.since.isoformat()}"' in get(site, page).text, page
    for other in ("", (seen.since - timedelta(hours=1)).isoformat()):
        text = get(site, press(site, "/release", hold_seen=other).headers["location"]).text
        assert "nothing was released: automatic releases are held, which was not seen: held by dagster" in text
        assert "Automatic releases are held: <bdi>held by dagster: a demonstration" in text
        assert f'name="hold_seen" value="{seen.since.isoformat()}"' in text, "Release again ends it"
    assert press(site, "/release", hold_seen="yesterday").status_code == 400
    assert site.world.one("SELECT count(*) FROM current_version") == 0
    assert press(site, "/release", hold_seen=seen.since.isoformat()).status_code == 303
    assert products(site) == ["a"]
    assert site.world.one("SELECT count(*) FROM release_hold") == 0


def test_a_night_is_stopped(site: Site, page: Page) -> None:
    installation = site.world.installation
    rejected(site.world)
    with installation.pool.connection() as connection:
        night = nights.open_night(connection, installation.config, site.world.now)
    site.world.source.put("b", spec="two")
    steps.harvest(installation, "src:two", night_id=night.night_id)
    site.acts.of_nights = ["run-of-two"]
    page.goto(site.url)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Night {night.night_id} goes on")
    hand, going_on = (page.get_by_role("region", name=name) for name in ("Needs a hand", "The night that goes on"))
    expect(going_on).to_contain_text("is extracted and compared")
    above, below = (part.bounding_box() for part in (hand, going_on))
    assert above and below and above["y"] < below["y"], "what needs a hand stands first"
    page.get_by_text(f"Stop night {night.night_id}", exact=True).click()
    expect(page.locator("details[open]")).to_contain_text("harvester night --stop")
    page.get_by_role("button", name=f"Stop night {night.night_id} now").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Night {night.night_id}")
    expect(page.get_by_role("region", name="Nights").get_by_role("row").nth(1)).to_contain_text("stopped")
    expect(page.get_by_role("region", name="Sets", exact=True)).not_to_contain_text("source failed")
    stopped = page.get_by_role("row").filter(has=page.get_by_role("link", name="src:two", exact=True))
    expect(stopped.first).to_contain_text("stopped")
    assert site.acts.of_nights == [], "its runs were asked to end"
    assert site.world.rows("SELECT state, reason FROM attempt ORDER BY attempt_id DESC LIMIT 1") == [
        ("failed", f"night {night.night_id} was stopped")
    ]
    assert press(site, f"/night/{night.night_id}/stop").status_code == 409
    acts = [(row["actor"], row["act"], row["subject"], row["outcome"]) for row in audited(site.world)]
    assert acts == [("local", "stop night", str(night.night_id), outcome) for outcome in ("done", "refused")]


def test_a_night_that_begins_is_seen_where_the_page_stands_open(site: Site, page: Page) -> None:
    page.goto(site.url)
    page.get_by_role("heading", name="Sets").evaluate("heading => { heading.stays = true }")
    with site.world.installation.pool.connection() as connection:
        night = nights.open_night(connection, site.world.installation.config, site.world.now)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Night {night.night_id} goes on")
    expect(page.get_by_role("region", name="The night that goes on")).to_be_visible()
    assert page.get_by_role("heading", name="Sets").evaluate("heading => heading.stays") is True
    page.get_by_text(f"Stop night {night.night_id}", exact=True).click()
    with site.world.installation.pool.connection() as connection:
        nights.set_ended(connection, night.night_id, KEY, "success", site.world.now)
    page.wait_for_timeout(5_000)
    expect(page.get_by_role("button", name=f"Stop night {night.night_id} now")).to_be_visible()


def test_of_two_nights_each_has_its_stop(site: Site) -> None:
    with site.world.installation.pool.connection() as connection:
        for _ in range(2):
            nights.open_night(connection, site.world.installation.config, site.world.now)
    text = get(site, "/").text
    assert 'action="/night/1/stop"' in text and 'action="/night/2/stop"' in text
    assert press(site, "/night/1/stop").status_code == 303
    text = get(site, "/").text
    assert 'action="/night/2/stop"' in text and 'action="/night/1/stop"' not in text


def test_what_a_task_could_not_have_is_retried_from_the_night(site: Site, page: Page) -> None:
    names = [f"{number:02}" for number in range(30)]
    site.world.source.put(*names)
    site.world.source.files = {f"{name}/a": 503 if name > "04" else 404 for name in names}
    site.world.night(pass_time=False)
    page.goto(site.url)
    hand = page.get_by_role("region", name="Needs a hand")
    expect(hand).to_contain_text("25 of the 30 results of its last runs are to be tried again, in 1 sets")
    expect(hand).to_contain_text(f"harvester tasks retry check_url {KEY}")
    site.world.forward(timedelta(seconds=1))
    hand.get_by_role("button", name="Retry failed of check_url").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry of check_url")
    assert site.acts.retried == [("check_url", (KEY,))]
    assert site.world.one("SELECT count(*) FROM result WHERE due_at <= %s", site.world.now) == 30
    assert press(site, "/tasks/check_urls/retry", key=KEY).status_code == 404
    assert press(site, "/tasks/check_url/retry").status_code == 400
    assert press(site, "/tasks/check_url/retry", key="src:none").status_code == 400
    assert press(site, "/tasks/check_url/retry", key="src:two").status_code == 409
    site.acts.away = True
    away = press(site, "/tasks/check_url/retry", key=KEY)
    assert away.status_code == 502 and f"harvester tasks retry check_url {KEY} --results expired" in away.text


def test_few_failures_and_dead_links_are_no_trouble_of_their_task(site: Site) -> None:
    names = [f"{number:02}" for number in range(40)]
    site.world.source.put(*names)
    site.world.source.files = {f"{name}/a": 503 if name < "10" else 404 for name in names}
    site.world.night()
    assert "Retry failed" not in get(site, "/").text


def test_a_missed_night_and_a_failed_release_stand_on_the_page(site: Site) -> None:
    installation = site.world.installation
    site.world.source.put("a")
    site.world.night()
    with installation.pool.connection() as connection:
        night = nights.open_night(connection, installation.config, site.world.now)
        nights.release_begun(connection, night.night_id, {}, site.world.now)
    release.end_night(installation, night.night_id, failed_run="run-7", why=f"no index {EVIL}")
    text = get(site, "/").text
    assert f"The release of night {night.night_id} failed" in text and "no index &lt;img" in text
    assert f'href="{DAGSTER}/runs/run-7"' in text and "A night is missing" not in text
    site.world.forward(timedelta(days=2))
    text = get(site, "/").text
    assert "no night has begun at 2026-03-04 01:00" in text and "harvester night" in text


def test_each_set_stands_beside_its_usual_and_leads_to_its_run(site: Site) -> None:
    site.world.source.put("a", "b")
    for number in range(4):
        site.world.night(asked="full", run_id=f"run-{number}")
    site.world.change("UPDATE attempt SET ended_at = started_at + interval '12.5 s' WHERE mode = 'full'")
    site.world.forward(timedelta(minutes=1))
    text = get(site, "/").text
    assert f'<a href="{DAGSTER}/runs/run-3" aria-label="Run of {KEY} in Dagster">run</a>' in text
    assert text.count('<td class="number">12.5</td>') == 2, "and its usual"


def test_times_are_those_of_the_installation(site: Site) -> None:
    site.world.source.put("a")
    site.world.night()
    site.world.forward(timedelta(days=1))
    for path in ("/", f"/set/{KEY}/"):
        assert "last accepted harvest 2026-03-01 02:30" in get(site, path).text, path


def test_a_command_can_be_copied_whatever_the_set_is_called(open_world: OpenWorld) -> None:
    world = open_world(sets=["*"], min_documents=0)
    with listening(OperatorPages(world.installation, Here(world), "").routes(), world.installation.config.web) as url:
        world.change("UPDATE harvest_set SET key = 'src:a b;$(c)*' WHERE key = 'src:all'")
        world.change(
            """INSERT INTO attempt (set_id, mode, why, started_at, mapping_version, base_gen, state, ended_at, reason)
               SELECT set_id, 'full', '', now(), '', 0, 'rejected', now(), 'few' FROM harvest_set"""
        )
        texts = [requests.get(url + path, timeout=30).text for path in ("/", "/set/src:a%20b%3B%24%28c%29%2A/")]
    for text in texts:
        for command in ("accept", "dismiss", "harvest"):
            assert f"<code>harvester {command} &#39;src:a b;$(c)*&#39;" in text, command


def test_what_the_night_asks_grows_with_no_document(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look after a release samples what was released; no other looks at a document."""
    rejected(site.world)
    site.world.overwrite("01", {"title": "By hand"})
    site.world.day_work()
    released(site.world)
    site.world.overwrite("02", {"title": "By hand"})
    with statements(monkeypatch) as first:
        assert get(site, "/").status_code == 200
    asked = about_documents(first)
    assert asked and all("LIMIT" in each or "unnest(%(ids)s::bigint[])" in each for each in asked), asked
    site.world.forward(timedelta(hours=1))
    with statements(monkeypatch) as again:
        text = get(site, "/").text
    assert "A release is due" in text
    assert "though the sources had nothing new: 1 documents have another" in text
    assert about_documents(again) == []


def about_documents(sent: list[str]) -> list[str]:
    """Statements that read tables with a row for each document; whether there is any such row is none."""
    tables = ("document ", "revision ", "body ", "output ", "output_body ", "dirty ", "result ", "task_use ")
    plain = [" ".join(each.split()).replace("EXISTS (SELECT FROM dirty d", "") for each in sent]
    return [each for each in plain if any(f"{word} {name}" in each for name in tables for word in ("FROM", "JOIN"))]


def test_a_rejected_reconciliation_is_accepted_from_the_night(site: Site, page: Page) -> None:
    """What its source lists was rejected; it stands where a rejected harvest does."""
    site.world.source.put(*(f"{number:02}" for number in range(12)))
    site.world.night()
    released(site.world)
    site.world.source.forget(*(f"{number:02}" for number in range(2, 12)))
    site.world.night(asked="full", pass_time=False)
    site.world.change("UPDATE attempt SET mode = 'reconcile' WHERE state = 'rejected'")
    page.goto(site.url)
    hand = page.get_by_role("region", name="Needs a hand")
    expect(hand).to_contain_text("Attempt 2 (reconcile")
    hand.get_by_role("button", name="Accept attempt 2").click()
    expect(page.get_by_role("region", name="Accepted, and not published yet")).to_be_visible()
    assert len(site.world.titles()) == 2


def test_what_fails_elsewhere_is_in_the_audit(site: Site) -> None:
    rejected(site.world)
    site.world.overwrite("01", {"title": "By hand"})
    site.world.day_work()
    run_id = press(site, f"/set/{KEY}/accept", attempt="2", seen="of another").headers["location"].split("/")[2]
    rows: list[Any] = [row for row in audited(site.world) if row["act"] == "accept"]
    assert [row["outcome"] for row in rows] == ["refused", "asked for"]
    assert rows[0]["address"] == f"run {run_id}" and "has moved" in rows[0]["detail"]["reason"]
    assert rows[1]["detail"] == {"run": run_id}
    with site.world.installation.pool.connection() as connection:
        assert len(audit.rows(connection, outcome="asked for")) == 1
