"""Commands that make something happen at night's scale: `up`, `night`, `harvest`, `release`."""

import contextlib
import signal
import threading
import time
from typing import Annotated

import typer

from harvester_dagster import nights, reports
from harvester_dagster.cli import showing
from harvester_dagster.cli.errors import told
from harvester_dagster.cli.starting import Daemon, dagster_home, demonstration, loaded, opened, services, webserver
from harvester_dagster.harvesting.sets import UnknownSet
from harvester_dagster.installation import Installation
from harvester_dagster.nights import Night

POLL_SECONDS = 1.0


def run_night(installation: Installation, daemon: Daemon) -> Night:
    """Open a night and see it through, saying what happens; the daemon's sensors request its runs and its release."""
    with installation.pool.connection() as connection:
        night, keys = nights.open_night(connection, installation.config, installation.clock(), "hand")
    showing.console.print(f"Night {night.night_id}: {len(keys)} sets. Dagster requests their runs; this takes a while.")
    said: dict[str, str] = {}
    while True:
        daemon.ensure()
        if not said:
            daemon.check_definitions()
        with installation.pool.connection() as connection:
            for key, state in _progress(connection, night):
                if said.get(key) != state:
                    said[key] = state
                    showing.console.print(f"  {key}: {state}", style="dim")
            open_ids = {row.night_id for row in nights.open_nights(connection)}
        if night.night_id not in open_ids and (not daemon.is_ours or not open_ids):
            return night
        time.sleep(POLL_SECONDS)


def _progress(connection, night: Night) -> list[tuple[str, str]]:  # type: ignore[no-untyped-def]
    rows = connection.execute(
        """SELECT s.key, n.outcome, a.state, a.mode, a.pages FROM night_set n JOIN harvest_set s USING (set_id)
           LEFT JOIN LATERAL (SELECT * FROM attempt a WHERE a.set_id = n.set_id AND a.night_id = n.night_id
                              ORDER BY attempt_id DESC LIMIT 1) a ON true
           WHERE n.night_id = %s ORDER BY 1""",
        (night.night_id,),
    ).fetchall()
    said = [
        (key, f"{mode} harvest {state}" + (f", run ended: {outcome}" if outcome else ""))
        for key, outcome, state, mode, _ in rows
        if state
    ]
    if rows and all(row[1] for row in rows):
        said.append(("release", "all sets have ended; the version is being promoted"))
    return said


def night() -> None:
    """Run a whole night now: every set, then the release. Uses what `up` has running."""
    with told(), opened(for_tasks=True) as installation, Daemon(installation.config) as daemon:
        started = time.monotonic()
        run_night(installation, daemon)
        report(installation, time.monotonic() - started)


def report(installation: Installation, seconds: float) -> None:
    showing.console.print()
    showing.status(reports.status(installation), tasks=True)
    showing.console.print(f"\nThe night took {seconds:.0f} s.")


def harvest(
    key: Annotated[str, typer.Argument(metavar="SOURCE:SET", help="The set, as `harvester set list` names it.")],
    full: Annotated[bool, typer.Option("--full", help="Ask for everything, not only what changed.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="And compare everything anew, whatever its hash.")] = False,
) -> None:
    """Run one set now: harvest, tasks, verdict. Publishing is `release`."""
    with told(), opened(for_tasks=True) as installation:
        if key not in installation.config.sets:
            raise UnknownSet(f"{key} is not configured; there are: {', '.join(installation.config.sets)}")
        dagster_home(installation.config)
        showing.errors.print(f"{key}: running …", style="dim")
        from harvester_dagster import running

        run_id = running.run_set(installation, key, "reset" if reset else "full" if full else "auto")
        found = reports.status(installation)
        showing.status(found._replace(sets=[line for line in found.sets if line.key == key]), tasks=True)
        showing.console.print(f"\nRun {run_id}. Publish it with `harvester release`.", style="dim")


def release() -> None:
    """Promote what the sets have accepted, now; ends the hold that a rollback has set."""
    with told(), opened() as installation:
        dagster_home(installation.config)
        from harvester_dagster import running

        run_id = running.run_release(installation)
        found = reports.status(installation)
        showing.console.print(f"Version {found.version_id} is current (run {run_id}).")


def up(
    demo: Annotated[bool, typer.Option("--demo", help="On the bundled sample sources.")] = False,
    port: Annotated[int, typer.Option("--port", help="Of the Dagster UI.")] = 3000,
) -> None:
    """Everything, until Ctrl-C: the store, the Dagster UI and its daemon with schedules and sensors on."""
    with told(), contextlib.ExitStack() as stack:
        if demo:
            stack.enter_context(demonstration())
        config = loaded()
        stack.enter_context(services(config, for_tasks=True))
        installation = stack.enter_context(opened())
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        showing.console.print("Starting the Dagster UI and its daemon …", style="dim")
        daemon = stack.enter_context(Daemon(config))
        daemon.ensure()
        url = stack.enter_context(webserver(config, port))
        from harvester_dagster.web.serving import served

        pages = stack.enter_context(served(installation, url))
        showing.console.print(f"[bold]Dagster: {url}[/bold]  [bold]Pages: {pages}/harvest/status[/bold]")
        showing.console.print(f"The next night is at {config.night.cron}; Ctrl-C stops everything.", style="dim")
        showing.status(reports.status(installation))
        while not stop.wait(POLL_SECONDS):
            daemon.ensure()
        showing.console.print("Stopping …", style="dim")
