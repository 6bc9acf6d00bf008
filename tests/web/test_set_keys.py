"""Whatever a set may be called, its page, its buttons and all that leads there are its own."""

import dataclasses
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect
from starlette.routing import Mount
from typer.testing import CliRunner

from harvester_dagster import config
from harvester_dagster.cli.main import app
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.installation import Installation
from harvester_dagster.releases import alert_mail
from harvester_dagster.releases.alerts import Alert
from harvester_dagster.sets import sets
from harvester_dagster.web.api.consumer_api import PATH, consumer_api
from harvester_dagster.web.operator_pages import OperatorPages
from harvester_dagster.web.source_pages import SourcePages
from harvester_dagster.web.webhook import Webhook
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import World, commanded, configured
from tests.web.listening import listening
from tests.web.test_operator_pages import Here, asked_back, released

__all__ = ["open_world", "source"]
ODD = ("a/../b", "a?b=c&d", "a#b", "a%2Fb", "/", "é/ü", "a/harvest", "<b>'\"", "x:y", "~$(x);!*", "ab/")
ALPHABET = st.one_of(st.sampled_from("/?#%&=+;:.~'\"<>\\@!*()$^`{}-_aA0é‮"), st.characters(exclude_categories=["Cs"]))


def is_allowed(spec: str) -> bool:
    try:
        config.parse({"sources": {"src": {"kind": "sharekit", "url": "http://x.example.org", "sets": [spec]}}})
    except ConfigError:
        return False
    return True


SPECS = st.text(ALPHABET, min_size=1, max_size=200).filter(is_allowed)


class Noted(Here):
    """Begins nothing, and knows for which set it was asked to."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.keys: list[str] = []

    def harvest(self, key: str) -> str:
        self.keys.append(key)
        return "run-of-a-harvest"


def with_sets(world: World, specs: Sequence[str]) -> Installation:
    """The installation whose source has these sets."""
    changed = dataclasses.replace(world.installation, config=configured(world.source, sets=[*specs]))
    sets.synchronise(changed.pool, changed.config, changed.clock())
    return changed


def links(text: str, key: str) -> list[str]:
    """Where the links lead whose text is the key."""
    found = re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', text)
    return [html.unescape(href) for href, shown in found if html.unescape(shown) == key]


def heading(answer: requests.Response) -> str:
    found = re.search(r"<h1>(.*?)</h1>", answer.text, re.DOTALL)
    assert answer.status_code == 200 and found, answer.url
    return html.unescape(found[1])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(specs=st.lists(SPECS, min_size=1, max_size=6, unique=True))
def test_every_set_that_may_be_configured_has_its_page(open_world: OpenWorld, specs: list[str]) -> None:
    if "*" in specs:
        specs = ["*"]
    world = open_world()
    installation, acts = with_sets(world, specs), Noted(world)
    routes = [*OperatorPages(installation, acts, "").routes(), *SourcePages(installation, "").routes()]
    with listening(routes, installation.config.web) as url:
        night = requests.get(url, timeout=30).text
        for key in installation.config.sets:
            ways = {urljoin(url, way) for way in links(night, key)}
            assert len(ways) == 1, key
            (way,) = ways
            page = requests.get(way, timeout=30)
            assert heading(page) == key
            if not key.endswith("/"):
                assert heading(requests.get(way.removesuffix("/"), timeout=30)) == key, "a slash is missing"
            (action,) = re.findall(r'action="([^"]*/harvest)"', page.text)
            pressed = requests.post(urljoin(url, html.unescape(action)), timeout=30, allow_redirects=False)
            assert (pressed.status_code, acts.keys[-1:]) == (303, [key])
            mailed = alert_mail.mail(installation.config, [Alert("a", "b", "c", key=key)], installation.clock())
            (linked,) = re.findall(r"  (https?://\S+/set/\S*)", mailed.get_content())
            assert heading(requests.get(linked.replace(installation.config.web.public_url, url), timeout=30)) == key


def test_sets_with_odd_names_in_a_browser(open_world: OpenWorld, page: Page) -> None:
    world = open_world(min_documents=0, sets=[*ODD])
    for spec in ODD:
        world.source.put(*(f"{number:02}" for number in range(12)), spec=spec)
        world.night(f"src:{spec}")
    released(world)
    for spec in ODD:
        world.source.records[spec].clear()
        world.source.put("00", spec=spec)
        world.night(f"src:{spec}", asked="full")
    installation = world.installation
    with listening(OperatorPages(installation, Here(world), "").routes(), installation.config.web) as url:
        for spec in ODD:
            key = f"src:{spec}"
            page.goto(url)
            page.get_by_role("rowheader", name=key, exact=True).get_by_role("link").click()
            expect(page.get_by_role("heading", level=1)).to_have_text(key)
            asked_back(page, "Dismiss")
            expect(page.get_by_role("button", name="Dismiss")).to_have_count(0)
            expect(page.get_by_role("heading", level=1)).to_have_text(key)
    dismissed = world.rows("SELECT key FROM attempt JOIN harvest_set USING (set_id) WHERE attempt.state = 'dismissed'")
    assert sorted(key for (key,) in dismissed) == sorted(f"src:{spec}" for spec in ODD)


def test_a_slash_that_is_missing_is_added_whatever_comes_before_it(open_world: OpenWorld) -> None:
    world = open_world()
    installation = with_sets(world, ["a", "a?b", "a?b/"])
    with listening(OperatorPages(installation, Noted(world), "").routes(), installation.config.web) as url:
        assert heading(requests.get(f"{url}/set/src:a%3Fb", timeout=30)) == "src:a?b"
        assert heading(requests.get(f"{url}/set/src:a%3Fb%2F", timeout=30)) == "src:a?b"
        assert heading(requests.get(f"{url}/set/src:a%3Fb%2F/", timeout=30)) == "src:a?b/"
        there = requests.get(f"{url}//elsewhere.example/set/src:a", timeout=30, allow_redirects=False)
        assert there.status_code == 404
        there = requests.get(f"{url}/audit?a=b%26c", timeout=30, allow_redirects=False)
        assert there.headers["Location"] == "/audit/?a=b%26c"


def harvested(open_world: OpenWorld) -> World:
    """A product of each set, published."""
    world = open_world(min_documents=0, sets=[*ODD])
    for spec in ODD:
        world.source.put("00", spec=spec)
        world.night(f"src:{spec}")
    released(world)
    return world


def test_the_api_takes_every_key(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARVESTER_TOKEN", "a-token")
    world, token = harvested(open_world), {"Authorization": "Bearer a-token"}
    installation = world.installation
    routes = [*Webhook(installation).routes(), Mount(PATH, consumer_api(installation))]
    with listening(routes, installation.config.web) as url:
        for spec in ODD:
            key, srn = f"src:{spec}", f"src:{spec}:00"
            for way in (quote(srn, safe=""), quote(srn, safe=":") + "/"):
                found = requests.get(f"{url}{PATH}/product/{way}", timeout=30)
                assert (found.status_code, found.json().get("srn")) == (200, srn), way
            chosen = {"sets": [key], "host": "127.0.0.1", "dry_run": True}
            asked = requests.post(f"{url}{PATH}/tasks/check_url/retry/", json=chosen, headers=token, timeout=30)
            assert (asked.status_code, asked.json().get("results")) == (200, 0), asked.text
            record = json.dumps(world.source.record("01")).encode()
            at = f"{url}/webhook/product/{quote(key, safe='')}/"
            pushed = requests.post(at, data=record, headers=token, timeout=30)
            assert (pushed.status_code, pushed.json()) == (200, {"srn": f"{key}:01", "stored": True}), pushed.text


def test_commands_take_every_key(open_world: OpenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = harvested(open_world)
    commanded(world, tmp_path, monkeypatch)
    file = tmp_path / "harvester.toml"
    file.write_text(file.read_text().replace('["one", "two"]', json.dumps(ODD)))  # a text of JSON is one of TOML
    for spec in ODD:
        key = f"src:{spec}"
        told = CliRunner().invoke(app, ["why", f"{key}:00", "--json"])
        assert told.exit_code == 0 and "set harvested" in told.output, told.output
        chosen = CliRunner().invoke(app, ["tasks", "retry", "check_url", key, "--host", "x", "--dry-run", "--json"])
        assert json.loads(chosen.stdout)["results"] == 0, chosen.output
        refused = CliRunner().invoke(app, ["dismiss", key])
        assert refused.exit_code == 1 and "no rejected candidate" in refused.output, refused.output
