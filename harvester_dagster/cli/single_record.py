"""`harvester harvest SET --record ID`: one record asked for, and what came of it, in words."""

from collections.abc import Mapping

import typer

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import MENDABLE
from harvester_dagster.cli.session import opened
from harvester_dagster.publication import audit
from harvester_dagster.sets import one_record
from harvester_dagster.sets.one_record import Came

_DID = {
    "new": "is new",
    "changed": "has changed",
    "unchanged": "is as it was",
    "deleted": "is deleted at its source",
    "ignored": "is deleted at its source, and was not known here",
    "unreadable": "cannot be read; what was accepted of it stays",
}


def harvest(key: str, external_id: str, *, dry_run: bool, as_json: bool) -> None:
    """Exit code 1 when the record cannot be read, or what it would change was rejected."""
    with opened(for_tasks=not dry_run) as installation:
        if dry_run:
            _show(one_record.look(installation, key, external_id, printing.progress), as_json)
            return
        with audit.asked(installation.pool, "harvest", key, installation.clock, record=external_id[:200]) as told:
            came, outcome = one_record.harvest(installation, key, external_id, printing.progress)
            told["generation"] = outcome.generation
        if as_json:
            printing.as_json({"record": came, "outcome": outcome})
        else:
            _show(came, False)
            printing.candidate_outcome(key, outcome)
        if outcome.is_replaced or came.did == "unreadable":
            raise typer.Exit(MENDABLE)


def _show(came: Came, as_json: bool) -> None:
    if as_json:
        printing.as_json({"record": came})
        return
    because = ": ".join(filter(None, (came.state, came.reason))) if came.reason else ""
    changes = "; ".join(f"{entity}: {_counted(counts)}" for entity, counts in came.changes.items())
    said = f"{came.set}:{came.external_id} {_DID[came.did]}{f' ({because})' if because else ''}"
    printing.console.print(printing.text(f"{said}{f': {changes}' if changes else ''}."), soft_wrap=True)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in counts.items())
