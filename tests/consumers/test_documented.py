"""`docs/api.md`: every path has an example, and every example that needs no index is asked, and answered."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from starlette.routing import Mount
from starlette.testclient import TestClient

from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from harvester_dagster.web.api.consumer_api import PATH, consumer_api
from harvester_dagster.web.app import create_app
from harvester_dagster.web.monitoring import Monitoring
from tests.consumers.serving import listening
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import World

__all__ = ["open_world", "source"]
PAGE = Path(__file__).parents[2] / "docs" / "api.md"
REQUESTS = re.findall(r"^```http\n(GET|PUT|POST|DELETE) (/\S+)\n(?:\n(\{.*\})\n)?```$", PAGE.read_text(), re.MULTILINE)
OF_AN_INDEX = re.compile(r"/api/v1/(search|find|suggestions)/")  # `test_search.py` asks these, where there is one
STREAMS = "/api/v1/changes/events/"
ROOT = "https://harvester.example.org"
TOKENS = {"officer": {"token_env": "OFFICER_TOKEN", "scopes": ["takedown"]}}
WEB = {"public_url": ROOT, "page_url": "https://portal.example.org/{srn}", "tokens": TOKENS}


@pytest.fixture
def world(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    monkeypatch.setenv("OFFICER_TOKEN", "an officer's")
    world = open_world(installed={"web": WEB})
    for title in ("One", "Two"):
        world.source.put("a", "b", title=title, files=("x",))
        world.night()
        version = release.prepare(world.installation)
        assert version
        versions.promote(world.installation, version)
    yield world


def test_every_example_answers(world: World) -> None:
    routes = [*Monitoring(world.installation).routes(), Mount(PATH, consumer_api(world.installation))]
    client = TestClient(create_app(world.installation.config.web, routes), ROOT)
    asked = [each for each in REQUESTS if not OF_AN_INDEX.match(each[1]) and each[1] != STREAMS]
    for method, example, body in asked:
        path = example.replace("{srn}", "src:one:a")
        token = "an officer's" if "/takedown/" in path else "s3cret"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = client.request(method, path, headers=headers, content=body or None)
        assert answer.status_code == 200, (method, example, answer.text)
    with listening(world.installation) as api:
        stream = requests.get(api + STREAMS.removeprefix(PATH), stream=True, timeout=10)
        assert 'data: {"seq":3}' in stream.iter_lines(chunk_size=1, decode_unicode=True)
        stream.close()


def test_every_path_has_an_example(world: World) -> None:
    described = consumer_api(world.installation).openapi()["paths"]
    examples = [(method.lower(), example.partition("?")[0]) for method, example, _ in REQUESTS]
    without = [
        (method, path)
        for path, methods in described.items()
        for method in methods
        if not re.search(r"\bfile\b", path)
        and not any(used == method and _shape(path).fullmatch(example) for used, example in examples)
    ]
    assert without == []


def _shape(path: str) -> re.Pattern[str]:
    """Of an example of a path: something stands for each `{…}`."""
    parts = re.split(r"{[^}]+}", path)
    return re.compile(re.escape(PATH) + "[^/?]+".join(map(re.escape, parts)))
