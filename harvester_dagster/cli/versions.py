"""`harvester versions …`: list, compare, go back."""

from typing import Annotated

import typer

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Commands, DryRun, Json
from harvester_dagster.cli.session import opened
from harvester_dagster.consumers import changes
from harvester_dagster.consumers.field_differences import described
from harvester_dagster.consumers.version_differences import compared
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import Version

_SAMPLES = 20
_LISTED = 1_000
version_app = Commands("Dataset versions: list, compare, go back.")


@version_app.command("list")
def version_list(as_json: Json = False) -> None:
    """The versions that are kept, newest first; those that pushes have made are counted beside the one before them."""
    with opened() as installation, installation.pool.connection() as connection:
        found = versions.lines(connection, _LISTED)
        if as_json:
            printing.as_json(found)
            return
        printing.table(
            ["version", "prepared", "promoted", "until", "sets", "pushes", "code"],
            [
                (
                    f"{row.version_id}{' *' if row.is_current else ''}",
                    printing.moment(row.prepared_at, installation.config.zone),
                    printing.moment(row.promoted_at, installation.config.zone),
                    printing.moment(row.ceased_at, installation.config.zone),
                    row.sets,
                    row.pushes,
                    row.code_version,
                )
                for row in found
            ],
        )


@version_app.command("diff")
def version_diff(
    old: Annotated[int, typer.Argument(help="A version, as `harvester versions list` numbers it.")],
    new: Annotated[int, typer.Argument(help="Another one.")],
    as_json: Json = False,
) -> None:
    """What differs between two versions, document by document and field by field."""
    with opened() as installation, installation.pool.connection() as connection:
        before, after = versions.by_id(connection, old).generations, versions.by_id(connection, new).generations
        found = changes.whole(connection, changes.of_generations(connection, before, after))
        printing.differences(map(described, found), as_json=as_json)


@version_app.command("hold")
def version_hold(
    why: Annotated[str, typer.Option("--why", help="Shown beside it.")] = "", as_json: Json = False
) -> None:
    """Hold automatic releases, those of the night too, until `harvester release`."""
    with opened() as installation:
        with audit.trying(installation.pool, "hold", "", installation.clock):
            held = versions.hold_releases(installation, why)
        if as_json:
            printing.as_json(held)
            return
        printing.console.print(
            f"Automatic releases are held: {printing.text(held.reason)}. `harvester release` goes on."
        )


@version_app.command("end-hold")
def version_end_hold(as_json: Json = False) -> None:
    """Let automatic releases go on, without one now; `harvester release` releases at once, and ends a hold too."""
    with opened() as installation:
        with audit.trying(installation.pool, "end hold", "", installation.clock):
            held = versions.let_go_on(installation)
        if as_json:
            printing.as_json(held)
        else:
            printing.console.print(f"Automatic releases go on; they were held: {printing.text(held.reason)}.")


@version_app.command("rollback")
def version_rollback(
    version: Annotated[int, typer.Argument(help="0: the one that was current before.")] = 0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make an earlier version current again. Automatic releases are held until `harvester release`."""
    with opened() as installation:
        with installation.pool.connection() as connection:
            earlier = versions.by_id(connection, version) if version else versions.before_current(connection)
        if dry_run:
            _look(installation, earlier, as_json=as_json)
            return
        with audit.trying(installation.pool, "rollback", str(earlier.version_id), installation.clock):
            report, published = release.roll_back(installation, earlier, progress=printing.progress)
        behind = published.behind or (report.reason if report.outcome == "failed" else "")
        if as_json:
            printing.as_json({"version": published.version, "rolled_back": True, "behind": behind})
            return
        if behind:
            printing.console.print(f"[yellow]The index is behind: {printing.text(behind)}[/yellow]")
        printing.console.print(f"Version {earlier.version_id} is current. Automatic releases are held.")


def _look(installation: Installation, earlier: Version, *, as_json: bool) -> None:
    """What going back would do."""
    with installation.pool.connection() as connection:
        versions.check_rollback(connection, earlier)
        present = versions.current(connection)
        found = compared(connection, present.generations if present else {}, earlier.generations, _SAMPLES)
    if as_json:
        printing.as_json({"version": earlier, "rolled_back": False, **found._asdict()})
        return
    prepared = printing.moment(earlier.prepared_at, installation.config.zone)
    printing.console.print(
        f"Version {earlier.version_id} of {prepared} would be current, with {found.sets} sets moved."
    )
    printing.would_see(found)
