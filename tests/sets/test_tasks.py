"""The task frame: what is run, what is shared, what is run again, and what a night without news costs."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from harvester_dagster.explain import why
from harvester_dagster.releases import alerts, day_work
from harvester_dagster.sets import enrich, steps
from harvester_dagster.sets.enrich import Portion
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.store import keys
from harvester_dagster.tasks import normalize_publisher_year
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task
from tests.sets.conftest import OpenWorld
from tests.sets.world import DAY, KEY, Scripted, World, catalog, check

Answer = Callable[[Item], Outcome]
YEAR = normalize_publisher_year.TASK.publishes


def kinds(world: World, task: str = "echo") -> dict[str, int]:
    return dict(world.rows("SELECT kind, count(*) FROM result WHERE task = %s GROUP BY 1", task))


class Checked:
    """Files are checked, and read when they were found; both answers are scripted."""

    def __init__(self) -> None:
        self.check = Scripted("check", "files", reads=("$.url",))
        self.read = Scripted("read", "files", reads=("$.url", "check.validator"), after=("check",))
        self.validators: dict[str, str] = {}
        self.check.answer = lambda item: Outcome("success", {"validator": self._of(item)})
        self.read.answer = lambda item: Outcome("success", {"text": item.subject.results["check"].data["validator"]})  # type: ignore[index]
        self.catalog = catalog(self.check.row, self.read.row)

    def look_again(self, world: World, key: str = KEY) -> None:
        steps.tasks(world.installation, key, [self.check.row], again="all")
        steps.tasks(world.installation, key, [self.read.row])

    def _of(self, item: Item) -> str:
        return self.validators.get(item.subject.properties["url"].rpartition("/")[2], "v1")


def test_a_task_runs_for_what_is_new_or_changed_and_for_nothing_else(open_world: OpenWorld) -> None:
    echo = Scripted()
    world = open_world(catalog=catalog(echo.row))
    world.source.put("a", "b")
    world.night()
    assert echo.took() == ["src:one:a", "src:one:b"]
    world.source.put("a", abstract="not read by the task")
    world.source.put("b", title="Another")
    world.source.put("c")
    world.night()
    assert echo.took() == ["src:one:b", "src:one:c"]
    check(world)


def test_an_old_value_that_comes_back_finds_its_old_result(open_world: OpenWorld) -> None:
    echo = Scripted()
    world = open_world(catalog=catalog(echo.row))
    for title in ("One", "Two", "One"):
        world.source.put("a", title=title)
        world.night()
    assert len(echo.took()) == 2
    assert kinds(world) == {"success": 2}


def test_documents_of_all_sets_share_a_result(open_world: OpenWorld) -> None:
    echo = Scripted()
    world = open_world(catalog=catalog(echo.row))
    world.source.put("a", "b", title="Same", spec="one")
    world.source.put("c", title="Same", spec="two")
    world.night("src:one")
    assert len(echo.took()) == 1
    world.night("src:two")
    assert echo.took() == []


def test_one_url_is_checked_once_whoever_names_it(world: World) -> None:
    world.source.put("a", "b", files=("shared/x",), spec="one")
    world.source.put("c", files=("shared/x",), spec="two")
    world.night("src:one")
    world.night("src:two")
    assert [asked for asked in world.source.asked if "shared" in asked] == ["/files/shared/x"]


def test_a_result_that_is_due_is_made_again_and_reaches_the_output(world: World) -> None:
    world.source.put("a", "b")
    world.source.files = {"a/a": 404}
    world.night()
    assert len(world.outputs()) == 3
    world.source.files = {}
    world.source.asked.clear()
    world.night()
    assert [asked for asked in world.source.asked if asked.startswith("/files")] == ["/files/a/a"]
    assert len(world.outputs()) == 4
    check(world)
    assert world.outputs() == world.rebuilt()


def test_a_retry_is_tried_with_each_night_until_it_ends(open_world: OpenWorld) -> None:
    echo = Scripted()
    world = open_world(catalog=catalog(echo.row))
    echo.answer = lambda item: Outcome("retry", None, "busy", None)
    world.source.put("a")
    world.night()
    world.night()
    assert world.rows("SELECT kind, attempts FROM result") == [("retry", 2)]
    echo.answer = lambda item: Outcome("success", {"saw": 1})
    world.night()
    assert world.rows("SELECT kind, data FROM result") == [("success", {"saw": 1})]
    echo.ran.clear()
    world.night()
    assert echo.took() == []


def test_what_a_task_did_before_it_raised_is_kept_and_the_rest_is_tried_again(open_world: OpenWorld) -> None:
    ran: list[str] = []

    def run(items: Sequence[Item], _context: Context) -> Iterator[tuple[Item, Outcome]]:
        for number, item in enumerate(items):
            if number == 2 and len(ran) < 3:
                raise RuntimeError("out of paper")
            ran.append(item.srn)
            yield item, Outcome("success", {})

    world = open_world(catalog=catalog(Task("echo", "products", 1, ("$.title",), run)))
    world.source.put("a", "b", "c", "d")
    outcome = world.night()
    assert not outcome.is_replaced, "a step never fails for one document"
    assert kinds(world) == {"success": 2, "retry": 2}
    assert world.rows("SELECT DISTINCT reason FROM result WHERE kind = 'retry'") == [("RuntimeError: out of paper",)]
    world.night()
    assert kinds(world) == {"success": 4}
    assert len(ran) == 4


def test_an_outcome_for_nobody_or_given_twice_does_no_harm(open_world: OpenWorld) -> None:
    def run(items: Sequence[Item], _context: Context) -> Iterator[tuple[Item, Outcome]]:
        for item in (*items, *items, items[0]._replace(fingerprint=b"nobody's")):
            yield item, Outcome("success", {"text": "with \0 in it"})

    world = open_world(catalog=catalog(Task("echo", "products", 1, ("$.title",), run)))
    world.source.put("a", "b")
    world.night()
    assert kinds(world) == {"success": 2}


def test_a_condition_that_no_longer_holds_takes_the_result_out_of_the_output(open_world: OpenWorld) -> None:
    def only_long(subject: Any, _context: Context) -> str | None:
        return None if len(subject.properties["title"]) > 3 else "the title is short"

    echo = Scripted("normalize_publisher_year", publishes=YEAR, condition=only_long)
    echo.answer = lambda item: Outcome("success", {"publisher_year_normalized": "2021"})
    world = open_world(catalog=catalog(echo.row))
    world.source.put("a", title="Long enough")
    world.source.put("b", title="No")
    world.night()
    assert {name: body["publisher_year_normalized"] for name, body in world.outputs().items() if ":" not in name} == {
        "a": "2021",
        "b": None,
    }
    world.source.put("a", title="Not")
    world.night()
    assert world.outputs()["a"]["publisher_year_normalized"] is None
    assert world.one("SELECT count(*) FROM task_use JOIN revision USING (doc_id, from_gen) WHERE to_gen IS NULL") == 0
    assert world.outputs() == world.rebuilt()


@pytest.mark.parametrize("function", ["condition", "looks_up"])
def test_a_document_of_which_a_task_did_not_think_costs_that_result_and_not_the_set(
    open_world: OpenWorld, function: str
) -> None:
    def stumbles(subject: Subject, _context: Context) -> str | None:
        return {"Good": None}[subject.properties["title"]]

    echo = Scripted("normalize_publisher_year", publishes=YEAR, **{function: stumbles})
    echo.answer = lambda item: Outcome("success", {"publisher_year_normalized": "2021"})
    world = open_world(catalog=catalog(echo.row))
    world.source.put("a", title="Good")
    world.source.put("b", title="Private")
    assert world.night().published["products"] == 2
    (report,) = world.tasks(again="all").values()
    assert report.not_applicable == 1
    assert [re.sub(r"\d+", "N", why) for why in report.why_not] == ["its condition failed: KeyError at test_tasks.py:N"]
    found = {name: body.get("publisher_year_normalized") for name, body in world.outputs().items()}
    assert (found["a"], found["b"]) == ("2021", None)
    told = {stage.stage: stage for stage in why.why(world.installation, "src:one:b")}["task normalize_publisher_year"]
    assert (told.outcome, told.reason) == ("not applicable", *report.why_not)


def test_a_lost_vocabulary_lets_wait_what_looks_it_up_and_stops_no_set(open_world: OpenWorld) -> None:
    looking = Scripted("normalize_publisher_year", publishes=YEAR, uses_vocabularies=True)
    looking.answer = lambda item: Outcome("success", {"publisher_year_normalized": "2021"})
    other = Scripted()
    world = open_world(catalog=catalog(looking.row, other.row))
    world.source.put("a")
    world.night()
    key = keys.vocabulary("0" * 64)
    world.change(
        "INSERT INTO vocabulary_source (name, object_key, digest, terms, taken_at) VALUES ('v', %s, '', 1, now())", key
    )
    world.source.put("b")
    assert world.night().published["products"] == 2
    assert (looking.took(), other.took()) == (["src:one:a"], ["src:one:a", "src:one:b"])
    assert _years(world) == {"a": "2021", "b": None}, "what was found stands"
    reports = world.tasks()
    assert "there is no object" in reports[looking.row.name].waits and not reports["echo"].waits
    assert [alert.cause for alert in alerts.standing(world.installation)] == ["vocabulary-lost"]
    told = {stage.stage: stage for stage in why.why(world.installation, "src:one:b")}[f"task {looking.row.name}"]
    assert told.outcome == "pending" and "the asset `vocabularies` harvests it again" in told.reason
    world.installation.objects.put(key, b'[{"@id": "urn:x", "@type": "skos:Concept"}]')
    world.day_work()
    assert _years(world) == {"a": "2021", "b": "2021"}
    assert alerts.standing(world.installation) == []


def _years(world: World) -> dict[str, str | None]:
    return {name: body["publisher_year_normalized"] for name, body in world.outputs().items() if ":" not in name}


def test_later_tasks_run_again_when_a_result_that_they_read_changed(open_world: OpenWorld) -> None:
    checked = Checked()
    world = open_world(catalog=checked.catalog)
    world.source.put("a", "b", files=("x",))
    world.night()
    assert len(checked.read.took()) == 2
    checked.look_again(world)
    assert checked.read.took() == [], "the same validator"
    checked.validators = {"x": "v2"}
    checked.look_again(world)
    assert len(checked.read.took()) == 2
    assert kinds(world, "read") == {"success": 4}


def test_they_run_again_in_every_set_that_shares_the_result(open_world: OpenWorld) -> None:
    checked = Checked()
    world = open_world(catalog=checked.catalog)
    world.source.put("a", files=("shared/x",), spec="one")
    world.source.put("b", files=("shared/x",), spec="two")
    world.night("src:one")
    world.night("src:two")
    checked.read.ran.clear()
    checked.validators = {"x": "v2"}
    steps.tasks(world.installation, "src:one", [checked.check.row], again="all")
    world.night("src:two")
    assert len(checked.read.took()) == 1
    world.night("src:one")
    assert checked.read.took() == [], "the other set has made that result"
    for key in ("src:one", "src:two"):
        assert world.outputs(key) == world.rebuilt(key)


def test_a_mark_made_while_a_set_is_staged_is_not_lost(open_world: OpenWorld) -> None:
    """The other set has compared and checked, but not read yet, when a result that it shares changes."""
    checked = Checked()
    world = open_world(catalog=checked.catalog)
    world.source.put("a", files=("shared/x",), spec="one")
    world.source.put("b", files=("shared/x",), spec="two")
    world.night("src:one")
    steps.harvest(world.installation, "src:two")
    steps.documents(world.installation, "src:two")
    world.tasks("src:two")
    checked.validators = {"x": "v2"}
    steps.tasks(world.installation, "src:one", [checked.check.row], again="all")
    steps.outputs(world.installation, "src:two")
    world.tasks("src:two")
    steps.conclude(world.installation, "src:two")
    day_work.finish(world.installation)
    uses = world.rows(
        """SELECT s.key, x.data->>'text' FROM task_use u JOIN result x USING (task, fingerprint)
           JOIN harvest_set s USING (set_id) WHERE task = 'read' ORDER BY 1"""
    )
    assert uses == [("src:one", "v1"), ("src:two", "v2")]


def test_marks_of_documents_that_are_gone_do_not_stay(open_world: OpenWorld) -> None:
    checked = Checked()
    world = open_world(catalog=checked.catalog)
    world.source.put("a", "b")
    world.night()
    world.source.delete("a")
    checked.validators = {"a": "v2"}
    steps.harvest(world.installation, KEY)
    steps.tasks(world.installation, KEY, [checked.check.row], again="all")
    steps.documents(world.installation, KEY)
    world.tasks()
    steps.conclude(world.installation, KEY)
    assert world.one("SELECT count(*) FROM stale_use") == 0


def test_a_rejected_candidate_hides_no_change_of_what_is_accepted(open_world: OpenWorld) -> None:
    """A look that was due for a document that the candidate would end, and what reads it."""
    checked = Checked()
    world = open_world(catalog=checked.catalog, deletes="no", min_documents=5)
    checked.check.answer = lambda item: Outcome("success", {"validator": checked._of(item)}, due_at=world.now + DAY / 2)
    names = [f"n{number}" for number in range(8)]
    world.source.put(*names, files=("x",))
    world.night()
    checked.read.ran.clear()
    world.source.forget(*names[4:])
    world.source.put(names[0], files=("x",), title="Another")
    checked.validators = {"x": "v2"}
    assert world.night().is_replaced
    day_work.finish(world.installation)
    assert len(checked.read.took()) == 8, "also for those that the candidate does not have"
    assert world.outputs() == world.rebuilt()
    world.source.put(*names, files=("x",))
    assert not world.night().is_replaced
    checked.read.ran.clear()
    world.tasks()
    assert checked.read.took() == []
    check(world)


def test_a_new_version_makes_every_result_anew_and_until_then_the_last_success_stands(open_world: OpenWorld) -> None:
    first = Scripted("normalize_publisher_year", publishes=YEAR, reads=("$.publisher_year",))
    first.answer = lambda item: Outcome("success", {"publisher_year_normalized": "2001"})
    world = open_world(catalog=catalog(first.row))
    world.source.put("a", "b", "c")
    world.night()
    second = Scripted("normalize_publisher_year", publishes=YEAR, reads=("$.publisher_year",), version=2)
    second.answer = lambda item: Outcome("retry", None, "busy", None)
    other = open_world(catalog=catalog(second.row))
    other.night()
    assert second.took() == ["src:one:a"], "one result for three documents of the same year"
    assert {body.get("publisher_year_normalized") for body in other.outputs().values()} == {"2001", None}
    second.answer = lambda item: Outcome("success", {"publisher_year_normalized": "2002"})
    other.night()
    assert {body.get("publisher_year_normalized") for body in other.outputs().values()} == {"2002", None}
    check(other)
    assert other.outputs() == other.rebuilt()


def test_a_new_version_reaches_what_a_rejected_candidate_left_out(open_world: OpenWorld) -> None:
    first = Scripted("normalize_publisher_year", publishes=YEAR)
    first.answer = lambda item: Outcome("success", {"publisher_year_normalized": "2001"})
    settings = {"deletes": "no", "min_documents": 5}
    world = open_world(catalog=catalog(first.row), **settings)
    names = [f"n{number}" for number in range(8)]
    world.source.put(*names)
    world.night()
    second = Scripted("normalize_publisher_year", publishes=YEAR, version=2)
    second.answer = lambda item: Outcome("success", {"publisher_year_normalized": "2002"})
    other = open_world(catalog=catalog(second.row), **settings)
    other.source.forget(*names[4:])
    assert other.night().is_replaced
    day_work.finish(other.installation)
    assert [body["publisher_year_normalized"] for name, body in other.outputs().items() if ":" not in name] == (
        ["2002"] * 8
    )


def cut(_: Item) -> Outcome:
    raise KeyboardInterrupt


def test_a_run_that_was_cut_is_taken_up_again(open_world: OpenWorld) -> None:
    """After the uses were noted, before the results were stored: nothing tells but that the run is not settled."""
    echo = Scripted()
    world = open_world(catalog=catalog(echo.row))
    world.source.put("a", "b")
    answer, echo.answer = echo.answer, cut
    with pytest.raises(KeyboardInterrupt):
        world.night(pass_time=False)
    echo.answer = answer
    assert world.one("SELECT count(*) FROM task_use") == 2 and kinds(world) == {}
    world.tasks()
    assert kinds(world) == {"success": 2}


def test_a_disabled_task_is_not_run_and_what_it_found_stays(open_world: OpenWorld) -> None:
    echo = Scripted()
    world = open_world(catalog=catalog(echo.row))
    world.source.put("a")
    world.night()
    echo.ran.clear()
    other = open_world(catalog=catalog(echo.row), tasks={"disabled": ["echo"]})
    other.source.put("b")
    other.night()
    assert echo.took() == []
    assert kinds(other) == {"success": 1}


def test_failed_results_are_made_again_on_request(open_world: OpenWorld) -> None:
    echo = Scripted()
    world = open_world(catalog=catalog(echo.row))
    echo.answer = lambda item: Outcome("failure" if item.srn.endswith("a") else "success", {}, "no good")
    world.source.put("a", "b")
    world.night()
    echo.ran.clear()
    world.tasks(again="failed")
    assert echo.took() == ["src:one:a"]
    world.tasks(again="all")
    assert echo.took() == ["src:one:a", "src:one:b"]


def test_a_task_backfilled_by_day_reaches_the_output_with_the_next_release(open_world: OpenWorld) -> None:
    echo = Scripted("normalize_publisher_year", publishes=YEAR)
    echo.answer = lambda item: Outcome("success", {"publisher_year_normalized": "2001"})
    world = open_world(catalog=catalog(echo.row))
    world.source.put("a", "b")
    world.night()
    echo.answer = lambda item: Outcome("success", {"publisher_year_normalized": "2002"})
    world.tasks(again="all")
    assert world.outputs()["a"]["publisher_year_normalized"] == "2001"
    assert day_work.finish(world.installation) == [KEY]
    assert world.outputs()["a"]["publisher_year_normalized"] == "2002"
    check(world)


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement that is sent meanwhile."""
    sent: list[str] = []
    execute, copy = psycopg.Cursor.execute, psycopg.Cursor.copy

    def counted(self: Any, query: Any, *rest: Any, **options: Any) -> Any:
        sent.append(query if isinstance(query, str) else query.as_string(self))
        return execute(self, query, *rest, **options)

    def counted_copy(self: Any, query: Any, *rest: Any, **options: Any) -> Any:
        sent.append("COPY")
        return copy(self, query, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Cursor, "execute", counted)
        patched.setattr(psycopg.Cursor, "copy", counted_copy)
        yield sent


def test_a_night_without_news_costs_a_task_a_few_look_ups(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.source.put("a", "b", "c")
    world.night()
    world.night()
    with statements(monkeypatch) as sent:
        world.tasks()
    assert len(sent) <= 16, sent
    assert not any("JOIN body" in statement for statement in sent)


@pytest.mark.parametrize("only_new", [False, True])
def test_a_portion_is_done_now_and_the_rest_by_the_next_run(open_world: OpenWorld, only_new: bool) -> None:
    echo = Scripted()
    world = open_world(catalog=catalog(echo.row))
    world.source.put("first")
    world.night()
    echo.took()
    world.source.put("a", "b", "c", "d")
    steps.harvest(world.installation, KEY)
    steps.documents(world.installation, KEY)

    def ran(portion: Portion | None) -> tuple[bool, list[str]]:
        with lock_set(world.installation, KEY) as locked:
            (report,) = enrich.run_tasks(locked, [echo.row], only_new=only_new, portion=portion, on_candidate=True)
        return report.is_cut, echo.took()

    assert ran(Portion(-1, 1)) == (True, []), "its time was over before anything was begun"
    echo.answer = lambda item: time.sleep(0.2) or Outcome("success", {"saw": item.srn})
    cut, done = ran(Portion(0.1, 3))
    assert cut and len(done) == 3, "what was begun is finished"
    assert ran(Portion(60, 3)) == (False, sorted({f"{KEY}:{name}" for name in "abcd"} - {*done}))
    assert ran(None) == (False, [])
    steps.outputs(world.installation, KEY)
    steps.conclude(world.installation, KEY)
    check(world)
