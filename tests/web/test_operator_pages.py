"""The pages of the morning over a real store, in a real browser: what needs a hand is seen, pressed, and then so."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import quote

import pytest
import requests
from playwright.sync_api import Page, expect

from harvester_dagster.explain import night_report
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.publication.audit import Doer
from harvester_dagster.releases import nights, release
from harvester_dagster.releases.nights import Night
from harvester_dagster.sets import steps, versions
from harvester_dagster.web.acts import RunSeen, Said
from harvester_dagster.web.document_pages import DocumentPages
from harvester_dagster.web.failure_pages import FailurePages
from harvester_dagster.web.launching import NotStarted
from harvester_dagster.web.operator_pages import OperatorPages
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, World
from tests.web.listening import listening

__all__ = ["open_world", "source"]

EVIL = "<img src=x onerror=document.title='hacked'>‮"


class Here:
    """Does in this process what Dagster's runs do elsewhere; each run is over when it has begun, unless a test lets it
    go on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.away = False
        self.retried: list[tuple[str, tuple[str, ...]]] = []
        self.green: list[str] = []
        """Sets whose checks were turned green."""
        self.runs: dict[str, RunSeen] = {}
        self.of_nights: list[str] = []
        """Runs of the night that go on; they end when they were asked to twice."""
        self.before_going_back: Callable[[], object] = lambda: None
        """What happens between a press and its run."""

    def _run(self, act: str, subject: str, run: Callable[[], object]) -> str:
        """The run's id. What it raises is why it failed."""
        if self.away:
            raise NotStarted("Dagster is away")
        run_id = f"run-of-{act}-{len(self.runs)}"
        doer = Doer("dagster", f"run {run_id}")
        seen = RunSeen(run_id, act, subject, "done", [Said(self._world.now, f"{act} {subject} <b>goes on</b>")])
        try:
            with audit.acting(doer), audit.trying(self._world.installation.pool, act, subject, lambda: self._world.now):
                run()
        except HarvesterError as error:
            seen = seen._replace(state="failed", reason=str(error))
        self.runs[run_id] = seen
        return run_id

    def harvest(self, key: str) -> str:
        return self._run("harvest", key, lambda: self._world.night(key))

    def look(self, key: str) -> str:
        return self._run("look", key, lambda: steps.look(self._world.installation, key))

    def accept(self, key: str, attempt: int, seen: str) -> str:
        return self._run(
            "accept", key, lambda: steps.accept(self._world.installation, key, attempt_id=attempt, seen=seen)
        )

    def retry(self, task: str, sets: Sequence[str]) -> str:
        return self._run("retry", task, lambda: self.retried.append((task, tuple(sets))))

    def release(self, hold_seen: str) -> str:
        def now() -> None:
            release.release(self._world.installation, by_hand=True, hold_seen=hold_seen)

        return self._run("release", "", now)

    def roll_back(self, version: int, instead_of: int) -> str:
        def back() -> None:
            with self._world.installation.pool.connection() as connection:
                earlier = versions.by_id(connection, version)
            self.before_going_back()
            release.roll_back(self._world.installation, earlier, instead_of=instead_of)

        return self._run("rollback", str(version), back)

    def seen(self, run_id: str) -> RunSeen | None:
        return self.runs.get(run_id)

    def accepted(self, installation: Installation, key: str) -> None:
        self.green.append(key)

    def end_runs(self, night: Night) -> list[str]:
        going_on = self.of_nights
        self.of_nights = [f"{run}, asked" for run in going_on if not run.endswith(", asked")]
        return going_on


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
    boss = {"token_env": "BOSS_TOKEN", "scopes": ["operate"]}
    world = open_world(min_documents=0, installed={"web": {"tokens": {"boss": boss}}})
    acts = Here(world)
    dagster = "http://dagster.example:3000"
    routes = [
        *OperatorPages(world.installation, acts, dagster).routes(),
        *DocumentPages(world.installation, dagster).routes(),
        *FailurePages(world.installation, acts, dagster).routes(),
    ]
    with listening(routes, world.installation.config.web) as url:
        yield Site(url, world, acts)


def rejected(world: World) -> None:
    """A set of twelve, published; then a harvest of one."""
    world.source.put(*(f"{number:02}" for number in range(12)))
    world.night()
    released(world)
    world.source.records["one"].clear()
    world.source.put("00")
    world.night(asked="full")


def asked_back(page: Page, name: str) -> None:
    """Press what does harm, and press again when it asks."""
    expect(page.get_by_role("button", name=name)).to_have_count(0)
    page.locator("summary", has_text=name).click()
    page.get_by_role("button", name=name).click()


def get(site: Site, path: str, **query: str) -> requests.Response:
    return requests.get(site.url + path, params=query, timeout=30)


def test_before_the_first_night_pages_say_what_to_do(site: Site) -> None:
    assert "first night makes it" in get(site, "/").text
    assert "Nobody has done anything yet" in get(site, "/audit/").text
    assert "It was never harvested" in get(site, "/set/src:two/").text
    assert get(site, "/document/").status_code == 200


def test_a_rejected_set_is_seen_looked_at_accepted_and_published(site: Site, page: Page) -> None:
    rejected(site.world)
    page.goto(site.url)
    hand = page.get_by_role("region", name="Needs a hand")
    expect(hand).to_contain_text("12")
    hand.get_by_role("link", name="See what attempt").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(KEY)
    expect(page.get_by_role("region", name="Attempt 2 waits")).to_contain_text(
        "It proposes 1 products after 12, 1 files after 12; 0 added, 0 changed, 22 removed."
    )
    page.get_by_role("button", name="Accept attempt 2").click()
    ahead = page.get_by_role("region", name="Accepted, and not published yet")
    expect(ahead).to_contain_text("1 products, 1 files of generation 2, in the place of 12 products, 12 files")
    assert site.acts.green == [KEY] and site.acts.runs == {}, "it was done at once"
    ahead.get_by_role("button", name="Release").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Release")
    expect(page.get_by_role("link", name="Run run-of-r in Dagster")).to_have_attribute(
        "href", "http://dagster.example:3000/runs/run-of-release-0"
    )
    expect(page.locator("main")).to_contain_text("Current: version 2.")
    page.reload()
    assert list(site.acts.runs) == ["run-of-release-0"], "a reload presses nothing again"
    page.get_by_role("link", name="The night").click()
    expect(hand.get_by_role("heading", name=KEY)).to_have_count(0)
    assert [one for one, body in site.world.outputs().items() if body["entity"] == "products"] == ["00"]
    acts = [(row["actor"], row["act"], row["outcome"]) for row in audited(site.world)]
    assert acts[0] == ("local", "accept", "done") and ("local", "release", "asked for") in acts


def test_a_night_stays_what_it_was_whatever_is_accepted_by_hand_since(site: Site) -> None:
    world = site.world
    world.source.put(*(f"{number:02}" for number in range(12)))
    world.night()
    with world.installation.pool.connection() as connection:
        first = nights.open_night(connection, world.installation.config, world.now).night_id
    world.source.records["one"].clear()
    world.source.put("00")
    world.night(asked="full")
    world.change("UPDATE attempt SET night_id = %s WHERE attempt_id = 2", first)
    with world.installation.pool.connection() as connection:
        nights.end(connection, first, world.now)
    (took,) = (each.seconds for each in harvests_of(world) if each.attempt_id == 2)
    world.forward(timedelta(hours=3))
    steps.accept(world.installation, KEY)
    assert [each.seconds for each in harvests_of(world) if each.attempt_id == 2] == [took], "not until somebody pressed"
    with world.installation.pool.connection() as connection:
        night = night_report.one_night(connection, first)
        (line,) = (one for one in night_report.sets_of(connection, first) if one.key == KEY)
    assert night and (night.accepted, night.rejected, night.failed) == (0, 1, 0)
    assert line.state == "rejected" and line.reason.startswith("accepted by hand: products: 1 after 12")


def harvests_of(world: World) -> list[night_report.Harvest]:
    with world.installation.pool.connection() as connection:
        return night_report.harvests(connection, world.state().set_id, 10)


def test_a_night_that_was_is_seen_set_by_set(site: Site, page: Page) -> None:
    world = site.world
    with world.installation.pool.connection() as connection:
        first = nights.open_night(connection, world.installation.config, world.now).night_id
    world.source.put("00", "01")
    world.night()
    world.change("UPDATE attempt SET night_id = %s", first)
    world.change(
        """UPDATE night_set SET outcome = 'failure', reason = %s
           FROM harvest_set s WHERE s.set_id = night_set.set_id AND key = 'src:two'""",
        f"it broke {EVIL}",
    )
    with world.installation.pool.connection() as connection:
        nights.end(connection, first, world.now)
    page.goto(site.url)
    page.get_by_role("link", name=str(first), exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Night {first}")
    lines = page.get_by_role("region", name="Sets of the night").locator("tbody tr")
    expect(lines).to_have_count(2)
    expect(lines.first).to_contain_text("src:two")
    expect(lines.first).to_contain_text("failed")
    expect(lines.first).to_contain_text("it broke")
    expect(lines.last).to_contain_text(KEY)
    assert get(site, "/night/999999999999999999/").status_code == 404
    assert f'href="/night/{first}/"' in get(site, "/nights/").text
    assert get(site, "/nights/", before=str(first)).text.count("<tr>") == 0
    assert page.title() != "hacked"


def test_the_audit_is_read_a_page_at_a_time_and_by_who_and_what(site: Site) -> None:
    with site.world.installation.pool.connection() as connection:
        for number in range(401):
            audit.write(connection, "overwrite" if number else "hold", f"src:one:{number}", site.world.now)
    pages = [get(site, "/audit/").text]
    while found := re.search(r"before=(\d+)\">Earlier", pages[-1]):
        pages.append(get(site, "/audit/", before=found[1]).text)
    told = [subject for text in pages for subject in re.findall(r">(src:one:\d+)</(?:td|a)>", text)]
    assert told == [f"src:one:{number}" for number in reversed(range(401))] and len(pages) == 3
    held = get(site, "/audit/", act="hold").text
    assert "src:one:0<" in held and "src:one:1<" not in held
    assert "There is no such act" in get(site, "/audit/", actor="nobody\0", before="1").text


def test_the_way_back_to_a_version_stands_there_while_releases_are_held(site: Site) -> None:
    site.world.source.put("00")
    site.world.night()
    released(site.world)
    site.world.source.put("01")
    site.world.night()
    released(site.world)
    assert "/versions/1/rollback/" in get(site, "/").text
    versions.hold_releases(site.world.installation, "an audit")
    assert "/versions/1/rollback/" in get(site, "/").text


def test_the_audit_links_what_was_acted_on_and_prints_the_filters_that_are_set(site: Site, page: Page) -> None:
    site.world.source.put("a")
    site.world.night()
    pool, now = site.world.installation.pool, site.world.now
    links = {KEY: f"/set/{KEY}/", f"{KEY}:a & b": f"/document/?srn={quote(KEY + ':a & b', safe='')}", "7": "/versions/"}
    for subject in (*links, "https://elsewhere.example:80/a:b", ""):
        audit.told(pool, "overwrite", subject, now, "done")
    audit.told(pool, "night", "3", now)
    page.goto(f"{site.url}/audit/")
    for subject, href in {**links, "3": "/night/3/"}.items():
        expect(page.get_by_role("link", name=subject, exact=True)).to_have_attribute("href", href)
    expect(page.get_by_role("link", name="elsewhere")).to_have_count(0)
    expect(page.locator("main form code")).to_have_text("harvester audit")
    page.get_by_role("combobox", name="act").select_option("night")
    page.get_by_role("combobox", name="outcome").select_option("asked for")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.locator("main form code")).to_have_text("harvester audit --act night --outcome 'asked for'")
    expect(page.get_by_role("combobox", name="act")).to_have_value("night")


def test_a_candidate_is_dismissed_at_once(site: Site, page: Page) -> None:
    rejected(site.world)
    page.goto(f"{site.url}/set/{KEY}/")
    asked_back(page, "Dismiss attempt 2")
    expect(page.get_by_role("button", name="Dismiss")).to_have_count(0)
    assert site.world.one("SELECT count(*) FROM attempt WHERE state = 'dismissed'") == 1
    again = requests.post(f"{site.url}/set/{KEY}/dismiss", data={"attempt": "2"}, timeout=30)
    assert again.status_code == 409
    acts = [(row["act"], row["outcome"]) for row in audited(site.world)]
    assert acts[-2:] == [("dismiss", "done"), ("dismiss", "refused")]


def test_what_cannot_be_begun_is_said_and_written_down(site: Site) -> None:
    site.acts.away = True
    answer = requests.post(f"{site.url}/set/{KEY}/harvest", timeout=30)
    assert answer.status_code == 502 and "Dagster is away" in answer.text
    assert [(row["act"], row["outcome"]) for row in audited(site.world)] == [("harvest", "refused")]
    assert requests.post(f"{site.url}/set/nowhere:none/harvest", timeout=30).status_code == 404
    for attempt in ("", "-1", "9" * 30, "١٢"):
        given = {"attempt": attempt}
        for act in ("accept", "dismiss"):
            assert requests.post(f"{site.url}/set/{KEY}/{act}", data=given, timeout=30).status_code == 400, attempt


def test_a_page_of_another_origin_cannot_press(site: Site) -> None:
    headers = {"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    sets = [f"/set/{KEY}/{act}" for act in ("harvest", "look", "accept", "dismiss")]
    for path in ("/release", "/hold", "/night/1/stop", "/tasks/check_url/retry", "/versions/1/rollback", *sets):
        assert requests.post(site.url + path, headers=headers, timeout=30).status_code == 403
    assert audited(site.world) == []


OF_C = "SELECT f.external_id FROM document f JOIN document p ON p.doc_id = f.owner_id WHERE p.external_id = 'c'"


def failing(world: World) -> None:
    """Files of `a` and `b` that are gone, and are not looked at again for days."""
    world.source.put("a", "b", "c")
    world.source.files = {"a/a": 404, "b/a": 404, "c/a": 410}
    world.night(pass_time=False)


def due(world: World) -> int:
    count: int = world.one("SELECT count(*) FROM result WHERE due_at <= %s", world.now)
    return count


def test_a_group_of_failures_is_retried(site: Site, page: Page) -> None:
    assert "Nothing has failed" in get(site, "/failures/").text
    failing(site.world)
    page.goto(site.url)
    page.get_by_role("link", name="Failures").click()
    group = page.get_by_role("list", name="Failures").locator("> li").filter(has_text="answered 404")
    expect(group).to_contain_text("check_url")
    expect(group).to_contain_text("127.0.0.1")
    expect(group).to_contain_text("from 2026-03-02 02:30:00")
    same = "harvester tasks retry check_url --reason 'answered 404' --host 127.0.0.1 --exact --now"
    expect(group.locator("code")).to_have_text(same)
    site.world.forward(timedelta(seconds=1))
    group.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 results of check_url are due now")
    expect(page.get_by_role("link", name="run run-of-r")).to_have_attribute(
        "href", "http://dagster.example:3000/runs/run-of-retry-0"
    )
    assert (due(site.world), site.acts.retried) == (2, [("check_url", (KEY,))])
    progress = page.get_by_role("status")
    expect(progress).to_have_text("2 of them wait.")
    site.world.source.files = {"a/a": 404}
    site.world.forward(timedelta(seconds=1))
    site.world.tasks()
    expect(progress).to_have_text("All of them were made anew; 1 failed in the same way again.", timeout=20_000)
    page.get_by_role("link", name="What failed").click()
    expect(group).to_contain_text("from 2026-")
    acts = [(row["actor"], row["act"], row["subject"], row["outcome"]) for row in audited(site.world)]
    assert acts == [("local", "retry results", "check_url", "done"), ("local", "retry task", "check_url", "asked for")]


def test_what_is_due_stays_due_where_no_run_can_be_begun(site: Site) -> None:
    failing(site.world)
    site.acts.away = True
    chosen = {"task": "check_url", "reason": "answered 404", "host": "127.0.0.1"}
    answer = requests.post(f"{site.url}/failures/retry", data=chosen, timeout=30)
    assert answer.status_code == 502 and "Dagster is away" in answer.text
    assert f"harvester tasks retry check_url {KEY} --results expired" in answer.text
    assert due(site.world) == 2
    assert [(row["act"], row["outcome"]) for row in audited(site.world)] == [
        ("retry results", "done"),
        ("retry task", "refused"),
    ]


def test_a_retry_is_counted_from_when_its_results_became_due(site: Site) -> None:
    failing(site.world)
    usual, ticks = site.world.installation, itertools.count(1)
    ticking = dataclasses.replace(usual, clock=lambda: usual.clock() + timedelta(milliseconds=next(ticks)))
    chosen = {"task": "check_url", "reason": "answered 404", "host": "127.0.0.1"}
    with listening(FailurePages(ticking, site.acts, "").routes(), usual.config.web) as url:
        assert "2 of them wait" in requests.post(f"{url}/failures/retry", data=chosen, timeout=30).text


def test_how_a_retry_goes_is_asked_with_what_it_was(site: Site) -> None:
    failing(site.world)
    chosen = {"task": "check_url", "reason": "answered 404", "results": "2", "at": "2026-03-01T00:00:00+00:00"}
    assert get(site, "/failures/retried/", **chosen).status_code == 200
    for wrong in ({"task": "x"}, {"results": "two"}, {"at": "now"}, {"at": "2026-03-01"}, {"srn": "x"}):
        assert get(site, "/failures/retried/", **chosen | wrong).status_code in {400, 404}, wrong
    assert EVIL not in get(site, "/failures/retried/", **chosen | {"run": EVIL, "reason": EVIL}).text


def test_a_group_without_reason_and_host_is_one_too(site: Site, page: Page) -> None:
    failing(site.world)
    site.world.change("UPDATE result SET reason = '', what = '', host = '' WHERE reason = 'answered 410'")
    page.goto(f"{site.url}/failures/")
    group = page.get_by_role("list", name="Failures").locator("> li").filter(has_text="no reason was given")
    expect(group.locator("code")).to_have_text("harvester tasks retry check_url --exact --now")
    group.get_by_role("button", name="Retry check_url: no reason given").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 result of check_url is due now")
    assert due(site.world) == 1


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_the_button_and_the_command_of_a_group_are_in_sight(site: Site, page: Page, width: int) -> None:
    failing(site.world)
    site.world.change("UPDATE result SET due_at = NULL WHERE reason = 'answered 410'")
    (srn,) = (f"{KEY}:{name}" for (name,) in site.world.rows(OF_C))
    page.set_viewport_size({"width": width, "height": 900})
    for path in ("/failures/", f"/document/?srn={KEY}:c", f"/document/?srn={srn}"):
        page.goto(site.url + path)
        group = page.get_by_role("list", name="Failures").locator("> li").filter(has_text="answered 410")
        expect(group).to_contain_text("1 is not tried again by itself.")
        expect(group.get_by_role("listitem")).to_have_text(f"{srn} Title of c")
        for part in (group.get_by_role("button"), group.locator("code")):
            box = part.bounding_box()
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] < 120
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_failed_of_one_document_is_retried_on_its_page(site: Site, page: Page) -> None:
    failing(site.world)
    page.goto(f"{site.url}/document/?srn={KEY}:a")
    failed = page.get_by_role("region", name="What failed of it")
    failed.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 result of check_url is due now")
    assert due(site.world) == 1
    page.get_by_role("link", name=f"{KEY}:a").click()
    expect(failed).to_contain_text("1 is tried again with the next run")


def test_a_document_is_overwritten_seen_and_given_back(site: Site, page: Page) -> None:
    site.world.source.put("a", title="As harvested")
    site.world.night()
    released(site.world)
    page.goto(f"{site.url}/document/?srn={KEY}:a")
    part = page.get_by_role("region", name="Overwrite")
    part.get_by_label("Fields, as JSON").fill('{"titel": "x"}')
    part.get_by_role("button", name="Overwrite").click()
    expect(page.get_by_role("alert")).to_contain_text("titel: a product has no such field")
    expect(part.get_by_label("Fields, as JSON")).to_have_value('{"titel": "x"}')
    part.get_by_label("Fields, as JSON").fill(f'{{"title": "{EVIL}"}}')
    part.get_by_role("button", name="Overwrite").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(part.get_by_role("table")).to_contain_text(EVIL)
    expect(page.get_by_role("rowheader", name="overwrite")).to_be_visible()
    expect(page.locator("main")).to_contain_text("title overwritten by local")
    assert page.title() != "hacked"
    site.acts.release("")
    assert site.world.titles() == {"a": EVIL}
    asked_back(page, "Take it away")
    expect(part.get_by_role("table")).to_contain_text("taken away")
    expect(part.get_by_role("button", name="Take it away")).to_have_count(0)
    site.acts.release("")
    assert site.world.titles() == {"a": "As harvested"}


def test_what_is_pressed_must_be_there_and_allowed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOSS_TOKEN", "s3cret")
    failing(site.world)
    elsewhere = {"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    operator = {"Authorization": "Bearer s3cret"}

    def press(path: str, headers: dict[str, str] | None = None, **form: str) -> int:
        return requests.post(site.url + path, data=form, headers=headers, timeout=30).status_code

    chosen = {"task": "check_url", "reason": "answered 404", "host": "127.0.0.1"}
    fields = {"srn": f"{KEY}:a", "fields": '{"title": "x"}'}
    for path, form in (
        ("/failures/retry", chosen), ("/document/overwrite", fields), ("/document/overwrite/clear", fields)
    ):  # fmt: skip
        assert press(path, elsewhere, **form) == 403
    assert press("/document/overwrite", operator, **fields) == 403, "to operate is not to overwrite"
    assert press("/document/overwrite/clear", operator, **fields) == 403
    assert (audited(site.world), due(site.world)) == ([], 0)
    assert site.world.one("SELECT count(*) FROM overwrite_log") == 0
    assert press("/failures/retry", **chosen | {"task": "check_urls"}) == 404
    assert press("/failures/retry", task="check_url") == press("/failures/retry", **chosen, srn="src:one:none") == 400
    assert press("/failures/retry", **chosen | {"host": "x" * 5_000}) == 400
    assert press("/failures/retry", operator, **chosen | {"reason": "answered"}) == 200, "a group, and no part of one"
    assert press("/document/overwrite", srn="a\0b", fields="{}") == 400
    for srn in ("", "src:one:none", EVIL):
        assert press("/document/overwrite", srn=srn, fields='{"title": "x"}') == 404, srn
        assert press("/document/overwrite/clear", srn=srn) == 404, srn
    assert press("/document/overwrite", srn=f"{KEY}:a", fields="") == 422
    assert due(site.world) == 0
    assert press("/failures/retry", operator, **chosen) == 200
    assert due(site.world) == 2


def test_reasons_from_outside_are_text(site: Site, page: Page) -> None:
    failing(site.world)
    said = f"{EVIL} '\"</code>"
    site.world.change("UPDATE result SET reason = %s, what = %s WHERE kind = 'failure'", said, said)
    page.goto(f"{site.url}/failures/")
    expect(page.get_by_role("list", name="Failures").locator("> li").filter(has_text="onerror")).to_have_count(1)
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("3 results of check_url are due now")
    assert page.title() != "hacked"


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
    assert "60 changes, usually 0" in get(site, "/").text, "those that are gone"
    assert get(site, f"/set/{KEY}/").text.count('class="number far"') == 2, "in the row of its harvest, too"


def test_what_is_usual_is_read_again_though_no_later_attempt_ended(site: Site) -> None:
    site.world.source.put(*(f"{number:03}" for number in range(100)))
    for _ in range(night_report.LEAST + 1):
        site.world.night(asked="full")
    assert "usually" not in get(site, "/").text
    site.world.change(
        "UPDATE attempt SET records = 1000 WHERE attempt_id < (SELECT max(attempt_id) FROM attempt WHERE mode = 'full')"
    )
    site.world.forward(timedelta(seconds=59))
    assert "usually" not in get(site, "/").text
    site.world.forward(timedelta(seconds=1))
    assert "100 records, usually 1,000" in get(site, "/").text


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
    found = night_report.far_off({"records": is_now}, night_report.Usual(usually, 0, 0, 3))
    assert found == ({"records": said} if said else {})


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
