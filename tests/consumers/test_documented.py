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
EXAMPLES = re.findall(r"^```http\nGET (/\S+)\n```$", PAGE.read_text(), re.MULTILINE)
OF_AN_INDEX = re.compile(r"/api/v1/(search|find|suggestions)/")  # `test_search.py` asks these, where there is one
STREAMS = "/api/v1/changes/events/"
ROOT = "https://harvester.example.org"
WEB = {"public_url": ROOT, "page_url": "https://portal.example.org/{srn}"}


@pytest.fixture
def world(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
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
    asked = [path for path in EXAMPLES if not OF_AN_INDEX.match(path) and path != STREAMS]
    for example in asked:
        path = example.replace("{srn}", "src:one:a")
        answer = client.get(path, headers={"Authorization": "Bearer s3cret"})
        assert answer.status_code == 200, (example, answer.text)
    with listening(world.installation) as api:
        stream = requests.get(api + STREAMS.removeprefix(PATH), stream=True, timeout=10)
        assert 'data: {"seq":2}' in stream.iter_lines(chunk_size=1, decode_unicode=True)
        stream.close()


def test_every_path_has_an_example(world: World) -> None:
    described = consumer_api(world.installation).openapi()["paths"]
    examples = [example.partition("?")[0] for example in EXAMPLES]
    without = [
        path
        for path in described
        if not re.search(r"\bfile\b", path) and not any(_shape(path).fullmatch(example) for example in examples)
    ]
    assert without == []


def _shape(path: str) -> re.Pattern[str]:
    """Of an example of a path: something stands for each `{…}`."""
    parts = re.split(r"{[^}]+}", path)
    return re.compile(re.escape(PATH) + "[^/?]+".join(map(re.escape, parts)))
