"""`harvester source …`: asking a server what it offers, before it is configured."""

import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Commands, Json
from harvester_dagster.cli.session import config_path, loaded
from harvester_dagster.config import Config, home, parse
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.explain import source_check as offers
from harvester_dagster.outside import origins
from harvester_dagster.outside.http import Outside
from harvester_dagster.sources.registry import KINDS

source_app = Commands("Sources.")


@source_app.command("check")
def source_check(
    url: Annotated[
        str,
        typer.Argument(help="Of an OAI-PMH endpoint, or of a channel of Sharekit; or the name of a configured source."),
    ],
    kind: Annotated[str, typer.Option(help="oai-pmh or sharekit")] = "oai-pmh",
    append: Annotated[bool, typer.Option("--append", help="Append the block to the configuration.")] = False,
    as_json: Json = False,
) -> None:
    """Ask a server who it is and what it offers; ends with a block for harvester.toml (`said` and `block` in JSON)."""
    path = config_path()
    configured = loaded() if path.exists() else Config()
    if source := configured.sources.get(url):
        said, block = offers.ask_configured(configured, KINDS, source)
    else:
        said, block = _of_address(configured, kind, url, home() / "pace" if path.exists() else None)
    if as_json:
        printing.as_json({"said": said, "block": block})
    else:
        typer.echo("\n".join([*said, "", block.rstrip("\n")]))
    asked = not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    if append or (asked and typer.confirm(f"Append this to {path}?")):
        _append(path, block)
        typer.echo(f"Appended to {path}.", err=as_json)


def _of_address(configured: Config, kind: str, url: str, pace_folder: Path | None) -> offers.Offer:
    settings, network = offers.settings_of(KINDS, kind, url), configured.network
    with Outside(
        allow_hosts=origins.for_url(network.allow_hosts, url),
        per_host_per_second=network.per_host_per_second,
        user_agent=network.user_agent,
        pace_folder=pace_folder,
    ) as outside:
        return offers.ask(KINDS, settings, outside)


def _append(path: Path, block: str) -> None:
    """Raises ConfigError, and leaves the file as it is, when it would not be valid with the block."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    after = before.rstrip("\n") + ("\n\n" if before.strip() else "") + block
    try:
        parse(tomllib.loads(after), str(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not appended: {error}", "give the source another name by hand") from None
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(after, encoding="utf-8")
    if path.exists():
        beside.chmod(path.stat().st_mode & 0o777)
    beside.replace(path)
