"""`harvester audit`: who did what, when, from where, and what came of it."""

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Annotated

import typer

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Json
from harvester_dagster.cli.session import opened
from harvester_dagster.publication import audit as audits


class How(Enum):
    """What came of an act."""

    asked_for = "asked for"
    done = "done"
    refused = "refused"
    failed = "failed"


def audit(
    actor: Annotated[str, typer.Option(help="Only what this one did: cli:USER, local, token:NAME, dagster.")] = "",
    act: Annotated[str, typer.Option(help="Only this: accept, dismiss, rollback, release, overwrite …")] = "",
    subject: Annotated[
        str, typer.Option(help="Only what was done to this: a set, an SRN, a version, an endpoint.")
    ] = "",
    outcome: Annotated[How | None, typer.Option(help="Only what ended so.")] = None,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="How far back.")] = 30,
    count: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """Who did what, when, from where, and what came of it; newest first. Kept for [store] history_days."""
    with opened() as installation, installation.pool.connection() as connection:
        found = audits.rows(
            connection,
            actor=actor,
            act=act,
            subject=subject,
            outcome=outcome.value if outcome else "",
            since=datetime.now(UTC) - timedelta(days=days),
            count=count,
        )
    if as_json:
        printing.as_json(found)
        return
    printing.table(
        ["when", "who", "what", "to what", "from", "outcome", ""],
        [
            (
                printing.moment(row.at, installation.config.zone),
                row.actor,
                row.act,
                row.subject,
                row.address,
                row.outcome,
                _said(row),
            )
            for row in found
        ],
    )


def _said(row: audits.Row) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.detail.items())
