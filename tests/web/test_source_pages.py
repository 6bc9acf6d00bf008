"""The pages of sources on real servers: what harvests cost, and asking a server what it offers, within bounds."""

import socket
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import requests
from playwright.sync_api import expect

from harvester_dagster.demo.server import serve
from harvester_dagster.explain import source_check
from harvester_dagster.failures import PermanentError, RefusedError, TransientError
from harvester_dagster.outside.http import Budget, Outside
from harvester_dagster.publication import audit
from harvester_dagster.web.source_pages import SourcePages
from tests.outside.hostile_site import Asked, answer
from tests.outside.hostile_site import Site as HostileSite
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, World
from tests.web.listening import listening, opened_page

__all__ = ["open_world", "source"]
EVIL = "<img src=x onerror=document.title='hacked'>‮" + "y" * 5_000


class Served(NamedTuple):
    url: str
    world: World
    oai: str

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=30)

    def post(self, path: str, **form: str) -> requests.Response:
        return requests.post(self.url + path, data=form, timeout=60)

    def audited(self) -> list[tuple[str, str, str]]:
        with self.world.installation.pool.connection() as connection:
            return [(row.act, row.subject, row.outcome) for row in reversed(audit.rows(connection))]


@pytest.fixture
def served(open_world: OpenWorld) -> Iterator[Served]:
    with serve(slowness=0) as server:
        oai = f"{server.url}/edurep/oai"
        world = open_world(installed={"sources": {"edurep": {"kind": "oai-pmh", "url": oai, "sets": ["l4l"]}}})
        with listening(SourcePages(world.installation, "http://dagster.example:3000").routes()) as url:
            yield Served(url, world, oai)


@pytest.fixture
def scripted(open_world: OpenWorld) -> Iterator[Served]:
    world = open_world(min_documents=0)
    with listening(SourcePages(world.installation, "").routes()) as url:
        yield Served(url, world, "")


def test_a_configured_source_is_asked_what_it_offers(served: Served) -> None:
    found = served.post("/source/edurep/check")
    assert found.status_code == 200 and "metadata formats: " in found.text
    assert served.audited() == [("source-check", served.oai, "done")]
    assert served.post("/source/nowhere/check").status_code == 404


def test_the_block_is_the_one_of_the_command(served: Served) -> None:
    config, kinds = served.world.installation.config, served.world.installation.catalog.kinds
    offer = source_check.ask_configured(config, kinds, config.sources["edurep"])
    (source,) = tomllib.loads(offer.block)["sources"].values()
    assert source["url"] == served.oai
    with opened_page() as page:
        page.goto(f"{served.url}/source/edurep/")
        page.get_by_role("button", name="Ask what it offers").click()
        expect(page.locator("pre.block")).to_have_text(offer.block)
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()


def test_a_channel_of_sharekit_is_asked_at_its_whole_address(scripted: Served) -> None:
    scripted.world.source.put("a", title=EVIL)
    found = scripted.post("/source/src/check")
    assert found.status_code == 200 and "speaks JSON:API as Sharekit does; set one" in found.text
    assert "<img src=x" not in found.text


def test_a_typed_address_must_be_public_whatever_the_configuration_allows(served: Served) -> None:
    assert served.world.installation.config.network.allow_hosts == ("127.0.0.1",)
    found = served.post("/sources/check", kind="oai-pmh", url=served.oai)
    assert found.status_code == 502 and "only public addresses" in found.text and "127.0.0.1 is " in found.text
    assert "next harvest" not in found.text and "whatever <code>allow_hosts" not in found.text
    assert f"harvester source check {served.oai} --kind oai-pmh" in found.text
    assert served.audited()[-1][0::2] == ("source-check", "refused")


@pytest.mark.parametrize(
    ("kind", "url"), [("oai-pmh", "ftp://x"), ("oai-pmh", ""), ("none", "https://example.org"), ("oai-pmh", EVIL)]
)
def test_what_cannot_be_asked_is_said(scripted: Served, kind: str, url: str) -> None:
    found = scripted.post("/sources/check", kind=kind, url=url)
    assert found.status_code == 400 and "<img src=x" not in found.text
    assert scripted.audited() == []


def test_one_at_a_time(open_world: OpenWorld) -> None:
    site, asked, go = HostileSite(), threading.Event(), threading.Event()

    def hold(connection: socket.socket, _asked: Asked) -> None:
        asked.set()
        go.wait(30)
        connection.shutdown(socket.SHUT_RDWR)

    site["/oai?verb=Identify"] = hold
    rows = {"kind": "oai-pmh", "url": site.url("/oai"), "sets": ["a"]}
    world = open_world(installed={"sources": {"slow": rows}})
    with listening(SourcePages(world.installation, "").routes()) as url, ThreadPoolExecutor(1) as pool:
        first = pool.submit(requests.post, f"{url}/source/slow/check", timeout=120)
        assert asked.wait(30)
        second = requests.post(f"{url}/source/slow/check", timeout=30)
        site["/oai?verb=Identify"] = answer(404)
        go.set()
        assert second.status_code == 429 and "one at a time" in second.text
        assert first.result().status_code == 502


def test_what_harvests_cost_is_counted(scripted: Served) -> None:
    world = scripted.world
    assert "not harvested yet" in scripted.get("/sources/").text
    assert "first night does it" in scripted.get("/source/src/").text
    world.source.put("a", "b")
    world.night()
    requests_made, read, records = world.rows("SELECT requests, bytes, records FROM attempt")[0]
    assert (requests_made, records) == (sum("repoItems" in path for path in world.source.asked), 2) and read > 100
    text = scripted.get("/source/src/").text
    assert f'<td class="number">{requests_made}</td>' in text and f'href="/set/{KEY}/"' in text
    assert "sharekit" in scripted.get("/sources/").text
    assert scripted.get("/source/nowhere/").status_code == 404


def test_problems_of_records_are_shown_as_text(scripted: Served) -> None:
    world = scripted.world
    world.source.put("a")
    world.night()
    attempt = world.one("SELECT max(attempt_id) FROM attempt")
    world.change(
        "INSERT INTO problem (attempt_id, external_id, kind, reason) VALUES (%s, %s, 'unreadable', %s)",
        *(attempt, EVIL[:900], EVIL),
    )
    with opened_page() as page:
        page.goto(f"{scripted.url}/source/src/")
        expect(page.locator("main")).to_contain_text("1 unreadable")
        expect(page.get_by_role("link", name="<img src=x")).to_be_visible()
        assert page.title() != "hacked"
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_budget_bounds_requests_and_seconds() -> None:
    site = HostileSite()
    site["/a"] = answer(200, b"x")
    url = site.url("/a")
    with Outside(allow_hosts=("127.0.0.1",), per_host_per_second=1000, budget=Budget(3, 60)) as outside:
        for _ in range(3):
            outside.get(url)
        with pytest.raises(RefusedError, match="more than 3 requests"):
            outside.get(url)
    late = Outside(allow_hosts=("127.0.0.1",), budget=Budget(3, 0))
    with late, pytest.raises(RefusedError, match="more than 0 seconds"):
        late.get(url)
    assert len(site.asked) == 3


def test_a_budget_bounds_waiting_and_what_is_read() -> None:
    site = HostileSite()
    site["/busy"] = answer(429, Retry_After="60")
    site["/long"] = answer(200, b"x" * 2_000)
    begun = time.monotonic()
    with Outside(allow_hosts=("127.0.0.1",), per_host_per_second=1000, budget=Budget(9, 30, 1_000)) as outside:
        with pytest.raises(PermanentError, match="larger"):
            outside.get(site.url("/long"))
        with pytest.raises(TransientError, match="429"):
            outside.get(site.url("/busy"), patience=120)
    assert time.monotonic() - begun < 30
