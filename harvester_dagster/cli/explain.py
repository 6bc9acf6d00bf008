"""`harvester status` and `harvester why`: how every set stands, and the story of one document."""

import math
from datetime import datetime
from typing import Annotated

import typer

from harvester_dagster import shown_text
from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Json, Srn
from harvester_dagster.cli.session import opened
from harvester_dagster.explain import source_record
from harvester_dagster.explain import status as reports
from harvester_dagster.explain import why as explain
from harvester_dagster.installation import Installation


def status(as_json: Json = False) -> None:
    """How every set stands: its newest harvest, its verdict, what is published."""
    with opened() as installation:
        found = reports.status(installation)
        if as_json:
            printing.as_json(found)
        else:
            printing.status(found, tasks=True)


Recorded = Annotated[bool, typer.Option("--record", help="Show instead the record as its source sent it last.")]


def why(srn: Srn, record: Recorded = False, as_json: Json = False) -> None:
    """Explain one document: each stage with its time and outcome, each task with the rule that let it run or not."""
    with opened() as installation:
        if record:
            _show_record(installation, srn, as_json=as_json)
            return
        stages = explain.why(installation, srn)
        if as_json:
            printing.as_json(stages)
            return
        printing.console.print(f"[bold]{printing.text(srn)}[/bold]")
        zone = installation.config.zone
        for stage in stages:
            at = datetime.fromisoformat(stage.at) if stage.at else None
            when = f"  [dim]{printing.moment(at, zone)}[/dim]" if at else ""
            reason = f": {stage.reason}" if stage.reason else ""
            printing.console.print(f"  {stage.stage:<42} {printing.text(stage.outcome + reason)}{when}", soft_wrap=True)


def _show_record(installation: Installation, srn: str, *, as_json: bool) -> None:
    with installation.pool.connection() as connection:
        found = explain.look_up(installation, connection, srn)
    record = source_record.look(installation, found, seconds=math.inf).record
    text = record.content.decode("utf-8", "replace") if record else None
    if as_json:
        printing.as_json({"attempt": record.attempt_id if record else None, "record": text})
    elif text is not None:
        typer.echo(shown_text.lines(text))
    else:
        printing.console.print("No page that is kept has its record.")
