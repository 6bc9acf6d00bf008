"""`harvester …`: every command in one place. What each does is in its own module, how each ends in `commands.py`."""

import os
import signal
import sys
from importlib.metadata import version
from types import FrameType
from typing import Annotated

import typer

from harvester_dagster.cli import access, audit, candidates, demo, explain, night, persons, services, takedowns
from harvester_dagster.cli.commands import EXIT_CODES, Commands
from harvester_dagster.cli.config import config_app
from harvester_dagster.cli.index import index_app
from harvester_dagster.cli.overwrites import overwrite_app
from harvester_dagster.cli.push import push_app
from harvester_dagster.cli.session import opened
from harvester_dagster.cli.sets import set_app
from harvester_dagster.cli.source import source_app
from harvester_dagster.cli.store import store_app
from harvester_dagster.cli.tasks import task_app
from harvester_dagster.cli.told import alert_app
from harvester_dagster.cli.versions import version_app
from harvester_dagster.demo import lies

app = Commands(
    "Harvest, enrich, check and publish metadata at night.",
    name="harvester",
    epilog=EXIT_CODES,
    rich_markup_mode="markdown",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"harvester {version('harvester_dagster')}")
        raise typer.Exit


@app.callback()
def harvester(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version of this program.")
    ] = False,
) -> None:
    """Harvest, enrich, check and publish metadata at night."""


for command in (
    night.up,
    night.night,
    night.harvest,
    explain.status,
    explain.why,
    candidates.accept,
    candidates.dismiss,
    night.release,
    takedowns.takedown,
    persons.find_person,
    audit.audit,
):
    app.command()(command)
app.command(epilog=lies.listed())(demo.demo)
access.mount(app, opened)
app.add_typer(task_app, name="tasks")
app.add_typer(index_app(opened), name="index")
app.add_typer(version_app, name="versions")
app.add_typer(set_app, name="set")
app.add_typer(overwrite_app, name="overwrite")
app.add_typer(alert_app, name="alerts")
app.add_typer(push_app, name="push")
app.add_typer(config_app, name="config")
app.add_typer(source_app, name="source")
app.add_typer(store_app, name="store")
app.add_typer(services.service_app, name="services")


def main() -> None:
    """What `harvester` runs: signals made as a person expects them, then the command."""
    signal.signal(signal.SIGTERM, _end)
    # A script's background command begins with SIGINT ignored. Importing Dagster gives SIGTERM whatever SIGINT has:
    # neither would end this command, nor what it starts.
    signal.signal(signal.SIGINT, _interrupt)
    if unread := [one for one in sys.argv[1:] if not _is_text(one)]:
        typer.secho(f"An argument is no text in UTF-8: {ascii(os.fsencode(unread[0]))[1:]}", fg="red", err=True)
        sys.exit(2)
    app()


def _is_text(argument: str) -> bool:
    """Whether it was typed in UTF-8: Python keeps what was not in halves of characters, which nothing takes."""
    return not any("\ud800" <= one <= "\udfff" for one in argument)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Answered at once where a person looks on: to stop what was started takes some seconds."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\nStopping ...\n")
    signal.default_int_handler(number, frame)


def _end(number: int, _: object) -> None:
    """As Ctrl-C: what was started is stopped on the way out."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
