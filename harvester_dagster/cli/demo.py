"""`harvester demo`: a whole night on the bundled sample sources, and a look at what came of it (`make run`)."""

import time
from typing import Annotated
from urllib.request import Request, urlopen

import typer

from harvester_dagster.access import cli as access
from harvester_dagster.access import endpoints
from harvester_dagster.access.run import enrich, refresh_journals
from harvester_dagster.cli import showing
from harvester_dagster.cli.errors import told
from harvester_dagster.cli.night import report, run_night
from harvester_dagster.cli.starting import Daemon, demonstration, opened
from harvester_dagster.config import ConfigError
from harvester_dagster.installation import Installation
from harvester_dagster.search.client import SearchError
from harvester_dagster.search.trying import search
from harvester_dagster.services.launcher import Unavailable

QUESTIONS = ("verpleegkunde", "exercises", "exercices")
"""Dutch, English, a typo."""


def demo(
    lie: Annotated[
        str, typer.Option("--lie", help="Make a sample source lie: half, empty, dead, loop, html, broken, …")
    ] = "",
) -> None:
    """A whole night on bundled sample sources, its report, three searches, and a run of the access enricher."""
    with told(), demonstration() as url:
        if lie:
            _tell(url, lie)
        try:
            with opened(for_tasks=True) as installation, Daemon(installation.config) as daemon:
                started = time.monotonic()
                run_night(installation, daemon)
                if lie:
                    showing.console.print(f"\n[yellow]Tonight a sample source lied: {lie}.[/yellow]")
                report(installation, time.monotonic() - started)
                _show_searches(installation)
                _show_enricher(installation)
        finally:
            if lie:
                _tell(url, "none")
        showing.console.print("\nLook at it in a browser: [bold]make up[/bold]. More: `.venv/bin/harvester --help`.")


def _tell(url: str, lie: str) -> None:
    try:
        urlopen(Request(f"{url}/lie/{lie}", method="POST"), timeout=10).close()
    except OSError as error:
        raise ConfigError(f"the sample server does not know the lie {lie!r} ({error})") from None


def _show_searches(installation: Installation) -> None:
    try:
        found = search(installation, *QUESTIONS)
    except SearchError as error:
        showing.console.print(f"\n[yellow]No search: {error}[/yellow]")
        return
    showing.console.print()
    showing.table(["search", "hits", "the best"], [(row.words, row.hits, " · ".join(row.titles)) for row in found])


def _show_enricher(installation: Installation) -> None:
    try:
        name = endpoints.only(installation.config)
        with endpoints.opened(installation.config, name, installation.pool, installation.clock) as job:
            refresh_journals(job, only_if_older=True)
            done = enrich(job, "partial")
    except Unavailable as error:
        showing.console.print(f"\n[yellow]No access enricher: {error}[/yellow]")
        return
    showing.console.print(f"\n[bold]Access enricher[/bold]\n{access.summary(done)}")
