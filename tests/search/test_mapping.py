"""Plug-ins: the example package installed and used, and what a broken one leads to."""

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config, Index
from harvester_dagster.releases import release
from harvester_dagster.search import build, mapping
from harvester_dagster.search.mapping import BadMapping
from tests.search.conftest import OpenWorld
from tests.search.world import product

OWN = Config(platform="publinova", index=Index(mapping="own", shards=3))
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
        release.publish(world.installation, version)
        found = world.client.search(index=world.alias, body={"query": {"match": {"title": "boek"}}})
        assert found["hits"]["total"]["value"] == 3
        assert (
            "output_hash"
            in world.client.indices.get_mapping(index=world.alias)[f"{world.alias}--main-2"]["mappings"]["properties"]
        )


Plug = Callable[[str], None]


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plug:
    """Installs a package whose entry point `own` has this value, as an installer leaves it."""

    def plugged(value: str) -> None:
        metadata = tmp_path / "site" / "own-1.dist-info"
        metadata.mkdir(parents=True, exist_ok=True)
        (metadata / "METADATA").write_text("Name: own\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(f"[{mapping.GROUP}]\nown = {value}\n")
        monkeypatch.syspath_prepend(str(metadata.parent))

    return plugged


@pytest.fixture
def give(tmp_path: Path, plug: Plug) -> Callable[[Any], None]:
    """Installs a package whose mapping gives this, whatever it is asked for."""

    def giving(given: Any) -> None:
        module = f"own_{uuid.uuid4().hex}"
        plug(f"{module}:definition")
        code = f"def definition(entity, index):\n    return {given!r}\n"
        (tmp_path / "site" / f"{module}.py").write_text(code)

    return giving


def test_a_name_that_is_not_installed_names_those_that_are(plug: Plug) -> None:
    plug("json:dumps")
    with pytest.raises(BadMapping, match=r'"campus": no such entry point of .* \(own\)'):
        mapping.definition(CATALOG, "products", Config(index=Index(mapping="campus")))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no_such_module:definition", "its package does not load"),
        ("json:no_such_name", "its package does not load"),
        ("string:digits", "is not a function"),
    ],
)
def test_a_package_that_does_not_load(plug: Plug, value: str, said: str) -> None:
    plug(value)
    with pytest.raises(BadMapping, match=said):
        mapping.definition(CATALOG, "products", OWN)


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
def test_a_wrong_shape_is_told(give: Callable[[Any], None], given: Any) -> None:
    give(given)
    with pytest.raises(BadMapping):
        mapping.definition(CATALOG, "products", OWN)


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
def test_what_can_change_on_the_way_does_not_build_anew(give: Callable[[Any], None], settings: Any) -> None:
    def given(extra: Any) -> mapping.Definition:
        give({"settings": extra, "mappings": {}})
        made = mapping.definition(CATALOG, "products", OWN)
        assert made is not None
        return made

    made = given(settings)
    assert (made.replicas, made.refresh_interval, dict(made.settings)) == (2, "5s", {"index": {}})
    assert made.digest == given({}).digest != given({"index": {"number_of_shards": 2}}).digest


@pytest.mark.parametrize(
    ("signature", "told"),
    [
        ("entity, index", {}),
        ("entity, index, platform", {"platform": "publinova"}),
        ("entity, index, *, platform", {"platform": "publinova"}),
        ("entity, index, **also", {"platform": "publinova"}),
    ],
)
def test_it_is_told_the_entity_the_settings_and_the_platform(
    tmp_path: Path, plug: Plug, signature: str, told: dict[str, str]
) -> None:
    module = f"own_{uuid.uuid4().hex}"
    plug(f"{module}:definition")
    given = "{'entity': entity, 'shards': index.shards, **locals().get('also', {'platform': locals().get('platform')})}"
    code = f"def definition({signature}):\n    return {{'settings': {{}}, 'mappings': {{'_meta': {given}}}}}\n"
    (tmp_path / "site" / f"{module}.py").write_text(code)
    made = mapping.definition(CATALOG, "products", OWN)
    assert made is not None
    assert {name: value for name, value in made.mappings["_meta"].items() if value} == {
        "entity": "products",
        "shards": 3,
        **told,
    }


def test_a_mapping_that_fails_is_told(tmp_path: Path, plug: Plug) -> None:
    module = f"own_{uuid.uuid4().hex}"
    plug(f"{module}:definition")
    (tmp_path / "site" / f"{module}.py").write_text("def definition(entity, index):\n    raise KeyError('shards')\n")
    with pytest.raises(BadMapping, match=r"the search mapping 'own' for products fails: KeyError\('shards'\)"):
        mapping.definition(CATALOG, "products", OWN)
