"""`harvester services …`: what the bundled services need, fetched and built before anybody waits for one.

Belongs here: the commands' words. What is fetched for which service is in the service's own module.
"""

import time
from typing import Annotated, NamedTuple

import typer

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Commands, Json
from harvester_dagster.services.launcher import SERVICES, Unavailable

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help=f"Which: {', '.join(SERVICES)}.")]

service_app = Commands("The bundled services: PostgreSQL, OpenSearch, Solr, Tika, S3.")


class Fetched(NamedTuple):
    """How one service's fetch ended; without a reason it can be started."""

    service: str
    seconds: float
    reason: str = ""


@service_app.callback()
def services() -> None:
    """Keeps `fetch` a command of its own while it is the only one."""


@service_app.command("fetch")
def fetch(names: Names = None, as_json: Json = False) -> None:
    """Fetch and build what the services need, where it is not there yet; without names all of them. Starts none.

    Jars by Maven, our servers compiled against them, the S3 server of the tests by Go, PostgreSQL's programs looked
    at. Exit code 1 when one cannot be had.
    """
    if unknown := set(names or ()) - SERVICES.keys():
        raise typer.BadParameter(f"no service {', '.join(sorted(unknown))}: there are {', '.join(SERVICES)}")
    found = [_fetched(name) for name in names or SERVICES]
    if as_json:
        printing.as_json(found)
    if any(one.reason for one in found):
        raise typer.Exit(1)


def _fetched(name: str) -> Fetched:
    """Fetch for one service; progress goes to stderr."""
    printing.errors.print(f"{name} …", style="dim", end=" ")
    begun, reason = time.monotonic(), ""
    try:
        SERVICES[name].fetch()
    except Unavailable as error:
        reason = str(error)
    seconds = round(time.monotonic() - begun, 1)
    printing.errors.print(reason or f"ready in {seconds} s", style="red" if reason else "dim", markup=False)
    return Fetched(name, seconds, reason)
