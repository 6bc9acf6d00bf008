"""Every asset says with which version of the domain it is made, and where its code stands."""

from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from assets import code
from harvester_dagster.access.decide import rules
from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config, Index, Metastore, Output, parse
from harvester_dagster.definitions import build
from harvester_dagster.tasks.table import TASKS

ROOT = Path(__file__).parents[2]
SOURCES = {
    "a": {"kind": "oai-pmh", "url": "https://example.org/oai", "sets": ["one", "two"]},
    "b": {"kind": "sharekit", "url": "https://example.org/api", "sets": ["three"]},
}


def versions(config: Config) -> dict[str, str | None]:
    graph = build(config).resolve_asset_graph()
    return {key.to_user_string(): graph.get(key).code_version for key in graph.get_all_asset_keys()}


def differing(before: Config, after: Config) -> set[str]:
    """The assets that are made with another version."""
    old, new = versions(before), versions(after)
    return {name for name in old | new if old.get(name) != new.get(name)}


def test_every_asset_has_a_version_where_the_domain_has_one() -> None:
    found = versions(parse({"sources": SOURCES, "metastore": {"m": {}}}))
    assert {name for name, version in found.items() if version is None} == {"harvest", "journals"}
    assert {found[task.name] for task in TASKS} == {str(task.version) for task in TASKS}
    assert found["products/documents"] == found["files/documents"] == "lom/2; sharekit/2"
    assert found["products/set"] == found["files/set"] == found["deactivate_invalid_products"]
    assert found["access_decisions"] == str(rules.VERSION)


def test_documents_are_of_the_mappings_that_are_configured() -> None:
    sharekit = {"sources": {"b": SOURCES["b"]}}
    assert versions(Config())["products/documents"] is None
    assert versions(parse(sharekit))["products/documents"] == "sharekit/2"
    changed = {"sources": {"b": {**SOURCES["b"], "test_organizations": ["Test"]}}, "production": True}
    assert differing(parse(sharekit), parse(changed)) == {"products/documents", "files/documents"}


def test_a_setting_of_the_outputs_or_of_the_index_is_part_of_their_version_only() -> None:
    outputs = {"products/set", "files/set", "deactivate_invalid_products"}
    assert differing(Config(), Config(output=Output(author_emails=True))) == outputs
    assert differing(Config(), Config(index=Index(shards=3))) == {"create_opensearch_index"}
    assert differing(Config(), Config(index=Index(replicas=3))) == set(), "an index is not built anew for it"


def test_definitions_load_though_the_configured_mapping_is_not_installed() -> None:
    assert versions(Config(index=Index(mapping="nowhere")))["create_opensearch_index"] is None


@pytest.fixture(scope="module")
def references() -> dict[str, list[tuple[Path, int]]]:
    graph = build(Config(metastore={"m": Metastore()})).resolve_asset_graph()
    found = {}
    for key in graph.get_all_asset_keys():
        value = graph.get(key).metadata["dagster/code_references"]
        assert isinstance(value, dg.CodeReferencesMetadataValue)
        found[key.to_user_string()] = [
            (Path(place.file_path), place.line_number or 0)
            for place in value.code_references
            if isinstance(place, dg.LocalFileCodeReference)
        ]
    return found


def test_every_asset_refers_to_a_function_of_this_repository(references: dict[str, list[tuple[Path, int]]]) -> None:
    for name, places in references.items():
        assert places, name
        for file, line in places:
            assert file.is_relative_to(ROOT), name
            assert "def " in "".join(file.read_text(encoding="utf-8").splitlines()[line - 1 : line + 40]), name


def test_a_task_refers_to_its_own_file_first(references: dict[str, list[tuple[Path, int]]]) -> None:
    own = {task.name: references[task.name][0][0].relative_to(ROOT).as_posix() for task in TASKS}
    assert own == {task.name: f"harvester_dagster/tasks/{task.name}.py" for task in TASKS}


def test_what_is_no_function_has_no_place() -> None:
    assert code.reference(partial(print), "a partial") == {}
    assert CATALOG.mapping_versions(Config()) == ()
