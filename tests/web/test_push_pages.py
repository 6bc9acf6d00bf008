"""The inbox of a set on its page, in a real browser: what was rejected is decided about, and a record is pushed."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import requests
from playwright.sync_api import Page, expect

from harvester_dagster.sets import pushed, steps
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.web.operator_pages import OperatorPages
from harvester_dagster.web.push_pages import PushPages
from tests.push.pushing import WITH_SECRET, push, released, rounds, states
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, World, check
from tests.web.listening import listening
from tests.web.test_operator_pages import asked_back

__all__ = ["open_world", "source"]
EVIL = "<img src=x onerror=document.title='hacked'>"
GONE = [{"id": name, "meta": {"status": "deleted"}} for name in ("a", "b")]
TOKENS = {
    "editor": {"token_env": "EDITOR_TOKEN", "scopes": ["push"]},
    "operator": {"token_env": "OPERATOR_TOKEN", "scopes": ["operate", "overwrite", "takedown"]},
}


class Site(NamedTuple):
    url: str
    world: World

    def post(self, path: str, token: str = "", headers: dict[str, str] | None = None, **form: Any) -> requests.Response:
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.post(self.url + path, data=form, headers={**bearer, **(headers or {})}, timeout=60)

    def get(self, path: str, token: str = "") -> str:
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.get(self.url + path, headers=bearer, timeout=60).text

    def acts(self) -> list[tuple[str, str, str, str]]:
        rows = self.world.rows("SELECT actor, act, subject, outcome FROM audit WHERE act LIKE '%push%' ORDER BY 1")
        return [tuple(row) for row in rows]


@pytest.fixture
def site(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield from serving(open_world, monkeypatch)


def serving(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Iterator[Site]:
    """Three documents that are published, of a set that has to keep two."""
    for name in ("EDITOR", "OPERATOR"):
        monkeypatch.setenv(f"{name}_TOKEN", f"{name.lower()}-secret")
    world = open_world(**WITH_SECRET, min_documents=2, installed={"web": {"tokens": TOKENS}}, **settings)
    world.source.put("a", "b", "c")
    world.night()
    released(world)
    acts: Any = None
    routes = [*OperatorPages(world.installation, acts, "").routes(), *PushPages(world.installation, "").routes()]
    with listening(routes, world.installation.config.web) as url:
        yield Site(url, world)


def rejected(world: World) -> None:
    push(world, *GONE)
    found = pushed.take(world.installation, KEY)
    assert found.attempt and found.attempt.state == "rejected"


def test_what_was_rejected_is_seen_and_accepted(site: Site, page: Page) -> None:
    rejected(site.world)
    page.goto(site.url)
    page.get_by_role("link", name="See what was pushed").click()
    part = page.get_by_role("region", name="Pushes")
    expect(part).to_contain_text("rejected 2: ")
    row = part.get_by_role("row").filter(has_text="rejected").filter(has=page.get_by_role("link", name="a", exact=True))
    expect(row.get_by_role("link")).to_have_attribute("href", "/document/?srn=src%3Aone%3Aa")
    expect(row).to_contain_text("fewer")
    expect(part).to_contain_text(f"harvester push accept {KEY}")
    part.get_by_role("button", name="Accept them").click()
    expect(part.get_by_role("button")).to_have_count(1)
    expect(part).to_contain_text("Accepted, and not shown yet")
    assert set(site.world.titles()) == {"c"} and {state for _, state in states(site.world)} == {"taken"}
    rounds(site.world)
    expect(part).not_to_contain_text("Accepted, and not shown yet", timeout=20_000)  # by itself: it is live
    assert site.acts() == [("local", "accept pushes", KEY, "done")]
    check(site.world)


def test_what_was_rejected_is_dismissed(site: Site, page: Page) -> None:
    rejected(site.world)
    page.goto(f"{site.url}/set/{KEY}/")
    asked_back(page, "Dismiss them")
    part = page.get_by_role("region", name="Pushes")
    expect(part.get_by_role("row").filter(has_text="dismissed")).to_have_count(2)
    expect(page.get_by_role("button", name="Dismiss them")).to_have_count(0)
    assert set(site.world.titles()) == {"a", "b", "c"}
    assert site.acts() == [("local", "dismiss pushes", KEY, "done")]


@pytest.mark.parametrize(("act", "state"), [("accept", "taken"), ("dismiss", "dismissed")])
def test_what_came_after_the_page_was_shown_is_not_decided(site: Site, act: str, state: str) -> None:
    rejected(site.world)
    before = site.get(f"/set/{KEY}/")
    push(site.world, {"id": "c", "meta": {"status": "deleted"}})
    site.world.change("UPDATE push SET state = 'rejected', ended_at = received_at WHERE external_id = 'c'")
    found = re.compile(rf'action="([^"]*/{act}-pushes)"[^>]*><input type="hidden" name="up_to" value="(\d+)">')
    ((action, shown),) = found.findall(before)
    assert (shown, found.findall(site.get(f"/set/{KEY}/"))) == ("2", [(action, "3")])
    assert site.post(action, up_to=shown).status_code == 200
    assert states(site.world) == [("a", state), ("b", state), ("c", "rejected")]


def test_what_cannot_be_decided_now_is_said(site: Site) -> None:
    rejected(site.world)
    steps.harvest(site.world.installation, KEY)
    answer = site.post(f"/set/{KEY}/accept-pushes", up_to="2")
    assert answer.status_code == 409 and "a harvest is going on" in answer.text
    assert [state for _, state in states(site.world)] == ["rejected", "rejected"]
    for act in ("accept", "dismiss"):
        assert site.post(f"/set/nowhere:none/{act}-pushes", up_to="2").status_code == 404
        for given in ("", "x", "-1", "²", "9" * 19):
            assert site.post(f"/set/{KEY}/{act}-pushes", up_to=given).status_code == 400
    assert {outcome for *_, outcome in site.acts()} == {"refused"}


def test_nobody_waits_for_pushes_of_a_set_that_is_worked_on(site: Site) -> None:
    rejected(site.world)
    with lock_set(site.world.installation, KEY):
        begun = time.monotonic()
        assert site.post(f"/set/{KEY}/accept-pushes", up_to="2").status_code == 409
        assert time.monotonic() - begun < 10
    assert [state for _, state in states(site.world)] == ["rejected", "rejected"]


def test_a_record_is_looked_at_then_pushed_and_taken(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/set/{KEY}/")
    part = page.get_by_role("region", name="Pushes")
    expect(part).to_contain_text("Nothing was pushed lately")
    part.get_by_label("A record").fill("{}")
    part.get_by_role("button", name="See what it would change").click()
    expect(page.get_by_role("alert")).to_contain_text("no record")
    record = site.world.source.record("a", title=f"Corrected {EVIL}", files=("new",))
    page.get_by_label("A record").fill(json.dumps(record))
    page.get_by_role("button", name="See what it would change").click()
    expect(page.locator("dl")).to_contain_text("changed")
    expect(page.locator("dl")).to_contain_text("1 products changed")
    expect(page.locator("main")).to_contain_text(f"/webhook/product/{KEY}/")
    assert states(site.world) == [] and site.acts() == []
    page.get_by_role("button", name="Push", exact=True).click()
    expect(part.get_by_role("row").filter(has_text="waiting")).to_contain_text("local 127.0.0.1")
    assert states(site.world) == [("a", "waiting")]
    again = site.post(f"/push/{KEY}", record=json.dumps(record))
    assert again.status_code == 409 and "the very same waits already" in again.text
    rounds(site.world)
    expect(part.get_by_role("row").filter(has_text="taken")).to_have_count(1, timeout=20_000)
    assert site.world.titles()["a"] == f"Corrected {EVIL}" and page.title() != "hacked"
    assert site.acts() == [("local", "push", f"{KEY}:a", "done")] * 2
    check(site.world)


def test_what_a_record_would_come_to_is_said_and_nothing_is_stored(site: Site) -> None:
    def looked(record: dict[str, Any]) -> str:
        answer = site.post(f"/push/look/{KEY}", record=json.dumps(record))
        assert answer.status_code == 200, answer.text
        return answer.text

    old = {**site.world.source.record("a"), "meta": {"status": "deleted", "deletedAt": "2020-01-01T00:00:00Z"}}
    assert "Something newer of it is there" in looked(old)
    assert "new" in looked(site.world.source.record("d"))
    assert "<dd>deleted" in looked(GONE[0])
    assert "<dd>unchanged" in looked(site.world.source.record("b"))
    steps.harvest(site.world.installation, KEY)
    assert "It would wait: a harvest is going on" in looked(site.world.source.record("d"))
    assert states(site.world) == []


def test_who_may_not_has_no_button_and_403(site: Site) -> None:
    rejected(site.world)
    record = json.dumps(site.world.source.record("d"))
    elsewhere = {"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    deciding = [f"/set/{KEY}/accept-pushes", f"/set/{KEY}/dismiss-pushes"]
    pushing = [f"/push/{KEY}", f"/push/look/{KEY}"]
    before = states(site.world), site.acts()
    for path in deciding + pushing:
        assert site.post(path, headers=elsewhere, record=record).status_code == 403
    for paths, token in ((deciding, "editor-secret"), (pushing, "operator-secret")):
        text = site.get(f"/set/{KEY}/", token)
        for path in paths:
            assert f'action="{path}"' not in text.replace("%3A", ":"), path
            assert site.post(path, token, record=record).status_code == 403
    text = site.get(f"/set/{KEY}/", "editor-secret")
    assert f"harvester push accept {KEY}" in text and "See what it would change" in text
    assert (states(site.world), site.acts()) == before
    assert site.post(f"/push/{KEY}", "editor-secret", record=record).status_code == 200
    assert states(site.world)[-1] == ("d", "waiting")
    assert site.world.one("SELECT sender FROM push WHERE external_id = 'd'") == "token:editor 127.0.0.1"


def test_only_sets_that_take_pushes_and_only_from_where_they_may_come(
    open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for site in serving(open_world, monkeypatch, webhook_addresses=["192.0.2.10"]):
        record = json.dumps(site.world.source.record("d"))
        for path in (f"/push/{KEY}", f"/push/look/{KEY}"):
            answer = site.post(path, record=record)
            assert answer.status_code == 403 and "webhook_addresses" in answer.text
        assert site.post("/push/nowhere:none", record=record).status_code == 404
        assert site.post(f"/push/{KEY}", record="x" * 400_000).status_code == 400
        assert states(site.world) == []


def test_where_nobody_may_push_no_worker_takes_what_a_page_would_store(
    open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARVESTER_TOKEN", raising=False)
    world = open_world(min_documents=0)
    world.source.put("a")
    world.night()
    acts: Any = None
    routes = [*OperatorPages(world.installation, acts, "").routes(), *PushPages(world.installation, "").routes()]
    with listening(routes, world.installation.config.web) as url:
        site = Site(url, world)
        assert "Pushes" not in site.get(f"/set/{KEY}/")
        assert site.post(f"/push/{KEY}", record=json.dumps(world.source.record("b"))).status_code == 404
        monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
        assert "Pushes" in site.get(f"/set/{KEY}/")


def test_many_that_wait_hide_none_that_was_rejected(site: Site) -> None:
    rejected(site.world)
    push(site.world, *(site.world.source.record(f"n{number:02}") for number in range(30)))
    site.world.change("UPDATE push SET reason = %s WHERE state = 'rejected'", EVIL)
    text = site.get(f"/set/{KEY}/")
    assert text.count('class="state rejected">rejected') == 3 and text.count('class="state waiting"') == 20
    assert "30 wait since" in text and EVIL not in text
