"""`docs/api.md`: every example that needs no index is asked, and answered."""

import re
from pathlib import Path

import pytest

from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from tests.consumers.copies import client_of
from tests.sets.conftest import OpenWorld, open_world, source

__all__ = ["open_world", "source"]
PAGE = Path(__file__).parents[2] / "docs" / "api.md"
EXAMPLE = re.compile(r"^```http\nGET (/\S+)\n```$", re.MULTILINE)
OF_AN_INDEX = re.compile(r"/api/v1/(search|find|suggestions)/")  # `test_search.py` asks these, where there is one


def test_every_example_answers(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    world = open_world()
    for title in ("One", "Two"):
        world.source.put("a", "b", title=title, files=("x",))
        world.night()
        version = release.prepare(world.installation)
        assert version
        versions.promote(world.installation, version)
    examples = [path for path in EXAMPLE.findall(PAGE.read_text()) if not OF_AN_INDEX.match(path)]
    assert len(examples) > 5
    client = client_of(world.installation)
    for example in examples:
        path = example.replace("{srn}", "src:one:a")
        answer = client.get(f"https://harvester.example.org{path}", headers={"Authorization": "Bearer s3cret"})
        assert answer.status_code == 200, (example, answer.text)
