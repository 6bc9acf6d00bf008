"""`harvester set …`: what there is, reading one anew from its pages, reconciling one, withdrawing a retired one."""

from zoneinfo import ZoneInfo

import typer

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import MENDABLE, Commands, DryRun, Json, Key
from harvester_dagster.cli.session import opened
from harvester_dagster.publication import audit
from harvester_dagster.sets import reconcile, remap, sets, steps
from harvester_dagster.sets.reconcile import Report
from harvester_dagster.sets.replay import Coverage

set_app = Commands(
    "The sets: list, read one anew from its pages, reconcile one with its source, withdraw a retired one."
)


@set_app.command("list")
def set_list(as_json: Json = False) -> None:
    """Every set: its generation, its last accepted harvest, whether it is retired."""
    with opened() as installation, installation.pool.connection() as connection:
        found = sets.all_sets(connection)
        if as_json:
            printing.as_json(found)
            return
        printing.table(
            ["set", "generation", "last accepted harvest", "last full", "last reconciled", ""],
            [
                (
                    row.key,
                    row.accepted_gen,
                    printing.moment(row.watermark, installation.config.zone),
                    printing.moment(row.refreshed_at, installation.config.zone),
                    printing.moment(row.reconciled_at, installation.config.zone),
                    "withdrawn" if row.withdrawn_at else "retired" if row.retired_at else "",
                )
                for row in found
            ],
        )


@set_app.command("remap")
def set_remap(key: Key, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Extract a set anew from its stored pages, with the present mapping, and judge it; its source is not asked."""
    with opened(for_tasks=not dry_run) as installation:
        if dry_run:
            _show_coverage(key, remap.plan(installation, key), installation.config.zone, as_json)
            return
        with audit.asked(installation.pool, "remap", key, installation.clock) as came:
            outcome = remap.remap(installation, key, lambda line: printing.errors.print(line, style="dim"))
            came["generation"] = outcome.generation
        if as_json:
            printing.as_json(outcome)
        else:
            printing.candidate_outcome(key, outcome)


def _show_coverage(key: str, found: Coverage, zone: ZoneInfo, as_json: bool) -> None:
    if as_json:
        read = [{"attempt": one.attempt_id, "mode": one.mode, "pages": one.pages} for one in found.attempts]
        printing.as_json({"set": key, "pages": found.pages, "attempts": read})
        return
    printing.console.print(
        f"{key}: {found.pages:,} stored pages of {len(found.attempts)} harvests would be read anew, "
        f"the oldest of {printing.moment(found.attempts[0].started_at, zone)}."
    )


@set_app.command("reconcile")
def set_reconcile(key: Key, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Compare a set with its source's whole list of identifiers, fetch what is missing, end what is gone, and judge it:
    what deltas had missed. Killed, it goes on where it was when it is run again."""
    with opened(for_tasks=not dry_run) as installation:
        if dry_run:
            _show_found(key, reconcile.look(installation, key, printing.progress), as_json)
            return
        with audit.asked(installation.pool, "reconcile", key, installation.clock) as came:
            report, outcome = reconcile.reconcile(installation, key, printing.progress)
            came["generation"] = outcome.generation
        if as_json:
            printing.as_json({"set": key, "report": report, "outcome": outcome})
        else:
            _show_found(key, report, False)
            printing.candidate_outcome(key, outcome)
        if outcome.is_replaced:
            raise typer.Exit(MENDABLE)


def _show_found(key: str, report: Report, as_json: bool) -> None:
    if as_json:
        printing.as_json({"set": key, "report": report})
        return
    printing.console.print(printing.text(f"{key}: {report}."), soft_wrap=True)
    for what, names in report.examples.items():
        printing.console.print(printing.text(f"  {what}: {', '.join(names)}"), soft_wrap=True)


@set_app.command("withdraw")
def set_withdraw(key: Key, dry_run: DryRun = False, as_json: Json = False) -> None:
    """End every document of a retired set: consumers see them deleted with the next release."""
    with opened() as installation:
        if dry_run:
            outcome = steps.outcome(installation, key)
        else:
            with audit.trying(installation.pool, "withdraw", key, installation.clock):
                outcome = steps.withdraw(installation, key)
        if as_json:
            printing.as_json({"set": key, "withdrawn": not dry_run, "published": outcome.published})
            return
        if dry_run:
            listed = ", ".join(f"{n:,} {entity}" for entity, n in outcome.published.items())
            printing.console.print(f"{key}: {listed or 'nothing'} would be deleted for consumers.")
            return
        printing.console.print(f"{key} is withdrawn. Publish it with `harvester release`.")
