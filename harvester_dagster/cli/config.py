"""`harvester config …`: whether the configuration runs tonight."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated
from urllib.parse import urlsplit

import typer

from harvester_dagster import shown_text
from harvester_dagster.access.solr.before_writing import check_writable
from harvester_dagster.access.solr.collection import Solr
from harvester_dagster.catalog import CATALOG
from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Commands, Json
from harvester_dagster.cli.session import bucket, config_path, loaded
from harvester_dagster.config import Config, Metastore, home
from harvester_dagster.explain import online
from harvester_dagster.explain.config_check import notes
from harvester_dagster.explain.online import Question, Reply
from harvester_dagster.outside import origins
from harvester_dagster.outside.http import Outside

config_app = Commands("The configuration.")


@config_app.command("check")
def config_check(
    ask: Annotated[
        bool,
        typer.Option("--online", help="Also ask every source, store and server that it names."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say whether the configuration runs tonight, and what it comes to."""
    config = loaded(for_tasks=True)
    found = list(_asked(config, quiet=as_json)) if ask else []
    if as_json:
        sets = [{"set": key, "kind": own.kind, "url": own.url} for key, own in config.sets.items()]
        told = {"file": str(config_path()), "platform": config.platform, "sets": sets}
        printing.as_json(told | {"notes": notes(config), "online": found})
    else:
        printing.console.print(f"{config_path()}: valid. Platform {config.platform}, {len(config.sets)} sets:")
        printing.table(["set", "kind", "address"], [(key, own.kind, own.url) for key, own in config.sets.items()])
        for note in notes(config):
            printing.console.print(note, markup=False, soft_wrap=True)
    if not all(finding.ok for finding in found):
        raise typer.Exit(1)


def _asked(config: Config, quiet: bool) -> Iterator[Reply]:
    """What each says, shown as it comes."""
    with Outside(
        allow_hosts=origins.opened(config),
        per_host_per_second=config.network.per_host_per_second,
        user_agent=config.network.user_agent,
        pace_folder=home() / "pace",
    ) as outside:
        wanted = [*online.questions(config, CATALOG, outside, partial(bucket, config)), *_collections(config)]
        for finding in online.answers(wanted):
            if not quiet:
                typer.secho(
                    shown_text.lines(f"{finding.what}: {finding.said}"), fg=None if finding.ok else typer.colors.RED
                )
            yield finding


def _collections(config: Config) -> Iterator[Question]:
    for name, settings in config.metastore.items():
        yield Question(f"Solr {name}", partial(_collection, name, settings, config.network.user_agent))


def _collection(name: str, settings: Metastore, user_agent: str) -> str:
    if not settings.url:
        return online.BUNDLED
    host = urlsplit(settings.url).hostname or ""
    with Outside(allow_hosts=(host,), per_host_per_second=100, user_agent=user_agent) as outside:
        solr = Solr(name, settings, outside, timeout=online.CONNECT_SECONDS)
        solr.check()
        check_writable(solr, settings.allow_loss)
        return f"{solr.url} has the fields that the enricher reads, and loses none by its updates"
