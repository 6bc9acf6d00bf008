"""From beyond this machine: a real browser asks for the token once, and takes it along, into WebSockets too."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Error
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from harvester_dagster.config import Web
from harvester_dagster.publication.audit import Doer
from harvester_dagster.web.door import Door
from tests.browser import chromium
from tests.served import served

FAR = "192.0.2.7"
POST = """() => fetch("/graphql", {method: "POST", headers: {"Content-Type": "application/json"},
    body: '{"query": "mutation { launchRun }"}'}).then(answer => answer.status)"""
SOCKET = """() => new Promise(done => { const it = new WebSocket(location.origin.replace("http", "ws") + "/graphql",
    "graphql-ws"); it.onmessage = message => done(message.data); it.onerror = () => done("refused"); })"""


async def shown(_: Request) -> HTMLResponse:
    return HTMLResponse("<title>shown</title>")


async def heard(socket: WebSocket) -> None:
    await socket.accept(subprotocol="graphql-ws")
    await socket.send_text("heard")
    await socket.close()


@pytest.fixture
def recorded() -> list[tuple[Doer, str]]:
    return []


@pytest.fixture
def far(recorded: list[tuple[Doer, str]]) -> Iterator[str]:
    """An application behind the door, to which everybody comes from another machine."""
    routes = [Route("/{path:path}", shown, methods=["GET", "POST"]), WebSocketRoute("/graphql", heard)]
    door = Door(Starlette(routes=routes), Web(), lambda doer, change: recorded.append((doer, change)))

    async def from_far(scope: Scope, receive: Receive, send: Send) -> None:
        await door({**scope, "client": (FAR, 1)}, receive, send)

    with served(from_far, proxy_headers=False) as url:
        yield url


def test_the_token_is_typed_once(far: str, recorded: list[tuple[Doer, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    with chromium() as browser:
        with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
            browser.new_page().goto(far)
        for password, status in (("wrong", 401), ("s3cret", 200)):
            page = browser.new_context(http_credentials={"username": "anybody", "password": password}).new_page()
            answer = page.goto(far)
            assert answer is not None and answer.status == status
        assert page.evaluate(SOCKET) == "heard"
        assert page.evaluate(POST) == 200
    assert recorded == [(Doer("HARVESTER_TOKEN", FAR), "launchRun")]
