"""`harvester audit`: what was done at the command line, by the user who typed it."""

import getpass
import inspect
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from harvester_dagster.access.runs import run_rows
from harvester_dagster.cli import night
from harvester_dagster.cli.main import app
from harvester_dagster.installation import utc_now
from harvester_dagster.publication import audit, overwrites
from harvester_dagster.publication.audit import Doer
from harvester_dagster.releases import taking_down
from harvester_dagster.sets import failed_results, pushed
from harvester_dagster.store.database import open_pool
from tests.cli.conftest import Run
from tests.cli.walking import commands


@pytest.fixture(autouse=True)
def store(works: Path, database: str) -> str:
    os.environ["HARVESTER_POSTGRES_URL"] = database
    return database


def rows(run: Run, *filters: str) -> list[dict[str, Any]]:
    result = run("audit", "--json", *filters)
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout))


def test_what_was_tried_in_vain_is_there_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.9 50000 192.0.2.1 22")
    assert rows(run) == []
    assert run("overwrite", "set", "src:one:x", '{"title": "x"}').exit_code == 1
    assert run("dismiss", "src:one").exit_code == 1
    dismissed, overwritten = rows(run)
    for row, act, subject in ((dismissed, "dismiss", "src:one"), (overwritten, "overwrite", "src:one:x")):
        assert row["actor"] == f"cli:{getpass.getuser()}" and row["address"] == "192.0.2.9"
        assert (row["act"], row["subject"], row["outcome"]) == (act, subject, "refused")
        assert row["detail"]["reason"]


def test_it_is_filtered_and_shown_as_text(run: Run, store: str) -> None:
    with open_pool(store) as pool:
        for days, name in ((0, "cli:alice"), (40, "[red]a[/red]")):
            with audit.acting(Doer(name, "192.0.2.1")):
                audit.told(pool, "harvest", "src:one", utc_now() - timedelta(days=days), ask="full")
    assert [row["actor"] for row in rows(run)] == ["cli:alice"], "of the last 30 days"
    assert len(rows(run, "--days", "41")) == 2 and len(rows(run, "--days", "41", "--count", "1")) == 1
    assert rows(run, "--actor", "cli:bob") == rows(run, "--act", "accept") == rows(run, "--subject", "src:two") == []
    assert rows(run, "--outcome", "refused") == [] and len(rows(run, "--outcome", "asked for")) == 1
    shown = run("audit", "--days", "41").stdout
    assert "ask full" in shown and "[red]a[/red]" in shown
    assert run("audit", "--outcome", "undone").exit_code == 2 and run("audit", "--days", "0").exit_code == 2


READING = {
    "status", "why", "audit", "access why", "access what-if", "journals invalid", "tasks list", "index status",
    "index verify", "push list", "versions list", "versions diff", "set list", "config check", "source check",
    "alerts try",
    "services fetch",
}  # fmt: skip
"""Commands that change nothing of what is published, or that fetch programs."""
BY = {
    **{"night": night.begun, "demo": night.begun},
    **{"overwrite clear": overwrites.clear, "takedown": taking_down.take_down},
    **{"push accept": pushed.accept, "push dismiss": pushed.dismiss},
    **{"access stop": run_rows.ask_to_stop, "tasks retry": failed_results.make_due},
}
"""What writes the row, where the command's own function does not."""
STARTING = {"up", "push work"}
"""What it starts acts by itself, or is asked on a page."""


def test_a_command_that_acts_writes_who_did(run: Run) -> None:
    """A new command is one of these, or its function writes a row."""
    silent = {
        command.name
        for command in commands()
        if command.name not in READING | STARTING
        and "audit." not in inspect.getsource(BY.get(command.name, callbacks()[command.name]))
    }
    assert silent == set()


def callbacks() -> dict[str, Any]:
    """The function of each command, by its words."""

    def below(group: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from below(command, (*words, name))
            else:
                yield " ".join((*words, name)), inspect.unwrap(command.callback)

    return dict(below(typer.main.get_command(app), ()))
