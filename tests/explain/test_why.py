"""`why SRN`: the story of one document, told by the rows that its nights wrote."""

from typing import Any

import pytest

from harvester_dagster.explain import why as explain
from harvester_dagster.explain.why import Stage, UnknownDocument
from harvester_dagster.releases import release
from harvester_dagster.sets import steps, versions
from harvester_dagster.sources.kind import Request
from harvester_dagster.tasks.task import Outcome
from tests.sets.conftest import OpenWorld
from tests.sets.world import Scripted, World, catalog


def why(world: World, srn: str) -> dict[str, Stage]:
    """The last stage of each name."""
    return {stage.stage: stage for stage in explain.why(world.installation, srn)}


def promoted(world: World) -> None:
    version = release.prepare(world.installation)
    if version:
        versions.promote(world.installation, version)


def test_a_published_document(world: World) -> None:
    world.source.put("a")
    world.night()
    promoted(world)
    told = why(world, "src:one:a")
    assert told["set harvested"].outcome == "full harvest 1: accepted"
    assert told["extracted"].outcome == "active, generation 1" and told["extracted"].at == "2026-03-01T01:30:00+00:00"
    assert told["verdict"].outcome == "accepted"
    assert told["output"].outcome == "published, made in generation 1"
    assert told["version"].outcome == "in version 1, the current one"


def test_a_file_and_its_tasks(world: World) -> None:
    world.source.put("a")
    world.source.files = {"a/a": 404}
    world.night()
    promoted(world)
    (name,) = [name for (name,) in world.rows("SELECT external_id FROM document WHERE entity = 'files'")]
    told = why(world, f"src:one:{name}")
    assert told["part of"].outcome == "src:one:a"
    whole = why(world, "src:one:a")["files"]
    assert (whole.outcome, whole.reason) == ("1", f"src:one:{name}"), "each has a story of its own"
    assert told["task check_url"].outcome == "failure" and "404" in told["task check_url"].reason
    assert told["output"].outcome == "none"
    assert told["version"].outcome == "not in the current version 1"


def test_a_task_that_does_not_apply_says_why_and_one_that_has_not_run_is_pending(open_world: OpenWorld) -> None:
    picky = Scripted("picky", condition=lambda subject, _context: "not today")
    other = Scripted("other")
    off = Scripted("off")
    world = open_world(catalog=catalog(picky.row, off.row, other.row), tasks={"disabled": ["off"]})
    world.source.put("a")
    steps.harvest(world.installation, "src:one")
    steps.documents(world.installation, "src:one")
    told = why(world, "src:one:a")
    assert (told["task picky"].outcome, told["task picky"].reason) == ("not applicable", "not today")
    assert (told["task off"].outcome, told["task off"].reason) == ("not applicable", "disabled in the configuration")
    assert told["task other"].outcome == "pending"
    assert told["extracted"].outcome == "active, only in the candidate"
    other.answer = lambda item: Outcome("retry", None, "busy")
    world.tasks()
    told = why(world, "src:one:a")
    assert (told["task other"].outcome, told["task other"].reason) == ("retry", "busy")


def test_an_inactive_document_says_why(world: World) -> None:
    world.source.put("a", "b")
    world.source.put("c", status="draft")
    world.night()
    told = why(world, "src:one:c")
    assert told["extracted"].outcome == "inactive, generation 1"
    assert told["extracted"].reason == "the source gives it the status 'draft'"
    assert told["output"].outcome == "none"


def test_a_document_of_a_test_organization_is_skipped(open_world: OpenWorld) -> None:
    world = open_world(test_organizations=["An owner"])
    kind = world.installation.catalog.kinds["sharekit"]
    settings = world.installation.config.sets["src:one"]
    page: Any = b'{"data": [], "links": {}}'
    assert list(kind.extract(page, (), Request(settings, "one", None, True))) == []
    world.source.put("a")
    world.night()
    assert why(world, "src:one:a")["extracted"].outcome == "active, generation 1", "only in production"


def test_a_record_that_could_not_be_extracted(world: World) -> None:
    world.source.spoil("a")
    world.night()
    (told,) = explain.why(world.installation, "src:one:a")
    assert (told.stage, told.outcome) == ("extracted", "unreadable") and "without attributes" in told.reason


def test_a_known_record_that_has_become_unreadable(world: World) -> None:
    world.source.put("a")
    world.night()
    world.source.spoil("a")
    world.night()
    stages = explain.why(world.installation, "src:one:a")
    assert [stage.outcome for stage in stages if stage.stage == "extracted"] == ["active, generation 1", "unreadable"]


def test_a_deleted_document(world: World) -> None:
    world.source.put("a", "b")
    world.night()
    promoted(world)
    world.source.delete("a")
    world.night()
    promoted(world)
    told = why(world, "src:one:a")
    assert told["deleted"].outcome == "gone since generation 2" and told["deleted"].at == "2026-03-02T01:30:00+00:00"
    assert told["output"].outcome == "none"
    stages = [stage.outcome for stage in explain.why(world.installation, "src:one:a") if stage.stage == "version"]
    assert stages == ["in version 1", "not in the current version 2"]


def test_a_document_of_a_rejected_candidate(open_world: OpenWorld) -> None:
    world = open_world(deletes="no", min_documents=2)
    world.source.put("a", "b", "c")
    world.night()
    promoted(world)
    world.source.forget("b", "c")
    world.source.put("new")
    world.night()
    told = why(world, "src:one:new")
    assert told["extracted"].outcome == "active, only in the candidate"
    assert told["verdict"].outcome == "rejected" and "2 after 3: 1 fewer, at most 0" in told["verdict"].reason
    assert told["output"].outcome == "none"
    assert told["version"].outcome == "not in the current version 1"


def test_a_document_that_a_waiting_candidate_would_delete_shows_its_tasks(open_world: OpenWorld) -> None:
    world = open_world(deletes="no", min_documents=2)
    world.source.put("a", "b", "c")
    world.night()
    promoted(world)
    srn = "src:one:" + world.one(
        """SELECT f.external_id FROM document f JOIN document p ON p.doc_id = f.owner_id WHERE p.external_id = 'b'
           ORDER BY 1 LIMIT 1"""
    )
    before = {name: stage for name, stage in why(world, srn).items() if name.startswith("task ")}
    world.source.forget("b", "c")
    world.night()
    told = why(world, srn)
    assert before and {name: stage for name, stage in told.items() if name.startswith("task ")} == before
    assert told["deleted"].outcome == "only in the candidate of attempt 2, which is not accepted"
    assert told["version"].outcome == "in version 1, the current one"


def test_an_invalid_product_lists_its_reasons(world: World) -> None:
    world.source.put("a", "b")
    world.night()
    world.overwrite("a", {"language": 7})
    world.day_work()
    told = why(world, "src:one:a")
    assert told["output"].outcome == "invalid: not published"
    assert told["output"].reason.startswith("its output cannot be made: AttributeError")


def test_what_no_source_sent_is_named_with_the_sets_that_there_are(world: World) -> None:
    with pytest.raises(UnknownDocument, match=r"no source has sent src:one:x; .* with a set of: src:one, src:two"):
        explain.why(world.installation, "src:one:x")


def test_an_identity_is_looked_up_and_never_split(world: World) -> None:
    world.source.put("a:b/c:d")
    world.night()
    assert why(world, "src:one:a:b/c:d")["output"].outcome == "published, made in generation 1"
