"""A task that is one file and one row: its value reaches consumers, the schema, the index and `why` by itself.

The task is the one that CONTRIBUTING shows.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opensearchpy import OpenSearch

from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.config import Config
from harvester_dagster.documents.output import Enriched, file_output, product_output
from harvester_dagster.explain.why import Stage, why
from harvester_dagster.releases import release
from harvester_dagster.search import build, mapping
from harvester_dagster.tasks import check_url
from harvester_dagster.tasks.published import PublishedField
from harvester_dagster.tasks.task import Context, Item, Outcome, Result, Task
from tests.sets.conftest import OpenWorld
from tests.sets.world import CHECKED, NIGHT, Scripted, World, catalog, check

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


def _example() -> Task:
    """The task that CONTRIBUTING shows."""
    (code,) = re.findall(r"^```python\n(.*?)^```", CONTRIBUTING.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    module = ModuleType("count_words")
    exec(compile(code, str(CONTRIBUTING), "exec"), module.__dict__)
    task: Task = module.TASK
    return task


TASK = _example()
WITH_IT = catalog(check_url.TASK, TASK)
LETTERS = PublishedField(
    "letters",
    {"type": "integer"},
    optional=True,
    place="main",
    mapping={"type": "keyword"},
    index_form=lambda letters: f"{letters} letters",
)


def _told(world: World, srn: str) -> dict[str, Stage]:
    return {stage.stage: stage for stage in why(world.installation, srn)}


def _words(world: World) -> dict[str, Any]:
    return {name: body["description_words"] for name, body in world.outputs().items() if body["entity"] == "products"}


def test_it_reaches_outputs_and_why(open_world: OpenWorld) -> None:
    world = open_world(catalog=WITH_IT)
    world.source.put("a", abstract="Three short words")
    world.source.put("b")
    assert world.night().published == {"products": 2, "files": 2}
    assert _words(world) == {"a": 3, "b": None}
    told = _told(world, "src:one:a")["task count_words"]
    assert (told.outcome, told.detail) == ("success", {"words": 3, "attempts": 1})
    told = _told(world, "src:one:b")["task count_words"]
    assert (told.outcome, told.reason) == ("not applicable", "no description")
    world.source.put("a", abstract="Two words")
    world.night()
    assert _words(world) == {"a": 2, "b": None}
    check(world)
    assert world.outputs() == world.rebuilt()


def test_a_store_that_was_made_without_it_gets_its_field_everywhere(open_world: OpenWorld) -> None:
    before = open_world(catalog=CHECKED)
    before.source.put("a", abstract="Three short words")
    before.source.put("b")
    before.night()
    assert all("description_words" not in body for body in before.outputs().values())
    world = open_world(catalog=WITH_IT)
    world.night()
    assert _words(world) == {"a": 3, "b": None}
    assert world.outputs() == world.rebuilt()


def test_a_value_of_a_wrong_type_is_not_published(open_world: OpenWorld) -> None:
    def lies(items: Sequence[Item], _context: Context) -> Iterator[tuple[Item, Outcome]]:
        yield from ((item, Outcome("success", {"words": "many"})) for item in items)

    world = open_world(catalog=catalog(check_url.TASK, replace(TASK, run=lies)), min_documents=0)
    world.source.put("a", abstract="Three short words")
    world.source.put("b")
    assert world.night().published == {"products": 1, "files": 1}
    told = _told(world, "src:one:a")["output"]
    assert told.outcome == "invalid: not published"
    assert told.reason.startswith('description_words: "many" is not of types')


def test_the_published_schema_has_it() -> None:
    schema = WITH_IT.schema("products")
    assert schema is not None and "description_words" in schema["required"]
    assert schema["properties"]["description_words"]["type"] == ["integer", "null"]


def test_a_real_index_has_its_field_and_finds_by_it(
    open_world: OpenWorld, opensearch_url: str, indexed: dict[str, Any]
) -> None:
    of_files = Scripted("count_letters", "files", reads=("$.title",), publishes=(LETTERS,))
    of_files.answer = lambda item: Outcome("success", {"letters": len(item.subject.properties["title"])})
    world = open_world(catalog=catalog(check_url.TASK, TASK, of_files.row), installed=indexed)
    world.source.put("a", abstract="Three short words", files=("first", "second"))
    world.source.put("b", abstract="Two words", files=("first",))
    world.source.put("c", files=())
    world.night()
    version = release.prepare(world.installation)
    assert version is not None
    assert build.bring_up(world.installation, version).outcome == "ready"
    release.publish(world.installation, version)
    alias = f"{indexed['platform']}-products"
    with OpenSearch(opensearch_url) as client:
        (mapped,) = client.indices.get_mapping(index=alias).values()
        properties = mapped["mappings"]["properties"]
        assert properties["description_words"] == {"type": "integer"}
        assert properties["letters"] == properties["files"]["properties"]["letters"] == {"type": "keyword"}

        def found(query: Mapping[str, Any]) -> dict[str, Any]:
            hits = client.search(index=alias, body={"query": query})["hits"]["hits"]
            return {hit["_source"]["external_id"]: hit["_source"] for hit in hits}

        assert found({"range": {"description_words": {"gte": 3}}}).keys() == {"a"}
        by_letters = found({"term": {"files.letters": "10 letters"}})
        assert by_letters.keys() == {"a"}
        assert [file["letters"] for file in by_letters["a"]["files"]] == ["9 letters", "10 letters"]
        assert found({"term": {"letters": "9 letters"}}).keys() == {"a", "b"}, "of the main file"
    outputs = {name: body.get("letters") for name, body in world.outputs().items() if body["entity"] == "products"}
    assert outputs == {"a": 9, "b": 9, "c": None}, "the index alone has words"


def test_another_form_in_the_index_builds_it_anew() -> None:
    def digest(**changed: Any) -> bytes:
        row = Scripted("count_letters", "files", publishes=(replace(LETTERS, **changed),)).row
        made = mapping.definition(catalog(row), "products", Config())
        assert made is not None
        return made.digest

    assert digest() == digest()
    assert len({digest(), digest(version=2), digest(index_form=None), digest(mapping={"type": "integer"})}) == 4


def test_a_field_has_the_value_of_the_first_task_in_the_table_that_has_any() -> None:
    rows = [Scripted(name, publishes=(PublishedField("answer"),)).row for name in ("first", "second")]
    assert _output(catalog(*rows), first={"answer": 1}, second={"answer": 2})["answer"] == 1
    assert _output(catalog(*rows), first={"answer": None}, second={"answer": 2})["answer"] == 2
    assert _output(catalog(*reversed(rows)), first={"answer": 1}, second={"answer": 2})["answer"] == 2
    assert _output(catalog(*rows))["answer"] is None


def test_texts_are_filed_by_their_language_for_searching() -> None:
    field = PublishedField("transcriptions", value=lambda data: [(data["said"], data["language"])], place="texts")
    made = _output(catalog(Scripted("listen", publishes=(field,)).row), listen={"said": " Dag ", "language": "nl"})
    assert [text["text"] for text in made["texts"]["nl"]["transcriptions"]] == ["Dag"]
    assert "transcriptions" not in made


def test_a_task_may_hide_its_file() -> None:
    row = Scripted("scan", "files", hides=lambda result, _settings: result.kind == "failure").row
    result = Result("failure", None, "a virus", None, 1, NIGHT)
    file = Enriched("a:b:c:f", "a:b", "c:f", "active", {"url": "https://example.org"}, {"scan": result})
    assert _output(catalog(row), files=[file])["files"] == []
    assert len(_output(CHECKED, files=[file])["files"]) == 1
    assert file_output(file, (), catalog(row).making("files", Config()))["state"] == "inactive"


def test_two_tasks_cannot_declare_one_field_in_two_ways() -> None:
    rows = [Scripted(kind, publishes=(PublishedField("answer", {"type": kind}),)).row for kind in ("string", "integer")]
    with pytest.raises(ValueError, match="the task integer declares the field answer in another way"):
        catalog(*rows)


def test_texts_are_of_a_kind_that_there_is() -> None:
    with pytest.raises(ValueError, match="the task listen publishes sayings: texts are titles, "):
        catalog(Scripted("listen", publishes=(PublishedField("sayings", place="texts"),)).row)


@pytest.mark.parametrize(("entity", "name"), [("products", "title"), ("files", "url"), ("files", "text")])
def test_a_field_cannot_take_a_name_that_the_schema_knows(entity: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"a task publishes {name}, which"):
        catalog(Scripted("bad", entity, publishes=(PublishedField(name),)).row).schema("products")


def test_what_ships_fits_together() -> None:
    for entity in CATALOG.entities:
        CATALOG.schema(entity.name)
        assert not {field.name for field in CATALOG.published(entity.name)} & (entity.mapping or {}).keys()


def _output(catalogue: Catalog, files: Sequence[Enriched] = (), **data: Any) -> dict[str, Any]:
    results = {task: Result("success", found, "", None, 1, NIGHT) for task, found in data.items()}
    product = Enriched("a:b:c", "a:b", "c", "active", {"title": "T"}, results)
    return product_output(product, files, catalogue.making("products", Config()))
