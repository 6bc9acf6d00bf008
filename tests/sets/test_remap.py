"""A changed mapping is replayed from stored pages: by the night, which asks for its delta only, or by command."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.cli.sets import set_app
from harvester_dagster.releases import retention
from harvester_dagster.sets import remap, steps
from harvester_dagster.sets.attempts import NotOpen
from harvester_dagster.sets.remap import NothingToRemap
from harvester_dagster.sources.kind import Record
from harvester_dagster.tasks import check_url
from tests.sets.conftest import OpenWorld
from tests.sets.world import DAY, KEY, World, check, commanded

LATER = 40 * DAY


def mapped(version: str, title: Callable[[str], str | None]) -> Catalog:
    """A catalog whose mapping of Sharekit's records makes another title."""
    kind = CATALOG.kinds["sharekit"]

    def extract(*arguments: Any) -> Any:
        for record in kind.extract(*arguments):
            if isinstance(record, Record) and record.documents:
                root, *parts = record.documents
                made = title(root.properties["title"])
                root = root._replace(
                    properties={**root.properties, "title": made}, state="active" if made else "skipped"
                )
                yield record._replace(documents=(root, *(parts if made else ())))
            else:
                yield record

    other = replace(kind, extract=extract, mapping_version=lambda _request: version)
    return replace(CATALOG, kinds={**CATALOG.kinds, "sharekit": other}, tasks=(check_url.TASK,))


SAME = mapped("1", lambda title: title)
LOUD = mapped("2", str.upper)
SETTINGS: dict[str, Any] = {"purge_after_days": 1000}


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    """A set of a complete harvest and three deltas, long ago."""
    world = open_world(catalog=SAME, **SETTINGS)
    world.source.put("a", "b", "c", "d", "e")
    world.night()
    world.source.put("b", title="Second")
    world.source.delete("c")
    world.night()
    world.source.put("b", title="Third")
    world.source.put("c", title="Back")
    world.source.spoil("d")
    world.night()
    world.source.delete("e")
    world.night()
    world.forward(LATER)
    retention.clean_up(world.installation)
    world.source.asked.clear()
    return world


@pytest.fixture
def loud(world: World, open_world: OpenWorld) -> World:
    """The same store under another mapping."""
    now = world.now
    other = open_world(catalog=LOUD, **SETTINGS)
    other.at(now)
    return other


EXPECTED = {"a": "TITLE OF A", "b": "THIRD", "c": "BACK", "d": "TITLE OF D"}


def test_a_set_is_extracted_anew_without_asking_its_source(loud: World) -> None:
    before = loud.state()
    assert loud.titles() == {"a": "Title of a", "b": "Third", "c": "Back", "d": "Title of d"}
    outcome = remap.remap(loud.installation, KEY)
    assert loud.titles() == EXPECTED
    assert all(path.startswith("/files/") for path in loud.source.asked), "only for what is due to be checked again"
    assert outcome.attempt is not None and (outcome.attempt.mode, outcome.attempt.state) == ("remap", "accepted")
    after = loud.state()
    assert (after.watermark, after.refreshed_at) == (before.watermark, before.refreshed_at)
    assert after.mapping_version == "2" and after.accepted_gen == before.accepted_gen + 1
    assert loud.outputs() == loud.rebuilt()
    check(loud)
    loud.source.put("a", title="New")
    outcome = loud.night()
    assert outcome.attempt is not None and (outcome.attempt.mode, outcome.attempt.replays) == ("delta", False)
    assert loud.titles() == EXPECTED | {"a": "NEW"}


def test_again_nothing_differs(loud: World) -> None:
    remap.remap(loud.installation, KEY)
    outcome = remap.remap(loud.installation, KEY)
    assert outcome.attempt is not None and outcome.attempt.generation is None
    assert loud.titles() == EXPECTED
    check(loud)


def test_the_night_after_a_change_asks_for_its_delta_only(loud: World) -> None:
    loud.source.put("a", title="New")
    outcome = loud.night()
    assert outcome.attempt is not None and (outcome.attempt.mode, outcome.attempt.replays) == ("delta", True)
    assert "the mapping changed" in outcome.attempt.why
    (asked,) = [path for path in loud.source.asked if not path.startswith("/files/")]
    assert "1970" not in asked
    assert loud.titles() == EXPECTED | {"a": "NEW"}
    assert loud.state().watermark == outcome.attempt.started_at
    assert loud.outputs() == loud.rebuilt()
    check(loud)
    assert len(remap.plan(loud.installation, KEY).attempts) == 5, "its pages belong to those that cover the set"


def test_a_rejected_one_waits_to_be_accepted(world: World, open_world: OpenWorld) -> None:
    now = world.now
    few = open_world(
        catalog=mapped("3", lambda title: title if title == "Third" else None), min_documents=3, **SETTINGS
    )
    few.at(now)
    before = few.titles()
    outcome = remap.remap(few.installation, KEY)
    assert outcome.is_replaced and "1 after 4: 3 fewer" in outcome.reason
    assert few.titles() == before and few.state().mapping_version == "1"
    with pytest.raises(NothingToRemap, match="a rejected candidate waits"):
        remap.remap(few.installation, KEY)
    few.overwrite("a", {"title": "By hand"})
    few.day_work()
    assert steps.accept(few.installation, KEY).published["products"] == 1
    assert few.titles() == {"b": "Third"} and few.state().mapping_version == "3"
    check(few)


def test_a_complete_harvest_begins_anew(loud: World) -> None:
    loud.night(asked="full")
    assert [attempt.attempt_id for attempt in remap.plan(loud.installation, KEY).attempts] == [5]
    loud.forward(LATER)
    assert retention.clean_up(loud.installation).page_bundles == 4
    assert remap.remap(loud.installation, KEY).attempt is not None
    assert loud.titles() == EXPECTED | {"d": "Title of d"}, "what its source spoiled stays as it was accepted"


@pytest.mark.parametrize("by", ["object", "row"])
def test_where_pages_are_gone_nothing_is_replayed_and_the_next_harvest_is_full(loud: World, by: str) -> None:
    if by == "object":
        loud.installation.objects.delete(["pages/2/0.zst"])
    else:
        loud.change("DELETE FROM page_bundle WHERE attempt_id = 2")
    with pytest.raises(NothingToRemap, match=r"do not cover the set \(pages of attempt 2 .*its next harvest is full"):
        remap.remap(loud.installation, KEY)
    assert loud.attempts() == [("full", "accepted"), *[("delta", "accepted")] * 3]
    outcome = loud.night()
    assert outcome.attempt is not None and (outcome.attempt.mode, outcome.attempt.why) == (
        "full",
        "the mapping changed",
    )


def test_where_the_mapping_is_the_same_somebody_must_ask(world: World) -> None:
    world.installation.objects.delete(["pages/2/0.zst"])
    with pytest.raises(NothingToRemap, match=f"`harvester harvest {KEY} --full`"):
        remap.plan(world.installation, KEY)


def test_a_set_that_was_never_harvested(world: World) -> None:
    with pytest.raises(NothingToRemap, match="no complete harvest of it was accepted"):
        remap.plan(world.installation, "src:two")


def test_a_run_that_comes_between_takes_its_place(loud: World) -> None:
    def progress(line: str) -> None:
        if "stored pages" in line:
            steps.harvest(loud.installation, KEY)

    with pytest.raises(NotOpen, match="took its place"):
        remap.remap(loud.installation, KEY, progress)
    check(loud)


class TestCommand:
    @pytest.fixture
    def harvester(self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
        commanded(world, tmp_path, monkeypatch)
        return lambda *arguments: CliRunner().invoke(set_app, ["remap", *arguments])

    def test_a_dry_run_says_what_would_be_read(self, harvester: Callable[..., Result], world: World) -> None:
        said = harvester(KEY, "--dry-run")
        assert said.exit_code == 0, said.output
        assert "stored pages of 4 harvests would be read anew" in " ".join(said.output.split())
        found = json.loads(harvester(KEY, "--dry-run", "--json").stdout)
        assert [row["attempt"] for row in found["attempts"]] == [1, 2, 3, 4]
        assert found["pages"] == sum(row["pages"] for row in found["attempts"])
        assert len(world.attempts()) == 4

    def test_it_reads_and_tells(self, harvester: Callable[..., Result], world: World) -> None:
        said = harvester(KEY, "--json")
        assert said.exit_code == 0, said.output
        assert json.loads(said.stdout)["attempt"]["state"] == "accepted"
        assert world.attempts()[-1] == ("remap", "accepted")
        assert "pages of 4 harvests are read anew" in " ".join(said.stderr.split())

    def test_a_sentence_where_it_cannot_be(self, harvester: Callable[..., Result]) -> None:
        said = harvester("src:two")
        assert said.exit_code == 1
        assert "the stored pages do not cover the set" in said.stderr and "Traceback" not in said.output
