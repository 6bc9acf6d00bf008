"""Failed results: grouped by task, reason and host; chosen by document, set, reason or host, and due then."""

import importlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester_dagster.publication import audit
from harvester_dagster.sets import failed_results
from harvester_dagster.sets.failed_results import Choice, Chosen, FailureGroup, NotChosen, UnknownTask
from harvester_dagster.tasks.task import Outcome, Task
from tests.sets.conftest import OpenWorld
from tests.sets.world import KEY, Scripted, World, catalog


def found(world: World) -> list[FailureGroup]:
    with world.installation.pool.connection() as connection:
        return failed_results.all_groups(world.installation, connection, 100)


def due_now(world: World, task: str, **choice: Any) -> Chosen:
    row = failed_results.task_named(world.installation, task)
    return failed_results.make_due(world.installation, row, Choice(**choice))


def is_due(world: World) -> set[str]:
    """The srns of whatever would be made anew now."""
    rows = world.rows(
        """SELECT s.key || ':' || d.external_id FROM result JOIN task_use u USING (task, fingerprint)
           JOIN document d USING (doc_id) JOIN harvest_set s ON s.set_id = d.set_id WHERE due_at <= %s""",
        world.now,
    )
    return {srn for (srn,) in rows}


def files_of(world: World, product: str) -> set[str]:
    rows = world.rows(
        """SELECT %s || ':' || f.external_id FROM document f JOIN document p ON p.doc_id = f.owner_id
           WHERE p.external_id = %s""",
        KEY,
        product,
    )
    return {srn for (srn,) in rows}


@pytest.fixture
def gone(world: World) -> World:
    """Files of three products: those of `a` and `b` are gone, `b` has another that is forbidden."""
    world.source.put("a", "c")
    world.source.put("b", files=("a", "x"))
    world.source.put("z", spec="two")
    world.source.files = {"a/a": 404, "b/a": 404, "b/x": 403, "z/a": 410}
    world.night(pass_time=False)
    world.night("src:two", pass_time=False)
    return world


def test_they_are_grouped_by_reason_and_host_with_what_is_due_when(gone: World) -> None:
    answered_404, *others = found(gone)
    assert (answered_404.task, answered_404.reason, answered_404.host) == ("check_url", "answered 404", "127.0.0.1")
    assert (answered_404.results, answered_404.documents, answered_404.due, answered_404.never) == (2, 2, 0, 0)
    assert answered_404.next_at is not None and answered_404.next_at > gone.now
    assert set(answered_404.samples) < files_of(gone, "a") | files_of(gone, "b")
    assert [group.reason for group in others] == ["answered 403", "answered 410"]
    assert others[1].samples[0].startswith("src:two:")
    assert others[0].due == 1, "what may pass is tried again at the next run"


@pytest.mark.parametrize(
    ("choice", "count"),
    [
        ({"reason": "ANSWERED 404"}, 2),
        ({"reason": "answered"}, 4),
        ({"reason": "%"}, 0),
        ({"reason": "day 1 of 3"}, 1),
        ({"host": "127.0.0.1"}, 4),
        ({"host": "127.0.0.2"}, 0),
        ({"host": "127.0.0.1", "reason": "410"}, 1),
        ({"sets": ("src:two",)}, 1),
        ({"srns": (f"{KEY}:b",)}, 2),
        ({"srns": (f"{KEY}:b", f"{KEY}:a"), "reason": "404"}, 2),
        ({"srns": (f"{KEY}:c",)}, 0),
    ],
)
def test_what_is_chosen_is_due_and_nothing_else(gone: World, choice: dict[str, Any], count: int) -> None:
    before = is_due(gone)
    task = failed_results.task_named(gone.installation, "check_url")
    with gone.installation.pool.connection() as connection:
        looked_at = failed_results.chosen(gone.installation, connection, task, Choice(**choice))
    assert is_due(gone) == before, "looking changes nothing"
    chosen = due_now(gone, "check_url", **choice)
    assert chosen == looked_at and chosen.results == chosen.documents == len(chosen.samples) == count
    assert is_due(gone) == before | {sample.srn for sample in chosen.samples}
    with gone.installation.pool.connection() as connection:
        (row,) = audit.rows(connection)
    assert (row.act, row.subject, row.detail["results"]) == ("retry results", "check_url", count)


def test_the_next_run_of_the_task_makes_it_anew_and_publishes_what_it_found(gone: World) -> None:
    gone.source.files = {}
    gone.source.asked.clear()
    assert due_now(gone, "check_url", srns=(f"{KEY}:a",)).sets == (KEY,)
    gone.night()
    assert "/files/a/a" in gone.source.asked and "/files/b/a" not in gone.source.asked
    assert files_of(gone, "a") <= {f"{KEY}:{name}" for name in gone.outputs()}
    assert gone.outputs() == gone.rebuilt()


def test_one_file_by_its_own_srn(gone: World) -> None:
    (srn,) = files_of(gone, "a")
    assert [sample.srn for sample in due_now(gone, "check_url", srns=(srn,)).samples] == [srn]


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"srns": (f"{KEY}:none",)},
        {"srns": ("x\0",)},
        {"srns": (f"{KEY}:a", "nowhere")},
        {"srns": ("x",) * 1001},
        {"sets": ("src:none",)},
    ],
)
def test_what_is_not_there_is_told_and_nothing_is_done(gone: World, choice: dict[str, Any]) -> None:
    before = is_due(gone)
    with pytest.raises(NotChosen):
        due_now(gone, "check_url", **choice)
    assert is_due(gone) == before
    with pytest.raises(UnknownTask):
        due_now(gone, "check_urls", reason="x")


def test_a_result_that_failed_for_good_is_tried_again_and_a_success_is_not(open_world: OpenWorld) -> None:
    task = Scripted()
    task.answer = lambda item: (
        Outcome("failure", reason=f"https://a.example/{item.srn} broke")
        if item.srn.endswith("a")
        else Outcome("success")
    )
    world = open_world(catalog=catalog(task.row))
    world.source.put("a", "b")
    world.night()
    (group,) = found(world)
    assert (group.reason, group.host, group.never, group.due) == ("… broke", "", 1, 0)
    task.took()
    assert due_now(world, "echo", reason="… broke").results == 1
    assert due_now(world, "echo", sets=(KEY,)).results == 1
    world.night()
    assert task.took() == [f"{KEY}:a"]


def test_documents_that_are_gone_and_versions_before_do_not_count(open_world: OpenWorld) -> None:
    task = Scripted()
    task.answer = lambda _item: Outcome("failure", reason="broke")
    world = open_world(catalog=catalog(task.row), min_documents=0)
    world.source.put("a", *(f"b{number:02}" for number in range(30)))
    world.night()
    world.source.delete("b00")
    world.night()
    (group,) = found(world)
    assert (group.results, group.documents) == (31, None), "of so many only the first are followed to their documents"
    assert len(group.samples) == 3 and f"{KEY}:b00" not in group.samples
    newer = open_world(catalog=catalog(Task("echo", "products", 2, ("$.title",), task.row.run)), min_documents=0)
    assert found(newer) == []


def test_a_small_group_counts_what_is_there_and_goes_with_its_documents(open_world: OpenWorld) -> None:
    task = Scripted()
    task.answer = lambda item: Outcome("failure", reason="few" if item.srn[-1] in "ab" else "many")
    world = open_world(catalog=catalog(task.row), min_documents=0)
    world.source.put("a", "b", *(f"c{number:02}d" for number in range(40)))
    world.night()
    assert [(group.reason, group.results, group.documents) for group in found(world)] == [
        ("many", 40, None),
        ("few", 2, 2),
    ]
    world.source.delete("a")
    world.night()
    assert [(group.reason, group.results, group.documents) for group in found(world)][1:] == [("few", 1, 1)]
    world.source.delete("b")
    world.night()
    assert [group.reason for group in found(world)] == ["many"]


def test_groups_whose_documents_are_gone_take_no_place(open_world: OpenWorld) -> None:
    task = Scripted()
    task.answer = lambda item: (
        Outcome("success") if "fine" in item.srn else Outcome("failure", reason=item.srn.removeprefix(KEY)[1:-1])
    )
    world = open_world(catalog=catalog(task.row), min_documents=0)
    world.source.put("gone1", "gone2", "x1", "y1", *(f"fine{number}" for number in range(40)))
    world.night()
    world.source.delete("gone1", "gone2")
    world.night()
    assert world.state(KEY).accepted_gen == 2
    with world.installation.pool.connection() as connection:
        shown = [failed_results.all_groups(world.installation, connection, most) for most in (1, 2)]
    assert [[group.reason for group in groups] for groups in shown] == [["x"], ["x", "y"]]


def of_documents(world: World, *srns: str) -> list[FailureGroup]:
    with world.installation.pool.connection() as connection:
        return failed_results.groups(world.installation, connection, srns, 100)


def test_those_of_one_product_are_its_files_too(gone: World) -> None:
    assert [(group.reason, group.host, group.results) for group in of_documents(gone, f"{KEY}:b")] == [
        ("answered 403", "127.0.0.1", 1),
        ("answered 404", "127.0.0.1", 1),
    ]
    assert of_documents(gone, f"{KEY}:c") == []


def test_rows_from_before_are_grouped_as_new_ones(gone: World) -> None:
    migration = importlib.import_module("harvester_dagster.store.migrations.versions.0016_pages_at_size")
    before = gone.rows("SELECT task, fingerprint, what, host FROM result ORDER BY 1, 2")
    assert {row[3] for row in before} == {"", "127.0.0.1"}
    gone.change(migration.DOWNGRADE)
    gone.change(migration.SCHEMA)
    assert gone.rows("SELECT task, fingerprint, what, host FROM result ORDER BY 1, 2") == before


def test_a_result_that_is_shared_counts_once(open_world: OpenWorld) -> None:
    task = Scripted()
    task.answer = lambda _item: Outcome("failure", reason="broke")
    world = open_world(catalog=catalog(task.row))
    world.source.put("a", "b", title="Same")
    world.source.put("c", title="Same", spec="two")
    world.night()
    world.night("src:two")
    (group,) = found(world)
    assert (group.results, group.documents) == (1, 3)
    assert due_now(world, "echo", srns=(f"{KEY}:a",)).results == 1
    assert is_due(world) == {f"{KEY}:a", f"{KEY}:b", "src:two:c"}


REASONS = [
    "",
    "a's",
    'b"%_\\',
    "https://x.example/1?a=b timed out",
    "https://x.example/2 timed out (day 2 of 3)",
    "é…\u202e",
]


@pytest.fixture
def broken(open_world: OpenWorld) -> tuple[World, Scripted]:
    """Six products, of which a task says what a test sets."""
    task = Scripted()
    world = open_world(catalog=catalog(task.row))
    world.source.put(*"012345")
    world.night()
    return world, task


@settings(
    max_examples=min(settings.default.max_examples, 25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(reasons=st.lists(st.sampled_from(REASONS), min_size=6, max_size=6))
def test_each_group_is_chosen_by_its_own_words(broken: tuple[World, Scripted], reasons: list[str]) -> None:
    world, task = broken
    task.answer = lambda item: Outcome("failure", reason=reasons[int(item.srn[-1])])
    world.change("DELETE FROM result")
    world.tasks(again="failed")
    groups = found(world)
    assert sum(group.results for group in groups) == 6 and is_due(world) == set()
    for group in groups:
        if group.reason:
            chosen = due_now(world, "echo", reason=group.reason)
            assert chosen.results >= group.results
            assert set(group.samples) <= {sample.srn for sample in chosen.samples} <= is_due(world)
    assert {srn[-1] for srn in is_due(world)} == {str(place) for place, reason in enumerate(reasons) if reason}


def test_its_command_lines() -> None:
    choice = Choice(("src:one:a b",), (KEY,), "it's $(date)", "x.example")
    line = failed_results.command("tika", choice)
    assert line == (
        "harvester tasks retry tika src:one --srn 'src:one:a b' --reason 'it'\"'\"'s $(date)' --host x.example --now"
    )
    assert failed_results.command_of_work("tika", [KEY]) == "harvester tasks retry tika src:one --results expired"
