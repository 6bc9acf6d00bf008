"""`harvester tasks …`: the document tasks, and running their results again."""

from enum import Enum
from typing import Annotated

import typer

from harvester_dagster.catalog import CATALOG
from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Commands, Json
from harvester_dagster.cli.session import dagster_home, opened
from harvester_dagster.failures import HarvesterError
from harvester_dagster.publication import audit
from harvester_dagster.sets.sets import UnknownSet

task_app = Commands("The document tasks: what there is, and running results again.")


class UnknownTask(HarvesterError):
    """There is no such task."""


class Which(Enum):
    """Which results are made anew, beside what is pending."""

    failed = "failed"
    expired = "expired"
    all = "all"


@task_app.command("list")
def task_list(as_json: Json = False) -> None:
    """Every task, in the order of the night."""
    if as_json:
        rows = [(task.name, task.entity, task.after, task.version, task.summary) for task in CATALOG.tasks]
        printing.as_json(
            [dict(zip(("task", "entity", "after", "version", "summary"), row, strict=True)) for row in rows]
        )
        return
    printing.table(
        ["task", "works on", "after", "what it does"],
        [(task.name, task.entity, ", ".join(task.after), task.summary) for task in CATALOG.tasks],
    )


@task_app.command("retry")
def task_retry(
    task: Annotated[str, typer.Argument(help="As `harvester tasks list` names it.")],
    sets: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE:SET …]", help="Which sets; none: all.")] = None,
    results: Annotated[Which, typer.Option("--results", help="Which results are made anew.")] = Which.failed,
    as_json: Json = False,
) -> None:
    """Run a task again over its failed, expired or all results. Publishing is `release`."""
    with opened(for_tasks=True) as installation:
        if task not in (row.name for row in CATALOG.tasks):
            raise UnknownTask(f"there is no task {task!r}", "`harvester tasks list` names them")
        dagster_home(installation.config)
        from harvester_dagster.cli import dagster_runs

        done = []
        for key in sets or list(installation.config.sets):
            if key not in installation.config.sets:
                raise UnknownSet(f"{key} is not configured", f"there are: {', '.join(installation.config.sets)}")
            printing.errors.print(f"{key}: {task} …", style="dim")
            audit.told(installation.pool, "retry task", key, installation.clock(), task=task, results=results.value)
            run_id = dagster_runs.run_task(installation, key, task, results.value)
            with installation.pool.connection() as connection:
                row = connection.execute(
                    """SELECT outcomes, seconds FROM task_report JOIN harvest_set USING (set_id)
                       WHERE key = %s AND task = %s""",
                    (key, task),
                ).fetchone()
            kinds, seconds = row or ({}, 0.0)
            done.append({"set": key, "task": task, "outcomes": kinds, "seconds": seconds, "run": run_id})
            if not as_json:
                outcomes = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
                printing.console.print(
                    f"{printing.text(key)}: {outcomes or 'nothing to run'} ({seconds:.1f} s, run {run_id})"
                )
        if as_json:
            printing.as_json(done)
