"""Commands that make something happen at night's scale: `up`, `night`, `harvest`, `release`."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from harvester_dagster.cli import following, printing, single_record
from harvester_dagster.cli.code_server import CodeServer
from harvester_dagster.cli.commands import MENDABLE, DryRun, Json, Key
from harvester_dagster.cli.session import (
    Daemon,
    PushWorker,
    Webserver,
    dagster_home,
    demonstration,
    loaded,
    opened,
    services,
)
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.consumers.version_differences import compared
from harvester_dagster.explain import night_progress, status
from harvester_dagster.explain.status import Status
from harvester_dagster.installation import Installation
from harvester_dagster.outside.origins import OWN_PORTS
from harvester_dagster.processes.beside import beside
from harvester_dagster.processes.stop_signals import StopSignals
from harvester_dagster.publication import audit
from harvester_dagster.releases import nights, stopping
from harvester_dagster.releases.missing_nights import MissingNights
from harvester_dagster.releases.nights import Night
from harvester_dagster.releases.stopping import NoNight
from harvester_dagster.sets import versions
from harvester_dagster.sets.sets import UnknownSet
from harvester_dagster.store import database
from harvester_dagster.store.away import overlooked

POLL_SECONDS = 1.0
_SAMPLES = 20
SHORT = timedelta(hours=1)
"""A night that has less before its deadline says so."""
MISSING_SECONDS = 10.0
"""Between two looks at nights that did not begin."""


@contextlib.contextmanager
def daemon_of(installation: Installation) -> Iterator[Daemon]:
    """Dagster's daemon for one command, not yet started, with a code server of its own."""
    with CodeServer() as code, Daemon(installation.config, code) as daemon:
        yield daemon


def run_night(installation: Installation, daemon: Daemon, console: Console = printing.console) -> Night:
    """Open a night and see it through, saying what happens; the daemon's sensors request its runs and its release."""
    if not installation.config.night.automation:
        raise ConfigError("night.automation is false: this copy only looks, and nobody would request a night's runs")
    from harvester_dagster.cli import dagster_runs  # loads the definitions: what is wrong with them opens no night

    dagster_runs.check_watched(installation)
    night, count = database.again(partial(begun, installation, installation.clock()), installation.address)
    console.print(f"Night {night.night_id}: {count} sets. Dagster requests their runs; this takes a while.")
    if warning := short_of_time(night, installation.config.zone):
        console.print(warning, style="yellow")
    tasks = len(installation.catalog.tasks)
    daemon.ensure()  # after the night is open, so that the first turn of its sensors finds it
    with (
        dagster_runs.watched(installation, lambda: daemon.is_ours),
        following.Following(installation.config.zone, console) as shown,
    ):
        while True:
            daemon.ensure()
            with overlooked():
                if _is_over(installation, night, daemon, tasks, shown):
                    return night
            time.sleep(POLL_SECONDS)


def short_of_time(night: Night, zone: ZoneInfo) -> str:
    """What is said of a night whose deadline is near, or ""."""
    left = night.deadline_at - night.opened_at
    if left >= SHORT:
        return ""
    at = f"{night.deadline_at.astimezone(zone):%H:%M}"
    minutes = left.seconds // 60
    return (
        f"It has {minutes} minutes: at {at} (night.deadline) the release goes on without the sets that are not ready."
    )


def begun(installation: Installation, now: datetime) -> tuple[Night, int]:
    """A night of its own, and how many sets it has. Done again with the same moment it finds what it has opened."""
    with installation.pool.connection() as connection:
        night = nights.by_hand(connection, now)
        if night is None:
            night = nights.open_night(connection, installation.config, now)
            audit.write(connection, "night", str(night.night_id), now, "asked for")
        return night, len(nights.expected(connection, night.night_id))


def _is_over(installation: Installation, night: Night, daemon: Daemon, tasks: int, shown: following.Following) -> bool:
    """Show where the night is; whether it has ended, and every other one that needs our daemon."""
    from harvester_dagster.cli import dagster_runs

    with installation.pool.connection() as connection:
        now, settings = installation.clock(), installation.config.night
        shown.show(night_progress.lines(connection, night.night_id, tasks, now, settings))
        open_ids = {row.night_id for row in nights.open_nights(connection)}
    is_over = night.night_id not in open_ids and (not daemon.is_ours or not open_ids)
    return is_over and not dagster_runs.release_goes_on(night.night_id)


def night(
    stop: Annotated[bool, typer.Option("--stop", help="Stop the night that goes on instead.")] = False,
    number: Annotated[int | None, typer.Option("--number", metavar="N", help="With --stop: this night only.")] = None,
    as_json: Json = False,
) -> None:
    """Run a whole night now: every set, then the release. Uses what `up` has running. Exit code 1 when a set's run
    failed. Stopped, it releases nothing; what its sets have accepted stays, and is released as work of the day."""
    if number is not None and not stop:
        raise typer.BadParameter("--number names the night that --stop stops")
    if stop:
        _stop(number, as_json=as_json)
        return
    with opened(for_tasks=True, migrates=True) as installation, daemon_of(installation) as daemon:
        started = time.monotonic()
        done = run_night(installation, daemon, printing.errors if as_json else printing.console)
        if as_json:
            found = database.again(partial(status.status, installation), installation.address)
            printing.as_json({"night": done.night_id, "status": found})
        if report(installation, done, time.monotonic() - started, quiet=as_json):
            raise typer.Exit(MENDABLE)


def _stop(number: int | None, *, as_json: bool) -> None:
    with opened() as installation:
        dagster_home(installation.config)
        from harvester_dagster.cli import dagster_runs

        with installation.pool.connection() as connection:
            found = [row.night_id for row in nights.open_nights(connection)]
        going_on = [night_id for night_id in found if number in (None, night_id)]
        if not going_on:
            which = "no night goes on" if number is None else f"night {number} does not go on"
            raise NoNight(which, "`harvester status` shows how the last one ended")
        for night_id in going_on:
            with audit.trying(installation.pool, "stop night", str(night_id), installation.clock):
                cut = stopping.stop(installation, night_id, dagster_runs.end_runs)
            if not as_json:
                what = ", ".join(map(printing.text, cut)) or "none"
                printing.console.print(f"Night {night_id} is stopped. Harvests that were under way: {what}.")
        if as_json:
            printing.as_json({"stopped": going_on})


def report(installation: Installation, done: Night, seconds: float, quiet: bool = False) -> list[str]:
    """Print what a night came to, and the seconds that it took; the keys of the sets whose runs failed in it, or came
    to no end."""
    failed, found = database.again(partial(_came_of, installation, done), installation.address)
    if not quiet:
        printing.console.print()
        printing.status(found, tasks=True)
        printing.console.print(f"\nThe night took {seconds:.0f} s.")
    for key, reason in failed.items():
        said = reason or "see its run in the Dagster UI"
        what = f"{key}: {said}" if reason == nights.STOPPED else f"{key}: its run FAILED: {said}"
        printing.errors.print(what, style="red", markup=False)
    return list(failed)


def _came_of(installation: Installation, done: Night) -> tuple[dict[str, str], Status]:
    """The sets whose runs failed in a night, and why; and where all sets are now."""
    with installation.pool.connection() as connection:
        failed = nights.failed(connection, done.night_id)
    return failed, status.status(installation)


def harvest(
    key: Key,
    full: Annotated[bool, typer.Option("--full", help="Ask for everything, not only what changed.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="And compare everything anew, whatever its hash.")] = False,
    record: Annotated[
        str | None, typer.Option("--record", metavar="ID", help="Ask for this record alone, by its id at the source.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --record: ask the source, and only show what would happen.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run one set now: harvest, tasks, verdict. Publishing is `release`."""
    if record is not None:
        if full or reset:
            raise typer.BadParameter("one record is asked for as it is: leave out --full and --reset")
        single_record.harvest(key, record, dry_run=dry_run, as_json=as_json)
        return
    if dry_run:
        raise typer.BadParameter("--dry-run shows what one record would do: name it with --record")
    with opened(for_tasks=True) as installation:
        if key not in installation.config.sets:
            raise UnknownSet(f"{key} is not configured", f"there are: {', '.join(installation.config.sets) or 'none'}")
        dagster_home(installation.config)
        printing.errors.print(f"{key}: running …", style="dim")
        from harvester_dagster.cli import dagster_runs

        ask = "reset" if reset else "full" if full else "auto"
        with audit.asked(installation.pool, "harvest", key, installation.clock, ask=ask) as came:
            came["run"] = run_id = dagster_runs.run_set(installation, key, ask)
        found = status.status(installation)
        if as_json:
            printing.as_json({"run": run_id, "set": next(line for line in found.sets if line.key == key)})
            return
        printing.status(found._replace(sets=[line for line in found.sets if line.key == key]), tasks=True)
        printing.console.print(f"\nRun {run_id}. Publish it with `harvester release`.", style="dim")


def release(dry_run: DryRun = False, as_json: Json = False) -> None:
    """Promote what the sets have accepted, now; ends the hold that a rollback has set."""
    with opened() as installation:
        if dry_run:
            _look(installation, as_json=as_json)
            return
        dagster_home(installation.config)
        from harvester_dagster.cli import dagster_runs

        with audit.trying(installation.pool, "release", "", installation.clock):
            run_id = dagster_runs.run_release(installation)
        found = status.status(installation)
        if as_json:
            printing.as_json({"run": run_id, "version": found.version_id, "search": found.search, "news": found.news})
            return
        printing.console.print(f"Version {found.version_id} is current (run {run_id}).")


def _look(installation: Installation, *, as_json: bool) -> None:
    """What a release would publish."""
    with installation.pool.connection() as connection:
        present = versions.current(connection)
        before = present.generations if present else {}
        found = compared(connection, before, versions.accepted(connection), _SAMPLES)
    if as_json:
        printing.as_json({"instead_of": present.version_id if present else None, **found._asdict()})
        return
    if not found.sets:
        printing.console.print("Nothing would be published: consumers see what the sets have accepted.")
        return
    instead = f"in the place of version {present.version_id}" if present else "as the first version"
    printing.console.print(f"A release would publish {instead}, with {found.sets} sets moved.")
    printing.would_see(found)


def _with_port(installation: Installation, port: int | None) -> Installation:
    """The installation, its pages on another port than the configuration's."""
    if port is None:
        return installation
    web = installation.config.web.model_copy(update={"port": port})
    return dataclasses.replace(installation, config=installation.config.model_copy(update={"web": web}))


def up(
    demo: Annotated[bool, typer.Option("--demo", help="On the bundled sample sources.")] = False,
    port: Annotated[int, typer.Option("--port", help="Of the Dagster UI.")] = 3000,
    pages_port: Annotated[
        int | None, typer.Option("--pages-port", help="Of the pages and the API, in place of [web] port.")
    ] = None,
) -> None:
    """Everything, until Ctrl-C: the store, the Dagster UI and its daemon with schedules and sensors on."""
    with contextlib.ExitStack() as stack:
        if demo:
            stack.enter_context(demonstration())
        config = loaded(for_tasks=True)
        stack.enter_context(services(config, for_tasks=True))
        installation = _with_port(stack.enter_context(opened(migrates=True)), pages_port)
        os.environ[OWN_PORTS] = f"{port},{installation.config.web.port}"
        automatic = config.night.automation
        printing.console.print(f"Starting the Dagster UI{' and its daemon' if automatic else ''} …", style="dim")
        code = stack.enter_context(CodeServer())
        daemon = stack.enter_context(Daemon(config, code)) if automatic else None
        if daemon:
            daemon.ensure()
        interface = stack.enter_context(Webserver(config, port, code))
        from harvester_dagster.cli.dagster_runs import DagsterLauncher, is_queued, watched
        from harvester_dagster.web.serving import served

        launcher = stack.enter_context(DagsterLauncher(interface.socket))
        dagster = config.web.dagster_url or interface.url
        pages = stack.enter_context(served(installation, launcher, dagster))
        worker = stack.enter_context(PushWorker(config)) if automatic else None
        if daemon:
            missing = MissingNights(installation, is_queued)
            stack.enter_context(watched(installation, lambda: daemon.is_ours))
            stack.enter_context(beside("nights", lambda: daemon.is_ours and missing.look(), MISSING_SECONDS))
        stop = StopSignals("\nStopping …\n")  # until here a signal ends what has begun by itself
        printing.console.print(f"[bold]Dagster: {interface.url}[/bold]  [bold]Pages: {pages}/[/bold]")
        coming = f"The next night is at {config.night.cron}" if automatic else "night.automation is false: no night"
        printing.console.print(f"{coming}; Ctrl-C stops everything.", style="dim")
        printing.status(status.status(installation))
        while not stop.wait(POLL_SECONDS):
            if daemon:
                daemon.ensure()
            if worker:
                worker.ensure()
            interface.ensure()
