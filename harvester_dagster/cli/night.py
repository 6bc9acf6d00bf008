"""Commands that make something happen at night's scale: `up`, `night`, `harvest`, `release`."""

import contextlib
import signal
import threading
import time
from typing import Annotated

import typer

from harvester_dagster import nights, reports
from harvester_dagster.cli import following, showing
from harvester_dagster.cli.errors import told
from harvester_dagster.cli.starting import Daemon, Webserver, dagster_home, demonstration, loaded, opened, services
from harvester_dagster.harvesting.sets import UnknownSet
from harvester_dagster.installation import Installation
from harvester_dagster.nights import Night

POLL_SECONDS = 1.0
LOADING_SECONDS = 120
"""For so long a night looks whether Dagster could load the definitions."""


def run_night(installation: Installation, daemon: Daemon) -> Night:
    """Open a night and see it through, saying what happens; the daemon's sensors request its runs and its release."""
    with installation.pool.connection() as connection:
        night, keys = nights.open_night(connection, installation.config, installation.clock(), "hand")
    showing.console.print(f"Night {night.night_id}: {len(keys)} sets. Dagster requests their runs; this takes a while.")
    tasks = len(installation.catalog.tasks)
    began = time.monotonic()
    with following.Following() as shown:
        while True:
            daemon.ensure()
            if time.monotonic() - began < LOADING_SECONDS:
                daemon.check_definitions()
            with installation.pool.connection() as connection:
                shown.show(following.lines(connection, night.night_id, tasks, installation.clock()))
                open_ids = {row.night_id for row in nights.open_nights(connection)}
            if night.night_id not in open_ids and (not daemon.is_ours or not open_ids):
                return night
            time.sleep(POLL_SECONDS)


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
        interface = stack.enter_context(Webserver(config, port))
        from harvester_dagster.web.serving import served

        pages = stack.enter_context(served(installation, interface.url))
        showing.console.print(f"[bold]Dagster: {interface.url}[/bold]  [bold]Pages: {pages}/harvest/status[/bold]")
        showing.console.print(f"The next night is at {config.night.cron}; Ctrl-C stops everything.", style="dim")
        showing.status(reports.status(installation))
        while not stop.wait(POLL_SECONDS):
            daemon.ensure()
            interface.ensure()
        showing.console.print("Stopping …", style="dim")
