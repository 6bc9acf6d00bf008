"""`harvester demo`: a whole night on the bundled sample sources, and a look at what came of it (`make run`)."""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated
from urllib.request import Request, urlopen

import typer

from harvester_dagster.access.runs import endpoints
from harvester_dagster.access.runs.enricher import refresh_journals
from harvester_dagster.access.runs.run import enrich
from harvester_dagster.cli import access, printing
from harvester_dagster.cli.commands import MENDABLE
from harvester_dagster.cli.night import daemon_of, report, run_night
from harvester_dagster.cli.session import demonstration, opened
from harvester_dagster.config import source_of
from harvester_dagster.consumers import snapshots
from harvester_dagster.demo import sample_index, served_cases
from harvester_dagster.demo.case_table import CASES
from harvester_dagster.demo.lies import CASE, Telling, telling
from harvester_dagster.demo.searches import search
from harvester_dagster.demo.service import PORT
from harvester_dagster.explain import status
from harvester_dagster.installation import Installation
from harvester_dagster.search.connection import SearchError
from harvester_dagster.services.launcher import Unavailable
from harvester_dagster.sets import attempts, problems, sets, steps
from harvester_dagster.store import database

_COPED = {
    "accepted": "its harvest is whole all the same, and accepted.",
    "rejected": "its harvest was rejected; what is published of it stays, and nothing is lost.",
    "failed": "no whole harvest tonight; what is published of it stays, and the next night asks again.",
}
SHOWN = 8
"""So many odd records of a case are told of."""
QUESTIONS = ("verpleegkunde", "exercises", "exercices")
"""Dutch, English, a typo."""


def demo(
    lie: Annotated[
        str, typer.Option("--lie", help="Make a sample source lie, or a source of the field play its case: see below.")
    ] = "",
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=1, max=65_535, help="Of the sample sources; else the one that they had before, or a free one."
        ),
    ] = None,
) -> None:
    """A whole night on bundled sample sources, its report, searches, and a run of the access enricher. Exit code 1
    when a set's run failed."""
    lying = telling(lie)
    if port is not None:
        os.environ[PORT] = str(port)
    cases = lying.cases if lying else ()
    with demonstration(cases) as url:
        _tell(url, lie or "none")
        try:
            with opened(for_tasks=True, migrates=True) as installation, daemon_of(installation) as daemon:
                for case in cases:
                    _harvested_before(installation, case)
                started = time.monotonic()
                done = run_night(installation, daemon)
                failed = report(installation, done, time.monotonic() - started)
                _show(installation, lying, cases)
        finally:
            _tell(url, "none")
        if failed:
            raise typer.Exit(MENDABLE)
        printing.console.print("\nLook at it in a browser: [bold]make up[/bold]. More: `.venv/bin/harvester --help`.")


def _show(installation: Installation, lying: Telling | None, cases: Sequence[str]) -> None:
    """What came of the night, each part of it anew where the store was away meanwhile."""
    parts: list[Callable[[], None]] = [
        partial(_show_cases, installation, cases),
        partial(_show_api, installation),
        partial(_show_searches, installation),
        partial(_show_enricher, installation),
    ]
    if lying and not cases:
        parts.insert(0, partial(_show_lie, installation, lying))
    for part in parts:
        database.again(part, installation.address)


def _tell(url: str, lie: str) -> None:
    urlopen(Request(f"{url}/lie/{lie}", method="POST"), timeout=10).close()


def _harvested_before(installation: Installation, case: str) -> None:
    """The harvest before tonight's, where it is a delta that shows the case."""
    if "delta" not in served_cases.read(case)["harvests"]:
        return
    for key in installation.config.sets:
        if source_of(key) != f"{CASE}-{case}":
            continue
        printing.console.print(f"{key}: harvested once before, for its case shows in a delta.", style="dim")
        steps.harvest(installation, key, asked="full")
        steps.documents(installation, key)
        steps.outputs(installation, key)
        steps.conclude(installation, key)


def _show_lie(installation: Installation, lying: Telling) -> None:
    """What the source did, and how the night coped."""
    printing.console.print(f"\n[bold yellow]Tonight {lying.source} lied ({lying.name}): {lying.says}.[/]")
    for line in _lines(status.status(installation), lying.source):
        printing.console.print(f"  {line.key}: {_COPED.get(line.harvest, _COPED['failed'])}")


def _show_cases(installation: Installation, cases: Sequence[str]) -> None:
    """What each source of a case did, how the night coped, and how it should."""
    found = status.status(installation) if cases else None
    for case in cases:
        does = printing.text(CASES[case].does)
        printing.console.print(f"\n[bold yellow]Tonight a source played the case {case}: {does}.[/]")
        for line in _lines(found, f"{CASE}-{case}"):
            printing.console.print(f"  {line.key}: {_COPED.get(line.harvest, _COPED['failed'])}")
            _show_case(installation, line)
        printing.console.print(f"  So it should be: {printing.text(CASES[case].seen)}.", style="dim")


def _lines(found: status.Status | None, source: str) -> list[status.SetLine]:
    return [line for line in found.sets if source_of(line.key) == source] if found else []


def _show_case(installation: Installation, line: status.SetLine) -> None:
    """What came of a set, record by record where something was odd."""
    if line.reason:
        printing.console.print(printing.text(f"    {line.reason}"), soft_wrap=True)
    if line.harvest != "failed":  # of one that failed no record was looked at
        told = ", ".join(f"{count:,} {what}" for what, count in line.tally.items() if count)
        printing.console.print(f"    {line.records:,} records came{f': {told}' if told else ''}", soft_wrap=True)
    with installation.pool.connection() as connection:
        state = sets.find(connection, line.key)
        newest = attempts.last(connection, state.set_id, modes=attempts.HARVESTS)
        odd = problems.of_attempt(connection, newest.attempt_id, SHOWN) if newest else []
    for external_id, kind, reason in odd:
        printing.console.print(printing.text(f"    {kind}, {external_id or 'the list'}: {reason}"), soft_wrap=True)


def _show_api(installation: Installation) -> None:
    from harvester_dagster.web.api.consumer_api import PATH  # the framework is imported where it serves, else

    with installation.pool.connection() as connection:
        shown = snapshots.counts(connection)
    web = installation.config.web
    listed = " and ".join(f"{number:,} {entity}" for entity, number in shown.items()) or "nothing yet"
    address = f"http://{web.host}:{web.port}{PATH}/{installation.catalog.entities[0].singular}/"
    printing.console.print(f"\nThe API shows {listed}: {address} (while [bold]make up[/bold] runs; docs/api.md)")


def _show_searches(installation: Installation) -> None:
    try:
        found = search(installation, *QUESTIONS)
    except SearchError as error:
        printing.console.print(f"\n[yellow]No search: {printing.text(error)}[/yellow]")
        return
    printing.console.print()
    printing.table(["search", "hits", "the best"], [(row.words, row.hits, " · ".join(row.titles)) for row in found])


def _show_enricher(installation: Installation) -> None:
    try:
        name = endpoints.only(installation.config)
        with endpoints.opened(installation.config, name, installation.pool, installation.clock) as job:
            sample_index.fill(job.solr)
            refresh_journals(job, only_if_older=True)
            done = enrich(job, "partial")
    except Unavailable as error:
        printing.console.print(f"\n[yellow]No access enricher: {printing.text(error)}[/yellow]")
        return
    printing.console.print(f"\n[bold]Access enricher[/bold]\n{access.summary(done)}")
