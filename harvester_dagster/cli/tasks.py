"""`harvester tasks …`: the document tasks, and running their results again."""

from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from harvester_dagster.catalog import CATALOG
from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Commands, Json
from harvester_dagster.cli.session import dagster_home, opened
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.sets import failed_results
from harvester_dagster.sets.failed_results import ALL, Choice, Chosen
from harvester_dagster.sets.sets import UnknownSet

task_app = Commands("The document tasks: what there is, and running results again.")


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
    srns: Annotated[
        list[str] | None, typer.Option("--srn", metavar="SRN", help="Only of this document; of a product's files too.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only what failed for a reason that has this in it.")] = None,
    host: Annotated[str | None, typer.Option(help="Only what failed at this host.")] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="One group of the failures page: --reason and --host are its whole ones, or it has none."
        ),
    ] = False,
    now: Annotated[
        bool, typer.Option("--now", help="With what chooses among failed results: make them anew at once, too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With what chooses: only show how many, and some of them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a task again over its failed, expired or all results. Publishing is `release`.

    With --srn, --reason, --host or --exact nothing is run now, but with --now: these failed results become due, and the
    task's next run makes them anew.
    """
    choice = Choice(tuple(srns or ()), tuple(sets or ()), reason or "", host or "", exact)
    is_chosen = choice._replace(sets=()) != ALL
    if (host == "" and not exact) or (reason == "" and not is_chosen):
        # A variable that is not set would choose everything.
        raise typer.BadParameter(
            "an empty --host or --reason chooses nothing; with --exact it means that there is none"
        )
    if is_chosen:
        if results is not Which.failed:
            raise typer.BadParameter("--srn, --reason, --host and --exact choose among failed results")
        if now and dry_run:
            raise typer.BadParameter("--dry-run runs nothing, --now does")
        _make_due(task, choice, dry_run, now, as_json)
        return
    if dry_run or now:
        raise typer.BadParameter(f"{'--dry-run' if dry_run else '--now'} needs --srn, --reason, --host or --exact")
    with opened(for_tasks=True) as installation:
        failed_results.task_named(installation, task)
        for key in sets or ():
            if key not in installation.config.sets:
                raise UnknownSet(f"{key} is not configured", f"there are: {', '.join(installation.config.sets)}")
        done = _run(installation, task, sets or list(installation.config.sets), results, as_json)
        if as_json:
            printing.as_json(done)


def _run(
    installation: Installation, task: str, keys: Iterable[str], results: Which, as_json: bool
) -> list[dict[str, Any]]:
    """A task over these sets, one after another; what came of it in each."""
    dagster_home(installation.config)
    from harvester_dagster.cli import dagster_runs

    done = []
    for key in keys:
        printing.errors.print(f"{key}: {task} …", style="dim")
        asked = {"task": task, "results": results.value}
        with audit.asked(installation.pool, "retry task", key, installation.clock, **asked) as came:
            came["run"] = run_id = dagster_runs.run_task(installation, key, task, results.value)
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
    return done


def _make_due(name: str, choice: Choice, dry_run: bool, now: bool, as_json: bool) -> None:
    with opened(for_tasks=now) as installation:
        task = failed_results.task_named(installation, name)
        if dry_run:
            with installation.reading.connection() as connection:
                found = failed_results.chosen(installation, connection, task, choice)
        else:
            with audit.trying(installation.pool, "retry results", name, installation.clock):
                found = failed_results.make_due(installation, task, choice)
        then = failed_results.command_of_work(name, found.sets)
        if not as_json:
            _show(name, found, installation.config.zone, dry_run, "" if now else then)
        runs = _run(installation, name, found.sets, Which.expired, as_json) if now else []
        if as_json:
            printing.as_json({"task": name, "dry_run": dry_run, **found._asdict(), "then": then, "runs": runs})


def _show(name: str, found: Chosen, zone: ZoneInfo, dry_run: bool, then: str) -> None:
    """What was chosen, and (`then`) what makes it anew."""
    rows = [(each.srn, each.kind, each.reason, printing.moment(each.due_at, zone)) for each in found.samples]
    printing.table(["document", "outcome", "reason", "was due" if not dry_run else "due"], rows)
    counted = f"{found.results:,} failed results of {found.documents:,} documents"
    if dry_run or not found.results:
        printing.console.print(f"{name}: {counted}." if found.results else f"{name}: none of them has failed.")
        return
    said = f"{name}: {counted} are due now."
    if then:
        said += f" The next run of the task makes them anew: the next night, or {printing.text(then)}"
    printing.console.print(said, soft_wrap=True)
