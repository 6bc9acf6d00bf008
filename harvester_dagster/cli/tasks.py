"""`harvester tasks …`: the document tasks, and running their results again."""

from enum import Enum
from typing import Annotated

import typer

from harvester_dagster.catalog import CATALOG
from harvester_dagster.cli import showing
from harvester_dagster.cli.errors import told
from harvester_dagster.cli.starting import dagster_home, opened
from harvester_dagster.harvesting.sets import UnknownSet

task_app = typer.Typer(no_args_is_help=True, help="The document tasks: what there is, and running results again.")


class Which(Enum):
    """Which results are made anew, beside what is pending."""

    failed = "failed"
    expired = "expired"
    all = "all"


@task_app.command("list")
def task_list() -> None:
    """Every task, in the order of the night."""
    showing.table(
        ["task", "works on", "after", "what it does"],
        [(task.name, task.entity, ", ".join(task.after), task.summary) for task in CATALOG.tasks],
    )


@task_app.command("retry")
def task_retry(
    task: Annotated[str, typer.Argument(help="As `harvester tasks list` names it.")],
    sets: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE:SET …]", help="Which sets; none: all.")] = None,
    results: Annotated[Which, typer.Option("--results", help="Which results are made anew.")] = Which.failed,
) -> None:
    """Run a task again over its failed, expired or all results. Publishing is `release`."""
    with told(), opened(for_tasks=True) as installation:
        if task not in (row.name for row in CATALOG.tasks):
            raise UnknownSet(f"there is no task {task!r}; `harvester tasks list` names them")
        dagster_home(installation.config)
        from harvester_dagster import running

        for key in sets or list(installation.config.sets):
            if key not in installation.config.sets:
                raise UnknownSet(f"{key} is not configured; there are: {', '.join(installation.config.sets)}")
            showing.errors.print(f"{key}: {task} …", style="dim")
            run_id = running.run_task(installation, key, task, results.value)
            with installation.pool.connection() as connection:
                row = connection.execute(
                    """SELECT outcomes, seconds FROM task_report JOIN harvest_set USING (set_id)
                       WHERE key = %s AND task = %s""",
                    (key, task),
                ).fetchone()
            outcomes = ", ".join(f"{count} {kind}" for kind, count in (row[0] if row else {}).items())
            showing.console.print(f"{key}: {outcomes or 'nothing to run'} ({row[1] if row else 0:.1f} s, run {run_id})")
