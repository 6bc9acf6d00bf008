"""What a harvest finds new, changed, unchanged, deleted, and what it makes of odd records."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.installation import Limits
from harvester_dagster.sets import sets, steps
from harvester_dagster.sources.kind import Record, Request, Unreadable
from tests.sets.conftest import OpenWorld
from tests.sets.world import KEY, World, check


def counts(world: World, entity: str = "products") -> dict[str, int]:
    """Of the newest harvest, without the zeros."""
    found = world.one("SELECT counts FROM attempt WHERE counts IS NOT NULL ORDER BY attempt_id DESC LIMIT 1")
    return {name: n for name, n in found[entity].items() if n}


def right(world: World) -> None:
    check(world)
    assert world.outputs() == world.rebuilt()


def test_new_changed_unchanged_and_deleted_are_told_apart_in_a_delta(world: World) -> None:
    world.source.put("a", "b", "c", "d", "e", "f", files=("x", "y"))
    world.night()
    assert (counts(world), counts(world, "files")) == ({"new": 6}, {"new": 12})

    world.source.put("a", title="Another", files=("x", "y"))
    world.source.put("b", files=("x", "z"))
    world.source.put("c", files=("x", "y"))
    world.source.put("g")
    world.source.delete("d")
    outcome = world.night()

    assert outcome.attempt is not None and outcome.attempt.mode == "delta"
    assert counts(world) == {"new": 1, "changed": 2, "unchanged": 3, "deleted": 1}  # b names its files
    assert counts(world, "files") == {"new": 2, "unchanged": 9, "deleted": 3}
    assert outcome.published == {"products": 6, "files": 11}
    assert world.titles()["a"] == "Another"
    right(world)


def test_a_full_harvest_closes_what_it_does_not_contain_with_its_files(open_world: OpenWorld) -> None:
    world = open_world(deletes="no", min_documents=1000)
    world.source.put("a", "b", "c", files=("x", "y"))
    world.night()
    world.source.forget("b")
    outcome = world.night()
    assert outcome.attempt is not None and outcome.attempt.mode == "full"
    assert counts(world) == {"unchanged": 2, "deleted": 1}
    assert counts(world, "files") == {"unchanged": 4, "deleted": 2}
    assert outcome.published == {"products": 2, "files": 4}
    right(world)


def test_a_deleted_document_that_comes_back_is_published_again(world: World) -> None:
    world.source.put("a", "b")
    world.night()
    world.source.delete("a")
    world.night()
    assert set(world.titles()) == {"b"}
    world.source.put("a")
    world.night()
    assert counts(world) == {"new": 1}
    assert set(world.titles()) == {"a", "b"}
    right(world)


def test_a_delete_of_something_unknown_is_nothing(world: World) -> None:
    world.source.put("a")
    world.night()
    world.source.delete("never-seen")
    assert world.night().generation == 1
    right(world)


def test_unchanged_records_among_changed_ones_cost_few_comparisons(open_world: OpenWorld) -> None:
    """A full harvest remembers some unchanged records and lets them go together, not page by page."""
    world = open_world(deletes="no", limits=Limits(repeated=40))
    world.source.page_size = 5
    names = [f"{number:03}" for number in range(400)]
    world.source.put(*names)
    world.night()
    world.said.clear()
    world.source.put(*names[::20], title="Another")
    world.night()
    assert counts(world) == {"changed": 20, "unchanged": 380}
    assert 1 < len(world.said) <= 400 // 40 + 2, "a line for each batch that is compared"
    right(world)


@pytest.mark.parametrize("page_size", [1, 10])
@pytest.mark.parametrize("batch", [1, 100])
class TestTheSameRecordTwice:
    """On one page or on two, compared in one batch or in two, of which the first is still being written; what comes
    last holds."""

    def world(self, open_world: OpenWorld, page_size: int, batch: int) -> World:
        world = open_world(deletes="no", limits=Limits(compared=batch, extracted=batch))
        world.source.page_size = page_size
        with world.installation.pool.connection() as connection:
            connection.execute(
                """CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
                       AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END';
                   CREATE TRIGGER slow BEFORE INSERT OR UPDATE OR DELETE ON revision FOR EACH STATEMENT
                       EXECUTE FUNCTION slow()"""
            )
        return world

    def test_new(self, open_world: OpenWorld, page_size: int, batch: int) -> None:
        world = self.world(open_world, page_size, batch)
        world.source.put("a", files=("x", "y"))
        world.source.again = [world.source.record("a", title="Last", files=("x", "z"))]
        world.night()
        assert world.titles() == {"a": "Last"}
        assert (counts(world), counts(world, "files")) == ({"new": 1}, {"new": 2})
        right(world)

    def test_unchanged(self, open_world: OpenWorld, page_size: int, batch: int) -> None:
        world = self.world(open_world, page_size, batch)
        world.source.put("a", "b")
        world.night()
        world.source.again = [world.source.records["one"]["a"][1]]
        assert world.night().generation == 1
        assert counts(world) == {"unchanged": 2}

    def test_changed_and_back(self, open_world: OpenWorld, page_size: int, batch: int) -> None:
        world = self.world(open_world, page_size, batch)
        world.source.put("a", "b")
        world.night()
        before = world.outputs()
        world.source.again = [world.source.records["one"]["a"][1]]
        world.source.put("a", title="For a moment", files=("other",))
        outcome = world.night()
        assert world.outputs() == before
        assert outcome.generation == 1
        assert counts(world) == {"unchanged": 2}
        right(world)

    def test_deleted_and_back(self, open_world: OpenWorld, page_size: int, batch: int) -> None:
        world = self.world(open_world, page_size, batch)
        world.source.put("a", "b")
        world.night()
        before = world.outputs()
        world.source.again = [world.source.records["one"]["a"][1]]
        world.source.delete("a")
        assert world.night().generation == 1
        assert world.outputs() == before
        right(world)

    def test_new_and_gone(self, open_world: OpenWorld, page_size: int, batch: int) -> None:
        world = self.world(open_world, page_size, batch)
        world.source.put("a", "b")
        world.source.delete("gone")
        world.source.again = [{"type": "repoItem", "id": "b", "meta": {"status": "deleted"}, "attributes": []}]
        world.night()
        assert set(world.titles()) == {"a"}
        right(world)


def counting(catalog: Catalog) -> tuple[Catalog, list[int]]:
    """A catalog whose `sharekit` notes how many records it extracts, call by call."""
    calls: list[int] = []
    kind = catalog.kinds["sharekit"]

    def extract(page: bytes, indices: Sequence[int], request: Request) -> Iterator[Record | Unreadable]:
        calls.append(len(indices))
        return kind.extract(page, indices, request)

    return replace(catalog, kinds={**catalog.kinds, "sharekit": replace(kind, extract=extract)}, tasks=()), calls


def test_records_whose_bytes_are_known_are_not_extracted_again(open_world: OpenWorld) -> None:
    catalog, extracted = counting(CATALOG)
    world = open_world(catalog=catalog, deletes="no")
    world.source.put("a", "b", "c", "d", "e")
    world.night()
    assert sum(extracted) == 5
    extracted.clear()
    world.night()
    assert extracted == []
    assert counts(world) == {"unchanged": 5} and counts(world, "files") == {"unchanged": 5}
    world.source.put("c", title="Another")
    world.night()
    assert extracted == [1]


def test_another_mapping_version_without_the_pages_extracts_everything_anew_in_a_full_harvest(
    open_world: OpenWorld,
) -> None:
    catalog, extracted = counting(CATALOG)
    world = open_world(catalog=catalog)
    world.source.put("a", "b", "c")
    world.night()
    extracted.clear()
    objects = world.installation.objects
    objects.delete([found.key for found in objects.list("pages/")])
    kind = replace(catalog.kinds["sharekit"], mapping_version=lambda _request: "another")
    other = open_world(catalog=replace(catalog, kinds={**catalog.kinds, "sharekit": kind}))
    outcome = other.night()
    assert outcome.attempt is not None and (outcome.attempt.mode, outcome.attempt.why) == (
        "full",
        "the mapping changed",
    )
    assert sum(extracted) == 3
    assert counts(other) == {"unchanged": 3} and outcome.generation == 1
    outcome = other.night()
    assert outcome.attempt is not None and outcome.attempt.mode == "delta"


def test_a_change_of_a_file_alone_survives_a_rejected_candidate(open_world: OpenWorld) -> None:
    """The product's properties are the same, so nothing but its raw bytes tells that its file changed."""
    world = open_world(deletes="no", min_documents=5)
    names = ["a", "b", "c", "d", "e", "f", "g", "h"]
    world.source.put(*names)
    world.night()
    world.source.records["one"] = {"a": (world.now, renamed(world, "a"))}
    assert world.night().is_replaced
    world.source.put(*names[1:])
    assert not world.night().is_replaced
    assert "Renamed" in file_titles(world)
    right(world)


def renamed(world: World, name: str, **values: Any) -> Any:
    """The record with a file that has another title; its own properties are the usual ones."""
    record = world.source.record(name, **values)
    record["attributes"]["files"][0]["fileName"] = "Renamed"
    return record


def file_titles(world: World) -> set[str]:
    return {body["title"] for body in world.outputs().values() if body["entity"] == "files"}


def test_a_change_of_a_file_alone_that_is_taken_back_is_seen(open_world: OpenWorld) -> None:
    """With exactly the bytes of before, as a source does that was restored from a backup."""
    world = open_world(deletes="no")
    world.source.put("a", "b")
    before = world.source.records["one"]["a"]
    world.night()
    world.source.records["one"]["a"] = (world.now, renamed(world, "a"))
    world.night()
    assert file_titles(world) == {"Renamed", "a.txt"}
    world.source.records["one"]["a"] = before
    world.night()
    assert file_titles(world) == {"a.txt"}
    right(world)


def test_a_title_that_comes_back_beside_a_changed_file_leaves_no_trace_of_the_bytes_of_before(
    open_world: OpenWorld,
) -> None:
    world = open_world(deletes="no", limits=Limits(compared=1, extracted=1))
    world.source.put("a", "b")
    before = world.source.records["one"]["a"]
    world.night()
    world.source.put("a", title="For a moment")
    world.source.again = [renamed(world, "a")]
    world.night()
    assert file_titles(world) == {"Renamed", "a.txt"} and world.titles()["a"] == "Title of a"
    world.source.records["one"]["a"] = before
    world.source.again = []
    world.night()
    assert file_titles(world) == {"a.txt"}
    right(world)


def test_a_record_that_cannot_be_extracted_counts_as_seen(open_world: OpenWorld) -> None:
    world = open_world(deletes="no")
    world.source.put("a", "b", "c")
    world.night()
    world.source.spoil("b", "new")
    outcome = world.night()
    assert set(world.titles()) == {"a", "b", "c"}
    assert outcome.generation == 1
    assert counts(world)["unreadable"] == 2 and "deleted" not in counts(world)
    assert {name for (name,) in world.rows("SELECT external_id FROM problem")} == {"b", "new"}
    right(world)


def test_a_record_replaces_all_files_of_its_product(world: World) -> None:
    world.source.put("a", "b", files=("x", "y", "z"))
    world.night()
    world.source.put("a", files=())
    world.source.put("b", files=("z", "w"))
    assert world.night().published == {"products": 2, "files": 2}
    assert {body["url"].rpartition("/")[2] for name, body in world.outputs().items() if ":" in name} == {"w", "z"}
    right(world)


def test_a_product_that_becomes_inactive_is_gone_for_consumers_with_its_files(world: World) -> None:
    world.source.put("a", "b", files=("x",))
    world.night()
    world.source.put("a", files=("x",), status="draft")
    world.source.put("c", files=("x",), status="draft")
    outcome = world.night()
    assert set(world.titles()) == {"b"} and outcome.published == {"products": 1, "files": 1}
    assert counts(world)["inactive"] == 2
    world.source.put("a", files=("x",))
    world.night()
    assert set(world.titles()) == {"a", "b"}
    right(world)


def test_an_empty_candidate_commits_its_watermark_and_makes_no_generation(world: World) -> None:
    world.source.put("a", "b")
    world.night()
    second = world.now
    outcome = world.night()
    assert outcome.attempt is not None
    assert (outcome.attempt.state, outcome.attempt.generation, outcome.generation) == ("accepted", None, 1)
    assert world.state().watermark == second
    world.source.put("c")
    world.night()
    assert world.state().accepted_gen == 2
    right(world)


def test_the_window_overlaps_for_sources_that_date_back(open_world: OpenWorld) -> None:
    world = open_world(overlap="2h")
    world.source.put("a")
    world.night()
    first = world.state().watermark
    world.night()
    assert first is not None
    asked = (first - timedelta(hours=2)).strftime("%Y-%m-%dT%H%%3A%M%%3A%SZ")
    assert f"GE%5D={asked}" in world.source.asked[-1]


def test_a_purge_is_due_from_time_to_time(open_world: OpenWorld) -> None:
    world = open_world(purge_after_days=3)
    world.source.put("a", "b")
    modes = []
    for _ in range(6):
        outcome = world.night()
        assert outcome.attempt is not None
        modes.append(outcome.attempt.mode)
    assert modes == ["full", "delta", "delta", "full", "delta", "delta"]


def test_a_document_keeps_its_date_as_long_as_its_properties(open_world: OpenWorld) -> None:
    world = open_world()
    world.source.put("a")
    world.night()
    first = world.outputs()["a"]["modified_at"]
    world.night(asked="reset")
    assert world.state().accepted_gen == 2, "a reset writes everything anew"
    assert world.outputs()["a"]["modified_at"] == first
    world.source.put("a", title="Another")
    world.night()
    assert world.outputs()["a"]["modified_at"] == "2026-03-03T01:30:00Z"
    right(world)


def test_a_document_keeps_its_date_when_its_properties_come_back_within_a_reset(open_world: OpenWorld) -> None:
    world = open_world(limits=Limits(compared=1, extracted=1))
    world.source.put("a", "b")
    world.night()
    first = world.outputs()["a"]["modified_at"]
    world.source.again = [world.source.records["one"]["a"][1]]
    world.source.put("a", title="For a moment")
    world.night(asked="reset")
    assert world.titles()["a"] == "Title of a" and world.outputs()["a"]["modified_at"] == first
    right(world)


def test_a_retired_set_stays_published_and_comes_back_with_a_full_harvest(open_world: OpenWorld) -> None:
    world = open_world(sets=["one", "two"])
    world.source.put("a", "b")
    world.night()
    gone = open_world(sets=["two"])
    assert gone.state().retired_at is not None
    outcome = gone.night()
    assert outcome.retired and outcome.published == {"products": 2, "files": 2}
    assert set(gone.titles()) == {"a", "b"}
    back = open_world(sets=["one", "two"])
    outcome = back.night()
    assert outcome.attempt is not None
    assert (outcome.attempt.mode, outcome.attempt.why) == ("full", "the set came back")
    right(back)


def test_a_retired_set_is_withdrawn_by_hand_and_may_come_back(open_world: OpenWorld) -> None:
    world = open_world()
    world.source.put("a", "b")
    world.night()
    with pytest.raises(steps.NothingToAccept, match="still configured"):
        steps.withdraw(world.installation, KEY)
    gone = open_world(sets=["two"])
    outcome = steps.withdraw(gone.installation, KEY)
    assert outcome.generation == 2 and gone.outputs() == {}
    check(gone)
    back = open_world(sets=["one", "two"])
    assert back.night().published == {"products": 2, "files": 2}
    right(back)


def test_two_sets_of_one_source_do_not_touch_each_other(world: World) -> None:
    world.source.put("a", "b", spec="one")
    world.source.put("a", "c", spec="two")
    world.night("src:one")
    world.night("src:two")
    world.source.delete("a", spec="one")
    world.night("src:one")
    assert set(world.titles("src:one")) == {"b"} and set(world.titles("src:two")) == {"a", "c"}
    check(world)


def test_an_unknown_set_is_named_with_those_that_there_are(world: World) -> None:
    with pytest.raises(sets.UnknownSet, match=r"there is no set 'src:three'; there are: src:one, src:two"):
        world.state("src:three")


def test_odd_values_are_noted_and_counted(world: World) -> None:
    world.source.put("a", "b", publishedAt="once upon a time")
    world.night()
    assert counts(world)["notes"] == 2
    assert world.one("SELECT count(*) FROM problem WHERE kind = 'note'") == 2


def test_a_record_too_broken_to_have_a_name_takes_none_for_gone(world: World) -> None:
    """It may be the one that is missed; when more are missed than it explains, they are gone."""
    world.source.put("a", "b", "c")
    world.night()
    world.source.forget("b")
    world.source.records["one"]["?"] = (world.now, {"type": "repoItem", "attributes": {"title": "whose?"}})
    world.night(asked="full")
    assert set(world.titles()) == {"a", "b", "c"}
    ((said,),) = world.rows("SELECT reason FROM problem WHERE external_id IS NULL AND kind = 'note'")
    assert "1 known records did not come" in said
    world.source.forget("c")
    world.night(asked="full")
    assert set(world.titles()) == {"a"}
