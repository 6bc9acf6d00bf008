"""`harvester tasks retry` for chosen documents: counted and shown, made due, and the work named."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.sets.conftest import open_world, source, world
from tests.sets.world import KEY, World, commanded

__all__ = ["open_world", "source", "world"]
NEVER = "UPDATE result SET due_at = NULL WHERE kind = 'failure'"


@pytest.fixture
def failing(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two files that are gone, and are never looked at again by themselves."""
    commanded(world, folder, monkeypatch)
    world.source.put("a", "b", "c")
    world.source.files = {"a/a": 404, "b/a": 410}
    world.night()
    world.change(NEVER)
    return world


def due(world: World) -> int:
    count: int = world.one("SELECT count(*) FROM result WHERE kind = 'failure' AND due_at IS NOT NULL")
    return count


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--srn", f"{KEY}:a"), 1),
        (("--srn", f"{KEY}:a", "--srn", f"{KEY}:b"), 2),
        (("--reason", "answered 404"), 1),
        (("--host", "127.0.0.1"), 2),
        (("--host", "127.0.0.1", "--reason", "410", "--srn", f"{KEY}:b"), 1),
        ((KEY, "--host", "127.0.0.1"), 2),
        (("--host", "elsewhere.example"), 0),
        (("--reason", "answered 404", "--host", "127.0.0.1", "--exact"), 1),
        (("--reason", "answered 40", "--host", "127.0.0.1", "--exact"), 0),
        (("--reason", "answered 404", "--exact"), 0),
        (("--exact",), 0),
    ],
)
def test_a_dry_run_counts_and_shows_what_is_due_then(
    failing: World, run: Run, options: tuple[str, ...], count: int
) -> None:
    def asked(*more: str) -> dict[str, Any]:
        result = run("tasks", "retry", "check_url", *options, "--json", *more)
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.stdout))

    tried = asked("--dry-run")
    assert (tried["results"], len(tried["samples"]), due(failing)) == (count, count, 0)
    assert asked() == {**tried, "dry_run": False} and due(failing) == count
    (row,) = json.loads(run("audit", "--json").stdout)
    assert (row["act"], row["subject"], row["detail"]["results"]) == ("retry results", "check_url", count)


def test_no_command_is_named_for_nothing(failing: World, run: Run) -> None:
    said = json.loads(run("tasks", "retry", "check_url", "--host", "elsewhere.example", "--json").stdout)
    assert (said["results"], said["then"]) == (0, "")


def test_an_empty_reason_is_that_of_whatever_gave_none(failing: World, run: Run) -> None:
    for options in (("--reason", "", "--host", "127.0.0.1"), ("--reason", "", "--host", "", "--exact")):
        assert run("tasks", "retry", "check_url", *options, "--dry-run").exit_code == 0, options


def test_it_says_that_the_next_run_does_the_work_and_names_its_command(failing: World, run: Run) -> None:
    shown = run("tasks", "retry", "check_url", "--reason", "404").stdout
    assert "1 failed results of 1 documents are due now" in shown
    assert f"harvester tasks retry check_url {KEY} --results expired" in shown


def test_what_is_not_there_and_what_does_not_go_together(failing: World, run: Run) -> None:
    for options, code in (
        (("check_urls", "--reason", "404"), 1),
        (("check_url", "--srn", f"{KEY}:none"), 1),
        (("check_url", "src:none", "--reason", "404"), 1),
        (("check_url", "--dry-run"), 2),
        (("check_url", "--now"), 2),
        (("check_url", "src:none"), 1),
        (("check_url", "--exact", "--now", "--dry-run"), 2),
        (("check_url", "--reason", "404", "--results", "all"), 2),
        (("check_url", "--host", ""), 2),
        (("check_url", "--host="), 2),
        (("check_url", KEY, "--host", ""), 2),
        (("check_url", "--reason", "404", "--host", ""), 2),
        (("check_url", "--reason", ""), 2),
        (("check_url", "--srn", ""), 1),
        (("check_url", ""), 1),
    ):
        assert run("tasks", "retry", *options).exit_code == code, options
    assert due(failing) == 0


@pytest.mark.timeout(120)
def test_now_does_the_work_too(failing: World, run: Run) -> None:
    """In a process of its own, as each command has: Dagster's definitions are made of the configuration once in it."""
    failing.source.files = {}
    chosen = ("--reason", "answered 404", "--host", "127.0.0.1", "--exact", "--now", "--json")
    line = [Path(sys.executable).with_name("harvester"), "tasks", "retry", "check_url", *chosen]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["results"], [each["set"] for each in said["runs"]]) == (1, [KEY])
    assert failing.rows("SELECT kind, reason FROM result WHERE kind <> 'success'") == [("failure", "answered 410")]
    acts = [(row["act"], row["outcome"]) for row in reversed(json.loads(run("audit", "--json").stdout))]
    assert acts == [("retry results", "done"), ("retry task", "asked for"), ("retry task", "done")]
