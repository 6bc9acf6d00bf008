"""`harvester accept` and `harvester dismiss`: what to do about a rejected candidate."""

import math
import shlex
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from psycopg import Connection

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import DryRun, Json, Key
from harvester_dagster.cli.session import dagster_home, opened
from harvester_dagster.consumers import changes
from harvester_dagster.consumers.field_differences import DocumentDifference, described
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.sets import steps
from harvester_dagster.sets.attempts import Attempt
from harvester_dagster.sets.candidate_figures import Figures

Attempted = Annotated[
    int | None,
    typer.Option(
        "--attempt", metavar="N", min=1, help="The attempt that was looked at; refused where it has moved since."
    ),
]


def accept(key: Key, attempt: Attempted = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Take a set's newest rejected candidate after all. Look first: --dry-run lists what it adds, changes, removes, and
    names the attempt; where it has moved since, that is said and nothing is accepted."""
    with opened() as installation:
        printing.errors.print(f"{key}: staging the candidate …", style="dim", markup=False)
        seen = ""
        if dry_run or (sys.stdin.isatty() and not attempt and not as_json):
            shown = _look(installation, key, as_json=as_json, dry_run=dry_run)
            if dry_run or not typer.confirm(f"Accept attempt {shown.attempt_id}?"):
                return
            attempt, seen = shown.attempt_id, shown.digest
        with audit.trying(installation.pool, "accept", key, installation.clock):
            outcome = steps.accept(installation, key, attempt_id=attempt, seen=seen)
        dagster_home(installation.config)
        from harvester_dagster.cli import dagster_runs

        dagster_runs.report_accepted(installation, key)
        if as_json:
            found = _differences(installation, outcome.attempt) if outcome.attempt else []
            printing.as_json({"attempt": outcome.attempt, "changes": found, "accepted": True})
        else:
            printing.console.print(f"Accepted as generation {outcome.generation}. Publish it with `harvester release`.")


def _look(installation: Installation, key: str, *, dry_run: bool, as_json: bool = False) -> Figures:
    """Show the candidate, and after a dry run how it is accepted."""
    attempt, figures = steps.look(installation, key, printing.progress)
    if as_json:
        found = _differences(installation, attempt)
        printing.as_json({"attempt": attempt, "figures": figures, "changes": found, "accepted": False})
        return figures
    _show(installation, key, attempt, figures, math.inf if dry_run else printing.SHOWN)
    if dry_run:
        accepting = f"harvester accept {shlex.quote(key)} --attempt {attempt.attempt_id}"
        printing.console.print(f"Accept it: {accepting}", soft_wrap=True, markup=False)
    return figures


def _differences(installation: Installation, attempt: Attempt) -> list[DocumentDifference]:
    with installation.pool.connection() as connection:
        return list(_streamed(connection, attempt))


def _streamed(connection: Connection[Any], attempt: Attempt) -> Iterator[DocumentDifference]:
    gens = {attempt.set_id: attempt.base_gen}, {attempt.set_id: attempt.base_gen + 1}
    return map(described, changes.whole(connection, changes.of_generations(connection, *gens)))


def _show(installation: Installation, key: str, attempt: Attempt, figures: Figures, most: float) -> None:
    began = printing.moment(attempt.started_at, installation.config.zone)
    printing.console.print(
        f"[bold]{printing.text(key)}[/bold], attempt {attempt.attempt_id}, harvested {began}, "
        f"rejected: {printing.text(attempt.reason)}\nIt proposes {printing.text(str(figures))}."
    )
    with installation.pool.connection() as connection:
        printing.differences(_streamed(connection, attempt), most=most)


def dismiss(
    key: Key,
    attempt: Annotated[
        int | None,
        typer.Option(
            "--attempt", metavar="N", min=1, help="The attempt that was looked at; refused where another waits."
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Lay a set's newest rejected candidate aside for good."""
    with opened() as installation:
        if dry_run:
            _look(installation, key, dry_run=True, as_json=as_json)
            return
        with audit.trying(installation.pool, "dismiss", key, installation.clock):
            dismissed = steps.dismiss(installation, key, attempt_id=attempt)
        if as_json:
            printing.as_json({"attempt": dismissed})
        else:
            printing.console.print(
                f"{printing.text(key)}: candidate {dismissed.attempt_id} dismissed; the set is harvested again tonight."
            )
