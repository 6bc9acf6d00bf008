"""`harvester demo`: a whole night on the bundled sample sources, and a look at what came of it (`make run`)."""

import time
from typing import Annotated
from urllib.request import Request, urlopen

import typer

from harvester_dagster import reports
from harvester_dagster.access import cli as access
from harvester_dagster.access import endpoints
from harvester_dagster.access.enricher import refresh_journals
from harvester_dagster.access.run import enrich
from harvester_dagster.cli import showing
from harvester_dagster.cli.errors import told
from harvester_dagster.cli.night import report, run_night
from harvester_dagster.cli.starting import Daemon, demonstration, opened
from harvester_dagster.config import ConfigError
from harvester_dagster.installation import Installation
from harvester_dagster.search.client import SearchError
from harvester_dagster.search.trying import search
from harvester_dagster.services.launcher import Unavailable
from harvester_dagster.services.sample.lies import LIES, Telling, UnknownLieError, telling

_COPED = {
    "accepted": "its harvest is whole all the same, and accepted.",
    "rejected": "its harvest was rejected; what was accepted before stays published, and nothing is lost.",
    "failed": "no whole harvest tonight; what was accepted before stays published, and the next night asks again.",
}
QUESTIONS = ("verpleegkunde", "exercises", "exercices")
"""Dutch, English, a typo."""


def demo(
    lie: Annotated[
        str, typer.Option("--lie", help="Make a sample source lie: half, empty, dead, loop, html, broken, …")
    ] = "",
) -> None:
    """A whole night on bundled sample sources, its report, three searches, and a run of the access enricher."""
    with told(), demonstration() as url:
        try:
            lying = telling(lie)
        except UnknownLieError as error:
            raise ConfigError(str(error)) from None
        _tell(url, lie or "none")
        try:
            with opened(for_tasks=True) as installation, Daemon(installation.config) as daemon:
                started = time.monotonic()
                run_night(installation, daemon)
                report(installation, time.monotonic() - started)
                if lying:
                    _show_lie(reports.status(installation), lying)
                _show_searches(installation)
                _show_enricher(installation)
        finally:
            _tell(url, "none")
        showing.console.print("\nLook at it in a browser: [bold]make up[/bold]. More: `.venv/bin/harvester --help`.")


def _tell(url: str, lie: str) -> None:
    urlopen(Request(f"{url}/lie/{lie}", method="POST"), timeout=10).close()


def _show_lie(found: reports.Status, lying: Telling) -> None:
    """What the source did, and how the night coped."""
    said = LIES[lying.name].says
    showing.console.print(f"\n[bold yellow]Tonight {lying.source} lied ({lying.name}): {said}.[/]")
    for line in found.sets:
        if line.key.startswith(f"{lying.source}:"):
            showing.console.print(f"  {line.key}: {_COPED.get(line.harvest, _COPED['failed'])}")


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
