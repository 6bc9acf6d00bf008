"""From beyond this machine, in a real browser: signing in at the pages, Dagster's own UI, what other pages can do."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from dagster._core.workspace.load_target import ModuleTarget
from playwright.sync_api import BrowserContext, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from harvester_dagster.cli import dagster_ui
from tests.browser import chromium
from tests.served import served
from tests.sets.conftest import OpenWorld, open_world, source
from tests.web.signing_provider import SigningProvider
from tests.web.test_door_in_browser import FAR
from tests.web.test_login import ELSEWHERE, WHO, LoginSite, acts, provider, serving

__all__ = ["open_world", "provider", "source"]
CHANGE = """() => fetch("/graphql", {method: "POST", headers: {"Content-Type": "application/json"},
    body: '{"query": "mutation { setNuxSeen }"}'}).then(answer => answer.status)"""
SOCKET = """() => new Promise(done => { window.endings ??= [];
    const it = new WebSocket(location.origin.replace("http", "ws") + "/graphql", "graphql-ws");
    it.onopen = () => { endings.push(new Promise(end => { it.onclose = event => end(event.code); })); done("open"); };
    it.onerror = () => done("refused"); })"""
OF_SOMEBODY_ELSE = """ui => Promise.all([
    ...["application/json", "text/plain"].flatMap(type => ["cors", "no-cors"].map(mode =>
        fetch(`${ui}/graphql`, {method: "POST", mode, credentials: "include", headers: {"Content-Type": type},
            body: '{"query": "mutation { setNuxSeen }"}'}).then(answer => answer.type, () => "refused"))),
    fetch(`${ui}/runs`, {credentials: "include"}).then(answer => answer.type, () => "refused"),
    new Promise(done => { const it = new WebSocket(ui.replace("http", "ws") + "/graphql", "graphql-ws");
        it.onopen = () => done("open"); it.onerror = () => done("refused"); })])"""


class Behind(NamedTuple):
    ui: str
    pages: LoginSite


@pytest.fixture(params=["localhost", "127.0.0.1"], ids=["another port", "another host"])
def site(
    request: pytest.FixtureRequest,
    open_world: OpenWorld,
    provider: SigningProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Behind]:
    """Dagster's web application as it is served, to which everybody comes from another machine."""
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ui = f"http://{request.param}:{port}"
    target = ModuleTarget("harvester_dagster.definitions", None, str(tmp_path), None)
    with dagster_ui.application(target) as app, serving(open_world, provider, monkeypatch, dagster_url=ui) as pages:
        of = pages.world.installation
        door = dagster_ui.behind_the_door(app, of.config.web, of.pool, of.clock)

        async def from_far(scope: Scope, receive: Receive, send: Send) -> None:
            await door({**scope, "client": (FAR, 1)}, receive, send)

        with served(from_far, port=port, proxy_headers=False):
            yield Behind(ui, pages)


@pytest.fixture
def browser() -> Iterator[BrowserContext]:
    with chromium() as started:
        context = started.new_context(extra_http_headers=ELSEWHERE)
        context.set_default_timeout(60_000)
        yield context


@pytest.fixture
def evil() -> Iterator[str]:
    async def shown(_: Request) -> HTMLResponse:
        return HTMLResponse("<title>evil</title>")

    with served(Starlette(routes=[Route("/", shown)])) as url:
        yield url.replace("127.0.0.1", "localhost")


def sign_in(page: Page, site: Behind) -> None:
    page.goto(f"{site.pages.url}/login")
    page.get_by_role("link", name="I am Anna").click()
    expect(page.get_by_role("navigation")).to_contain_text("anna (u-1)")


def expect_lineage(page: Page) -> None:
    expect(page.get_by_text("Global asset lineage")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("button", name="accepted_products")).to_be_visible(timeout=60_000)


@pytest.mark.timeout(300)
def test_a_person_signs_in_at_the_pages_works_in_dagsters_ui_and_leaves(
    site: Behind, browser: BrowserContext, evil: str
) -> None:
    page, other = browser.new_page(), browser.new_page()
    sign_in(page, site)
    page.goto(f"{site.ui}/asset-groups/")
    expect_lineage(page)
    assert "ticket" not in page.evaluate("document.referrer + location.href")
    assert (page.evaluate(CHANGE), page.evaluate(SOCKET)) == (200, "open")
    other.goto(evil)
    assert set(other.evaluate(OF_SOMEBODY_ELSE, site.ui)) <= {"refused", "opaque"}
    other.goto(f"{site.pages.url}/")
    assert set(other.evaluate(OF_SOMEBODY_ELSE, site.ui)) <= {"refused", "opaque"}, "the pages are another origin"
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("heading", level=1)).to_have_text("Signed out")
    assert page.evaluate(CHANGE) == 401 and page.evaluate(SOCKET) == "refused"
    assert page.evaluate("endings[0]") == 1008, "the one that was open"
    page.goto(f"{site.ui}/runs")
    expect(page.get_by_role("link", name="I am Anna")).to_be_visible()
    assert [(actor, act) for actor, act, _ in acts(site.pages)] == [
        (WHO, "sign in"),
        (WHO, "dagster"),
        (WHO, "sign out"),
    ]


@pytest.mark.timeout(300)
def test_a_page_of_dagsters_ui_leads_to_the_login_and_back(site: Behind, browser: BrowserContext) -> None:
    page = browser.new_page()
    page.goto(f"{site.ui}/asset-groups/?open-nodes=a%2Fb")
    page.get_by_role("link", name="I am Anna").click()
    expect_lineage(page)
    assert page.url.startswith(f"{site.ui}/asset-groups")
    assert browser.request.get(f"{site.ui}/server_info", headers={"Sec-Fetch-Site": "cross-site"}).status == 403
