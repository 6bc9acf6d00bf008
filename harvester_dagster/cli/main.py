"""`harvester …`: every command in one place. What each does is in its own module.

`--help` at every level teaches; `--json` where a machine may read; a message and exit code 1 for what a person can
mend.
"""

import signal
import sys

import typer

from harvester_dagster.access import cli as access
from harvester_dagster.cli import demo, night, operating, tasks
from harvester_dagster.cli.starting import opened
from harvester_dagster.search.cli import index_app

app = typer.Typer(
    name="harvester",
    help="Harvest, enrich, check and publish metadata at night.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    night.up,
    night.night,
    night.harvest,
    operating.status,
    operating.why,
    operating.accept,
    operating.dismiss,
    night.release,
    demo.demo,
):
    app.command()(command)
access.mount(app, opened)
app.add_typer(tasks.task_app, name="tasks")
app.add_typer(index_app(opened), name="index")
app.add_typer(operating.version_app, name="versions")
app.add_typer(operating.set_app, name="set")
app.add_typer(operating.overwrite_app, name="overwrite")
app.add_typer(operating.config_app, name="config")
app.add_typer(operating.source_app, name="source")


def main() -> None:
    signal.signal(signal.SIGTERM, _end)
    # A script's background command begins with SIGINT ignored. Importing Dagster gives SIGTERM whatever SIGINT has:
    # neither would end this command, nor what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    app()


def _end(number: int, _: object) -> None:
    """As Ctrl-C: what was started is stopped on the way out."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
