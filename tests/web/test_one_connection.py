"""Every page and every route of the API, over a store to which there is one connection: nobody asks for a second
while holding one. Where eight ask at once each would wait for another's, and all of them for the pool's patience."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import requests
from starlette.routing import BaseRoute, Match, Route

from harvester_dagster.installation import USUAL
from harvester_dagster.web.serving import routes_of
from tests.consumers.test_documented import REQUESTS, STREAMS, TOKENS
from tests.sets.conftest import OpenWorld, indexed, open_world, source
from tests.sets.world import KEY, World
from tests.web.listening import listening
from tests.web.test_accessibility import ACCESS, PATHS, peopled
from tests.web.test_operator_pages import Here, released

__all__ = ["indexed", "open_world", "source"]
OTHERS = (
    *(
        "/access/runs/1/",
        "/health",
        "/ready",
        "/metrics",
        "/harvest/status.json",
        f"/pictures/bodies/aa/preview.jpg?of={KEY}:a",
    ),
    "/failures/retried/?task=check_url&reason=x&results=1&at=2026-03-01T00:00:00Z",
)
PRESSED = (
    ("/document/overwrite", {"srn": f"{KEY}:00", "fields": '{"title": "x"}'}),
    ("/document/overwrite/clear", {"srn": f"{KEY}:00"}),
    ("/failures/retry", {"task": "check_url", "reason": "answered 404", "host": "127.0.0.1"}),
    (f"/set/{KEY}/dismiss", {"attempt": "1"}),
    ("/hold", {"why": "x"}),
    ("/hold/end", {"since": "2026-03-01T00:00:00+00:00"}),
)
"""What is done at once, without a run in Dagster."""


class Launcher(Here):
    def launch(self, endpoint: str, mode: str, request: int) -> None:
        """No run of the enricher begins here."""


@pytest.fixture
def world(open_world: OpenWorld, indexed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> World:
    """Over the store of another, which has something for every page to show."""
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    monkeypatch.setenv("OFFICER_TOKEN", "an officer's")
    usual = peopled(open_world, indexed)
    usual.source.put("a", spec="two")
    usual.night("src:two")
    released(usual)
    installed = {**indexed, "web": {"tokens": TOKENS}}
    return open_world(min_documents=0, installed=installed, limits=replace(USUAL, connections=1))


def test_no_page_and_no_route_asks_for_a_second_connection(world: World) -> None:
    routes = routes_of(world.installation, Launcher(world))
    paths = (*PATHS, *ACCESS, *OTHERS)
    assert not_walked(routes, paths) == ["/run/{run_id}/events"], "a stream, that asks the store for nothing"
    with listening(routes, world.installation.config.web) as url:
        for path in paths:
            answer = requests.get(url + path, timeout=60)
            assert answer.status_code < 500, (path, answer.text)
        for path, form in PRESSED:
            answer = requests.post(url + path, data=form, timeout=60)
            assert answer.status_code < 500, (path, answer.text)
        for method, path, body in REQUESTS:
            if path != STREAMS:
                answer = asked(url, method, path.replace("{srn}", f"{KEY}:a"), body)
                assert answer.status_code < 500, (method, path, answer.text)


def asked(url: str, method: str, path: str, body: str) -> requests.Response:
    token = "an officer's" if "/takedown/" in path else "s3cret"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return requests.request(method, url + path, headers=headers, data=body or None, timeout=60)


def not_walked(routes: Sequence[BaseRoute], paths: Sequence[str]) -> list[str]:
    """Pages to which none of the paths leads."""
    pages = [route for route in routes if isinstance(route, Route) and "GET" in (route.methods or ())]
    scopes = [{"type": "http", "method": "GET", "path": path.partition("?")[0]} for path in paths]
    return [page.path for page in pages if not any(page.matches(scope)[0] is Match.FULL for scope in scopes)]
