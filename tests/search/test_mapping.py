"""Plug-ins: the example package installed and used, and what a broken one leads to."""

import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.config import Index
from harvester_dagster.search import build, mapping, swap
from harvester_dagster.search.mapping import BadMapping
from tests.search.conftest import OpenWorld
from tests.search.world import product

EXAMPLE = Path(__file__).parents[2] / "examples" / "search_mapping"


@pytest.fixture
def campus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example, installed as its users would, into a folder of the test's own."""
    shutil.copytree(EXAMPLE, tmp_path / "source")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run(
        [*pip, "--target", str(site), str(tmp_path / "source")], check=True, capture_output=True, timeout=120
    )
    monkeypatch.syspath_prepend(str(site))


def test_the_example_package_serves(campus: None, open_world: OpenWorld) -> None:
    with open_world(mapping="campus") as world:
        world.accept({f"p{n}": product(f"p{n}", "Boeken") for n in range(3)})
        version = world.prepare()
        report = build.bring_up(world.installation, version)
        assert (report.outcome, report.reason) == (
            "failed",
            f"{world.alias.removesuffix('products')}files--main-1: test queries find too little (active: 0 of 1 hits)",
        )
    with open_world(mapping="campus") as world:
        file = {**product("f", "Een bestand"), "srn": "a:one:p0:f", "entity": "files"}
        world.accept({"p0:f": file}, entity="files")
        version = world.prepare()
        report = build.bring_up(world.installation, version)
        assert (report.outcome, report.reason) == ("ready", "")
        assert {made.entity: made.documents for made in report.entities} == {"products": 3, "files": 1}
        swap.publish(world.installation, version)
        found = world.client.search(index=world.alias, body={"query": {"match": {"title": "boek"}}})
        assert found["hits"]["total"]["value"] == 3
        assert (
            "output_hash"
            in world.client.indices.get_mapping(index=world.alias)[f"{world.alias}--main-2"]["mappings"]["properties"]
        )


def _plugged(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    points = EntryPoints([EntryPoint("own", value, mapping.GROUP)])
    monkeypatch.setattr(mapping, "entry_points", lambda group: points)


def test_a_name_that_is_not_installed_names_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    _plugged(monkeypatch, "json:dumps")
    with pytest.raises(BadMapping, match=r'"campus": no such entry point of .* \(own\)'):
        mapping.definition("products", Index(mapping="campus"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no_such_module:definition", "its package does not load"),
        ("json:no_such_name", "its package does not load"),
        ("string:digits", "is not a function"),
    ],
)
def test_a_package_that_does_not_load(monkeypatch: pytest.MonkeyPatch, value: str, said: str) -> None:
    _plugged(monkeypatch, value)
    with pytest.raises(BadMapping, match=said):
        mapping.definition("products", Index(mapping="own"))


@pytest.mark.parametrize(
    "given",
    [
        [],
        {"settings": {}},
        {"settings": {}, "mappings": {}, "more": 1},
        {"settings": [], "mappings": {}},
        {"settings": {}, "mappings": {}, "queries": [{"query": {}}]},
    ],
    ids=str,
)
def test_a_wrong_shape_is_told(monkeypatch: pytest.MonkeyPatch, given: Any) -> None:
    monkeypatch.setattr(mapping, "_function", lambda name: lambda entity, index: given)
    with pytest.raises(BadMapping):
        mapping.definition("products", Index(mapping="own"))


def test_a_broken_mapping_fails_the_index_and_not_the_night(open_world: OpenWorld) -> None:
    with open_world(mapping="gone") as world:
        world.accept({"p1": product("p1", "Boek")})
        report = build.bring_up(world.installation, world.prepare())
        assert (report.outcome, "no such entry point" in report.reason) == ("failed", True)


@pytest.mark.parametrize(
    "settings",
    [
        {"index": {"number_of_replicas": 2, "refresh_interval": "5s"}},
        {"number_of_replicas": 2, "index.refresh_interval": "5s"},
    ],
)
def test_what_can_change_on_the_way_does_not_build_anew(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    def given(extra: Any) -> mapping.Definition:
        monkeypatch.setattr(mapping, "_function", lambda name: lambda *_: {"settings": extra, "mappings": {}})
        made = mapping.definition("products", Index())
        assert made is not None
        return made

    made = given(settings)
    assert (made.replicas, made.refresh_interval, dict(made.settings)) == (2, "5s", {"index": {}})
    assert made.digest == given({}).digest != given({"index": {"number_of_shards": 2}}).digest
