"""`harvester index …`: how the search index stands, building it anew, verifying it.

Belongs here: the commands' words. The installation is opened by whoever mounts them. Does not belong here: rules.
"""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import typer

from harvester_dagster.cli.commands import Commands, Json
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.search import aliases, build, index_state
from harvester_dagster.sets import versions


def index_app(opened: Callable[[], AbstractContextManager[Installation]]) -> typer.Typer:
    """The commands, ready to be mounted as `index`."""
    app = Commands("The search index: how it stands, build it anew, verify it.")

    @app.command("status")
    def show_status(as_json: Json = False) -> None:
        """Which index holds which version, what the alias shows, and what could not be indexed."""
        with opened() as installation:
            found = index_state.status(installation)
        if as_json:
            _print_json(_plain(found))
            return
        typer.echo(f"{found.server}; current version: {found.current_version or 'none yet'}")
        if found.behind:
            typer.secho(f"behind: {found.behind}", fg=typer.colors.YELLOW)
        if found.last_outcome == "failed":
            typer.secho(f"the last build failed: {found.last_reason}", fg=typer.colors.RED)
        for row in found.indices:
            holds = f"version {row.version_id}" if row.version_id else "-"
            left = f", {row.rejected} left out" if row.rejected else ""
            typer.echo(f"  {row.name:<48} {row.state:<11} {holds:<14} {row.documents:>10,} documents{left}")

    @app.command()
    def rebuild(as_json: Json = False) -> None:
        """Build the current version's index from nothing, verify it, and let the alias point at it."""
        with opened() as installation:
            with installation.pool.connection() as connection:
                current = versions.current(connection)
            if current is None:
                _fail("There is no current version yet: `harvester release` makes one.")
            audit.told(installation.pool, "rebuild index", str(current.version_id), installation.clock())
            report = build.bring_up(
                installation, current, rebuild=True, progress=lambda line: typer.secho(line, err=True, dim=True)
            )
            behind = aliases.move(installation) if report.outcome == "ready" else report.reason
        if as_json:
            _print_json(_plain(report))
        for one in report.entities if not as_json else ():
            typer.echo(f"{one.name}: {one.documents:,} documents in {one.seconds:.1f} s, {one.rejected} left out")
        if behind:
            _fail(behind)

    @app.command()
    def verify(as_json: Json = False) -> None:
        """Compare the index with the current version: counts, checksums, test queries."""
        with opened() as installation:
            found = index_state.check(installation)
        if as_json:
            _print_json([{"index": one.name, **_plain(one.verdict)} for one in found])
        for one in found if not as_json else ():
            said = one.verdict.wrong or f"{one.name} holds the version: {one.verdict.found.documents:,} documents"
            typer.secho(said, fg=typer.colors.RED if one.verdict.wrong else None)
            for query in one.verdict.queries:
                typer.echo(f"  {query.name}: {query.hits:,} hits (at least {query.minimum_hits})")
        if not found:
            _fail("No index holds the current version: `harvester index rebuild` makes one.")
        if any(one.verdict.wrong for one in found):
            raise typer.Exit(1)

    return app


def _fail(message: str) -> NoReturn:
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def _plain(value: Any) -> Any:
    """Named tuples as objects, all the way down."""
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value
