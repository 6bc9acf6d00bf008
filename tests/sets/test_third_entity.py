"""A third entity, `projects`, with a source of its own and a task: rows of the catalog, and no other change."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from opensearchpy import OpenSearch

from harvester_dagster import definitions
from harvester_dagster.catalog import CATALOG, Catalog, Entity
from harvester_dagster.documents.making import Making
from harvester_dagster.documents.output import Enriched
from harvester_dagster.explain.why import why
from harvester_dagster.releases import release
from harvester_dagster.search import build
from harvester_dagster.sets import versions
from harvester_dagster.sources import json_api
from harvester_dagster.sources.kind import Document, Record, Request
from harvester_dagster.tasks.published import PublishedField
from harvester_dagster.tasks.task import Outcome
from tests.sets.conftest import OpenWorld
from tests.sets.world import Scripted, World, check


def read(external_id: str, resource: Mapping[str, Any], _request: Request) -> Record:
    if resource["meta"]["status"] == "deleted":
        return Record(external_id, None, ())
    name = resource["attributes"]["title"]
    return Record(external_id, None, (Document("projects", external_id, "active", {"name": name}),))


def extract(page: bytes, indices: Sequence[int], request: Request) -> Iterator[Any]:
    return json_api.extract(page, indices, request, read)


def project_output(project: Enriched, _parts: Any, making: Making) -> dict[str, Any]:
    own = {"srn": project.srn, "entity": making.entity, "title": project.properties["name"]}
    return own | making.fields(project.srn, project.results)


PROJECTS = Entity(
    "projects",
    "project",
    "What people work on",
    project_output,
    schema=lambda: {"type": "object", "required": ["srn", "code"], "properties": {"code": {"type": "string"}}},
    mapping={"title": {"type": "text"}, "srn": {"type": "keyword"}},
    queries=({"name": "all", "query": {"match_all": {}}, "minimum_hits": 1},),
    index_form=lambda output, _note: {"indexed_as": f"a project, {output['title']}"},
)
ANY = replace(PROJECTS, schema=None)
LETTERS = PublishedField("letters", {"type": ["integer", "null"]}, mapping={"type": "integer"})


@pytest.fixture
def catalogue() -> Catalog:
    letters = Scripted("count_letters", "projects", reads=("$.name",), publishes=(LETTERS,))
    letters.answer = lambda item: Outcome("success", {"letters": len(item.subject.properties["name"])})
    return replace(CATALOG, tasks=()).with_(
        entities=(ANY,),
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


def test_it_has_an_index_of_its_own(
    open_world: OpenWorld, catalogue: Catalog, opensearch_url: str, indexed: dict[str, Any]
) -> None:
    world = open_world(catalog=catalogue, kind="projects", installed=indexed)
    world.source.put("a", "b", title="Bridges")
    world.source.put("c", title="Roads")
    world.night()
    version = release.prepare(world.installation)
    assert version is not None
    report = build.bring_up(world.installation, version)
    assert (report.outcome, {made.entity: made.documents for made in report.entities}) == (
        "ready",
        {"products": 0, "projects": 3},
    )
    release.publish(world.installation, version)
    with OpenSearch(opensearch_url) as client:
        query = {"bool": {"must": [{"match": {"title": "bridges"}}, {"term": {"letters": 7}}]}}
        found = client.search(index=f"{indexed['platform']}-projects", body={"query": query})["hits"]["hits"]
    assert {hit["_id"]: hit["_source"]["indexed_as"] for hit in found} == {
        "src:one:a": "a project, Bridges",
        "src:one:b": "a project, Bridges",
    }
    told = {stage.stage: stage for stage in why(world.installation, "src:one:a")}
    assert told["task count_letters"].detail == {"letters": 7, "attempts": 1}
    assert told["index"].outcome == f"sent to {report.entities[1].name}"


def test_what_does_not_keep_to_its_schema_is_named_by_what_it_is(open_world: OpenWorld, catalogue: Catalog) -> None:
    strict = replace(catalogue, entities=(*CATALOG.entities, PROJECTS))
    world = open_world(catalog=strict, kind="projects", min_documents=0)
    world.source.put("a")
    world.night()
    told = {stage.stage: stage for stage in why(world.installation, "src:one:a")}
    assert told["output"].reason == 'project: "code" is a required property'


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
