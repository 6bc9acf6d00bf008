"""`harvester alerts …`: whether those who are to be told of trouble hear it."""

import typer

from harvester_dagster import shown_text
from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Commands, Json
from harvester_dagster.cli.session import loaded
from harvester_dagster.explain import alert_trial
from harvester_dagster.installation import utc_now
from harvester_dagster.outside import origins
from harvester_dagster.outside.http import Outside

alert_app = Commands("Who is told of what needs a hand.")


@alert_app.command("try")
def alerts_try(as_json: Json = False) -> None:
    """Tell everybody who is configured that this is a trial: the address, the heartbeat, Sentry, the mail. Exit code 1
    where one did not take it, or nobody is configured."""
    config = loaded()
    with Outside(
        allow_hosts=origins.opened(config),
        per_host_per_second=config.network.per_host_per_second,
        user_agent=config.network.user_agent,
    ) as outside:
        found = list(alert_trial.tried(config, outside, utc_now()))
    if as_json:
        printing.as_json(found)
    for reply in () if as_json else found:
        said = shown_text.lines(f"{reply.what}: {reply.said}")
        typer.secho(said, fg=None if reply.ok else typer.colors.RED)
    if not found and not as_json:
        typer.echo(f"Nobody is told: set {config.night.alert_url_env}, or write [alerts.email] host, sender and to.")
    if not found or not all(reply.ok for reply in found):
        raise typer.Exit(1)
