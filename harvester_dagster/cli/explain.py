"""`harvester status` and `harvester why`: how every set stands, and the story of one document."""

from datetime import datetime

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Json, Srn
from harvester_dagster.cli.session import opened
from harvester_dagster.explain import status as reports
from harvester_dagster.explain import why as explain


def status(as_json: Json = False) -> None:
    """How every set stands: its newest harvest, its verdict, what is published."""
    with opened() as installation:
        found = reports.status(installation)
        if as_json:
            printing.as_json(found)
        else:
            printing.status(found, tasks=True)


def why(srn: Srn, as_json: Json = False) -> None:
    """Explain one document: each stage with its time and outcome, each task with the rule that let it run or not."""
    with opened() as installation:
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
