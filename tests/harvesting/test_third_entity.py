"""A third entity, `projects`, with a source of its own and a task: rows of the catalog, and no other change."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from harvester_dagster import definitions
from harvester_dagster.catalog import CATALOG, Catalog, Entity
from harvester_dagster.config import Config
from harvester_dagster.documents.output import Enriched
from harvester_dagster.sources import json_api
from harvester_dagster.sources.source import Document, Record, Request
from harvester_dagster.tasks.task import Outcome
from harvester_dagster.versions import release, versions
from tests.harvesting.conftest import OpenWorld
from tests.harvesting.world import Scripted, World, check


def read(external_id: str, resource: Mapping[str, Any], _request: Request) -> Record:
    if resource["meta"]["status"] == "deleted":
        return Record(external_id, None, ())
    name = resource["attributes"]["title"]
    return Record(external_id, None, (Document("projects", external_id, "active", {"name": name}),))


def extract(page: bytes, indices: Sequence[int], request: Request) -> Iterator[Any]:
    return json_api.extract(page, indices, request, read)


def project_output(project: Enriched, _parts: Any, _config: Config) -> dict[str, Any]:
    counted = project.results.get("count_letters")
    return {
        "srn": project.srn,
        "entity": "projects",
        "title": project.properties["name"],
        "letters": counted.data["letters"] if counted and counted.data else None,
    }


@pytest.fixture
def catalogue() -> Catalog:
    letters = Scripted("count_letters", "projects", reads=("$.name",))
    letters.answer = lambda item: Outcome("success", {"letters": len(item.subject.properties["name"])})
    return replace(CATALOG, tasks=()).with_(
        entities=(Entity("projects", "What people work on", project_output),),
        kinds={"projects": replace(CATALOG.kinds["sharekit"], name="projects", entity="projects", extract=extract)},
        tasks=(letters.row,),
    )


@pytest.fixture
def world(open_world: OpenWorld, catalogue: Catalog) -> World:
    return open_world(catalog=catalogue, kind="projects", min_documents=3)


def test_it_is_harvested_enriched_judged_and_published(world: World) -> None:
    world.source.put("a", "b", "c", "d")
    assert world.night().published == {"projects": 4}
    assert world.outputs()["a"] == {"srn": "src:one:a", "entity": "projects", "title": "Title of a", "letters": 10}
    world.source.put("a", title="Short")
    world.source.delete("b")
    world.night()
    assert world.attempts()[-1] == ("delta", "rejected"), "three after four"
    world.source.put("b")
    outcome = world.night()
    assert outcome.attempt is not None and outcome.attempt.counts is not None
    assert outcome.attempt.counts["projects"]["changed"] == 1
    assert world.outputs()["a"]["letters"] == 5
    version = release.prepare(world.installation)
    assert version is not None and versions.promote(world.installation, version).is_current
    check(world)
    assert world.outputs() == world.rebuilt()


def test_dagster_has_its_assets_and_materializes_them(
    world: World, catalogue: Catalog, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = world.installation.config
    monkeypatch.setenv(config.store.postgres_url_env, database)
    monkeypatch.setenv("HARVESTER_POSTGRES_URL", database)
    world.source.put("a", "b", "c")
    built = definitions.build(config, catalogue)
    keys = {key.to_user_string() for key in built.resolve_asset_graph().get_all_asset_keys()}
    assert {"projects/documents", "count_letters", "projects/set"} <= keys
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("source_set", list(config.sets))
        result = built.resolve_job_def("harvest_set").execute_in_process(instance=instance, partition_key="src:one")
        assert result.success
        checks = {
            check.asset_key.to_user_string(): check.passed
            for check in result.get_asset_check_evaluations()
            if check.check_name == "check_set_integrity"
        }
        assert checks == {"products/set": True, "files/set": True, "projects/set": True}
        assert built.resolve_job_def("release").execute_in_process(instance=instance).success
    assert set(world.titles("src:one")) == set()
    assert {name: body["letters"] for name, body in world.outputs().items()} == {"a": 10, "b": 10, "c": 10}
    with world.installation.pool.connection() as connection:
        assert versions.current(connection) is not None
    check(world)
