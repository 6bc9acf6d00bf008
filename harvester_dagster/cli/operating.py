"""Commands of an operator at 7 in the morning: what happened, why, and what to do about it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from psycopg.types.json import Jsonb
from rich.markup import escape

from harvester_dagster import explain, reports
from harvester_dagster.cli import showing
from harvester_dagster.cli.errors import told
from harvester_dagster.cli.starting import config_path, dagster_home, opened
from harvester_dagster.config import ConfigError, load
from harvester_dagster.harvesting import sets, steps
from harvester_dagster.harvesting.attempts import Attempt
from harvester_dagster.installation import Installation
from harvester_dagster.search import swap
from harvester_dagster.sources.source import SourceError
from harvester_dagster.tasks.results import mark_dirty
from harvester_dagster.versions import versions

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")]
Key = Annotated[str, typer.Argument(metavar="SOURCE:SET", help="The set, as `harvester set list` names it.")]
Srn = Annotated[str, typer.Argument(metavar="SRN", help="source:set:external_id")]
SHOWN = 20

version_app = typer.Typer(no_args_is_help=True, help="Dataset versions: list, compare, go back.")
set_app = typer.Typer(no_args_is_help=True, help="The sets: list, withdraw a retired one.")
overwrite_app = typer.Typer(
    no_args_is_help=True, help="An operator's values for one document; they win over the source's."
)
config_app = typer.Typer(no_args_is_help=True, help="The configuration.")
source_app = typer.Typer(no_args_is_help=True, help="Sources.")


def status(as_json: Json = False) -> None:
    """How every set stands: its newest harvest, its verdict, what is published."""
    with told(), opened() as installation:
        found = reports.status(installation)
        if as_json:
            showing.as_json(found)
        else:
            showing.status(found, tasks=True)


def why(srn: Srn, as_json: Json = False) -> None:
    """Explain one document: each stage with its time and outcome, each task with the rule that let it run or not."""
    with told(), opened() as installation:
        stages = explain.why(installation, srn)
        if as_json:
            showing.as_json(stages)
            return
        showing.console.print(f"[bold]{srn}[/bold]")
        for stage in stages:
            when = f"  [dim]{stage.at[:19].replace('T', ' ')}[/dim]" if stage.at else ""
            reason = f": {stage.reason}" if stage.reason else ""
            showing.console.print(f"  {stage.stage:<42} {escape(stage.outcome + reason)}{when}", soft_wrap=True)


def accept(key: Key, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Take a set's newest rejected candidate after all. Look first: --dry-run lists what it adds, changes, removes."""
    with told(), opened() as installation:
        showing.errors.print(f"{key}: staging the candidate …", style="dim")
        attempt = steps.candidate(installation, key, lambda line: showing.errors.print(line, style="dim"))
        changes = _changes(installation, attempt)
        if as_json:
            showing.as_json({"attempt": attempt, "changes": changes, "accepted": not dry_run})
        else:
            _show_changes(key, attempt, changes)
        if dry_run:
            return
        outcome = steps.accept(installation, key)
        dagster_home(installation.config)
        from harvester_dagster import running

        running.report_accepted(installation, key)
        if not as_json:
            showing.console.print(f"Accepted as generation {outcome.generation}. Publish it with `harvester release`.")


def _changes(installation: Installation, attempt: Attempt) -> list[versions.Change]:
    with installation.pool.connection() as connection:
        gen = attempt.base_gen
        return list(versions.set_difference(connection, attempt.set_id, gen, gen + 1))


def _show_changes(key: str, attempt: Attempt, changes: list[versions.Change]) -> None:
    count = {name: sum(change.change == name for change in changes) for name in ("added", "changed", "removed")}
    showing.console.print(
        f"[bold]{key}[/bold], harvested {showing.moment(attempt.started_at)}, rejected: {escape(attempt.reason)}\n"
        f"It would add {count['added']:,}, change {count['changed']:,} and remove {count['removed']:,} documents."
    )
    for change in changes[:SHOWN]:
        showing.console.print(f"  {change.change:<8} {change.srn}", soft_wrap=True, markup=False)
    if len(changes) > SHOWN:
        showing.console.print(f"… and {len(changes) - SHOWN:,} more (all with --json)", style="dim")


def dismiss(key: Key, dry_run: DryRun = False) -> None:
    """Lay a set's newest rejected candidate aside for good."""
    with told(), opened() as installation:
        if dry_run:
            attempt = steps.candidate(installation, key)
            _show_changes(key, attempt, _changes(installation, attempt))
            return
        attempt = steps.dismiss(installation, key)
        showing.console.print(f"{key}: candidate {attempt.attempt_id} dismissed; the set is harvested again tonight.")


@version_app.command("list")
def version_list(as_json: Json = False) -> None:
    """Every version that is kept, newest first."""
    with told(), opened() as installation, installation.pool.connection() as connection:
        found = versions.all_versions(connection)
        if as_json:
            showing.as_json(found)
            return
        showing.table(
            ["version", "prepared", "promoted", "until", "sets", "code"],
            [
                (
                    f"{row.version_id}{' *' if row.is_current else ''}",
                    showing.moment(row.prepared_at),
                    showing.moment(row.promoted_at),
                    showing.moment(row.ceased_at),
                    len(row.generations),
                    row.code_version,
                )
                for row in found
            ],
        )


@version_app.command("diff")
def version_diff(old: int, new: int, as_json: Json = False) -> None:
    """What differs between two versions, document by document."""
    with told(), opened() as installation, installation.pool.connection() as connection:
        changes = versions.difference(connection, versions.by_id(connection, old), versions.by_id(connection, new))
        if as_json:
            for change in changes:
                typer.echo(json.dumps({"srn": change.srn, "entity": change.entity, "change": change.change}))
            return
        count: dict[str, int] = {}
        for change in changes:
            count[change.change] = count.get(change.change, 0) + 1
            if sum(count.values()) <= SHOWN:
                showing.console.print(f"{change.change:<8} {change.srn}")
        total = sum(count.values())
        more = f" (the first {SHOWN} shown; all with --json)" if total > SHOWN else ""
        listed = ", ".join(f"{n:,} {name}" for name, n in count.items())
        showing.console.print(f"{listed or 'nothing differs'}{more}")


@version_app.command("rollback")
def version_rollback(
    version: Annotated[int, typer.Argument(help="0: the one that was current before.")] = 0, dry_run: DryRun = False
) -> None:
    """Make an earlier version current again. Automatic releases are held until `harvester release`."""
    with told(), opened() as installation:
        with installation.pool.connection() as connection:
            earlier = versions.by_id(connection, version) if version else versions.before_current(connection)
        if dry_run:
            showing.console.print(
                f"Version {earlier.version_id} of {showing.moment(earlier.prepared_at)} would be current."
            )
            return
        report, published = swap.roll_back(
            installation, earlier, progress=lambda line: showing.errors.print(line, style="dim")
        )
        if behind := published.behind or (report.reason if report.outcome == "failed" else ""):
            showing.console.print(f"[yellow]The index is behind: {behind}[/yellow]")
        showing.console.print(f"Version {earlier.version_id} is current. Automatic releases are held.")


@set_app.command("list")
def set_list(as_json: Json = False) -> None:
    """Every set: its generation, its last accepted harvest, whether it is retired."""
    with told(), opened() as installation, installation.pool.connection() as connection:
        found = sets.all_sets(connection)
        if as_json:
            showing.as_json(found)
            return
        showing.table(
            ["set", "generation", "last accepted harvest", "last full", ""],
            [
                (
                    row.key,
                    row.accepted_gen,
                    showing.moment(row.watermark),
                    showing.moment(row.refreshed_at),
                    "withdrawn" if row.withdrawn_at else "retired" if row.retired_at else "",
                )
                for row in found
            ],
        )


@set_app.command("withdraw")
def set_withdraw(key: Key, dry_run: DryRun = False) -> None:
    """End every document of a retired set: consumers see them deleted with the next release."""
    with told(), opened() as installation:
        if dry_run:
            outcome = steps.outcome(installation, key)
            listed = ", ".join(f"{n:,} {entity}" for entity, n in outcome.published.items())
            showing.console.print(f"{key}: {listed or 'nothing'} would be deleted for consumers.")
            return
        steps.withdraw(installation, key)
        showing.console.print(f"{key} is withdrawn. Publish it with `harvester release`.")


@overwrite_app.command("set")
def overwrite_set(
    srn: Srn, values: Annotated[str, typer.Argument(help='JSON, such as {"title": "…"}, or @FILE.')]
) -> None:
    """Set an operator's values for one document. They survive harvests and resets."""
    with told(), opened() as installation:
        text = Path(values[1:]).read_text(encoding="utf-8") if values.startswith("@") else values
        try:
            body: Any = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"not JSON: {error}") from None
        if not isinstance(body, dict) or not body:
            raise ConfigError('an overwrite is a JSON object with at least one field, such as {"title": "…"}')
        with installation.pool.connection() as connection:
            found = explain.look_up(installation, connection, srn)
            connection.execute(
                """INSERT INTO overwrite (doc_id, body, changed_at) VALUES (%s, %s, %s)
                   ON CONFLICT (doc_id) DO UPDATE SET body = excluded.body, changed_at = excluded.changed_at""",
                (found.doc_id, Jsonb(body), installation.clock()),
            )
            mark_dirty(connection, [found.doc_id])
        showing.console.print(f"{srn}: {', '.join(body)} overwritten. Published with the next release.")


@overwrite_app.command("clear")
def overwrite_clear(srn: Srn) -> None:
    """Give a document its source's values back."""
    with told(), opened() as installation, installation.pool.connection() as connection:
        found = explain.look_up(installation, connection, srn)
        gone = connection.execute("DELETE FROM overwrite WHERE doc_id = %s", (found.doc_id,)).rowcount
        mark_dirty(connection, [found.doc_id] if gone else [])
        showing.console.print(f"{srn}: {'cleared' if gone else 'there was no overwrite'}.")


@config_app.command("check")
def config_check() -> None:
    """Validate the configuration and say what it comes to."""
    with told():
        config = load(config_path())
        showing.console.print(f"{config_path()}: valid. Platform {config.platform}, {len(config.sets)} sets:")
        showing.table(["set", "kind", "address"], [(key, found.kind, found.url) for key, found in config.sets.items()])


@source_app.command("check")
def source_check(url: str, kind: Annotated[str, typer.Option(help="oai-pmh or sharekit")] = "oai-pmh") -> None:
    """Ask a server who it is and what it offers; ends with a block for harvester.toml."""
    from harvester_dagster.catalog import CATALOG
    from harvester_dagster.config import Config, SetSettings
    from harvester_dagster.outside.outside import Outside

    with told():
        try:
            network = load(config_path()).network
        except ConfigError:
            network = Config().network
        if kind not in CATALOG.kinds:
            raise SourceError(f"there is no kind {kind!r}; there are: {', '.join(CATALOG.kinds)}")
        outside = Outside(
            allow_hosts=network.allow_hosts,
            per_host_per_second=network.per_host_per_second,
            user_agent=network.user_agent,
        )
        for line in CATALOG.kinds[kind].check(SetSettings(kind=kind, url=url), outside):
            showing.console.print(line, soft_wrap=True)
