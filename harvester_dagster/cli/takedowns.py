"""`harvester takedown SRN`: a document that nobody is shown any more, whatever its source sends; and back."""

from typing import Annotated

import typer

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import MENDABLE, DryRun, Json
from harvester_dagster.cli.session import opened
from harvester_dagster.explain import same_record, takedown_look, why
from harvester_dagster.explain.same_record import Others
from harvester_dagster.explain.takedown_look import TakedownLook
from harvester_dagster.installation import Installation
from harvester_dagster.publication import takedowns
from harvester_dagster.publication.takedowns import Takedown
from harvester_dagster.releases import taking_down
from harvester_dagster.releases.taking_down import Named, TakenDown
from harvester_dagster.sets import one_record

Wanted = Annotated[str, typer.Argument(metavar="[SRN]", help="The document; without it, what is taken down is listed.")]
Reason = Annotated[str, typer.Option(help="Why, in a few words, such as a case's number: kept, with the act.")]
Purge = Annotated[
    bool, typer.Option("--purge", help="Remove what is kept of it too. It cannot be brought back from here.")
]
Undo = Annotated[bool, typer.Option("--undo", help="Show it again. After a purge its source is asked for it.")]
Confirm = Annotated[bool, typer.Option("--confirm", help="Go on though more than 20 were taken down within a day.")]


def takedown(
    srn: Wanted = "",
    reason: Reason = "",
    purge: Purge = False,
    undo: Undo = False,
    confirm: Confirm = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take a document down: within a minute nobody is shown it, in whatever version, whatever its source sends later.
    A product takes its files along. The same record under another SRN is named, and stays."""
    with opened() as installation:
        if not srn:
            _list(installation, as_json)
            return
        with installation.pool.connection() as connection:
            found = why.look_up(installation, connection, srn)
            before = takedowns.find(connection, found.doc_id)
        if dry_run:
            _look(srn, before, takedown_look.look(installation, found), as_json)
            return
        named = Named(found.doc_id, found.set_id, srn)
        if undo:
            _show_undone(taking_down.undo(installation, named), as_json)
            if before and before.purge == "done" and not found.external_id.startswith("removed:"):
                _ask_anew(found.set_key, found.external_id)
            return
        same = same_record.others(installation, found) if purge else None
        taken = taking_down.take_down(installation, named, reason, purge=purge, confirmed=confirm)
        _show(taken, same or same_record.others(installation, found), as_json)
    if taken.behind or taken.left:
        raise typer.Exit(MENDABLE)


def _list(installation: Installation, as_json: bool) -> None:
    with installation.pool.connection() as connection:
        found = takedowns.listed(connection)
    if as_json:
        printing.as_json(found)
        return
    zone = installation.config.zone
    printing.table(
        ["taken down", "document", "by", "purge", "reason"],
        [(printing.moment(one.at, zone), one.srn, one.actor, one.purge, one.reason) for one in found],
    )


def _look(srn: str, before: Takedown | None, look: TakedownLook, as_json: bool) -> None:
    if as_json:
        printing.as_json({"srn": srn, "dry_run": True, "taken_down": before, **look._asdict()})
        return
    stands = f"taken down since {before.at:%Y-%m-%d} (purge: {before.purge})" if before else "would be taken down"
    printing.console.print(printing.text(f"{srn}: {stands}."), soft_wrap=True)
    for gone in look.goes:
        printing.console.print(printing.text(f"  goes: {gone}"), soft_wrap=True)
    _name(look.same)


def _show(taken: TakenDown, others: Others, as_json: bool) -> None:
    if as_json:
        printing.as_json({**taken._asdict(), "same": others})
        return
    printing.console.print(printing.text(f"{taken.srn}: {taken.documents} documents taken down."), soft_wrap=True)
    if taken.behind:
        printing.errors.print(printing.text(f"The index shows it still: {taken.behind}. It is tried again by itself."))
    if taken.left:
        printing.errors.print(printing.text(f"{taken.left}. The next night goes on with it."))
    elif taken.purge == "done":
        printing.console.print("  What was kept of it is removed. An SRN, a hash and this act are left.")
    _name(others)


def _show_undone(undone: TakenDown, as_json: bool) -> None:
    if as_json:
        printing.as_json(undone)
        return
    printing.console.print(
        printing.text(f"{undone.srn}: {undone.documents} documents are shown again."), soft_wrap=True
    )


def _ask_anew(key: str, external_id: str) -> None:
    """What was purged is only at its source."""
    with opened(for_tasks=True) as installation:
        came, outcome = one_record.harvest(installation, key, external_id, printing.progress)
    printing.errors.print(printing.text(f"{key}: {external_id}: {came.did}; publish it with `harvester release`."))
    if outcome.is_replaced:
        raise typer.Exit(MENDABLE)


def _name(others: Others) -> None:
    """What may be the same record: whoever reads this decides about each."""
    for other in others.found:
        printing.console.print(printing.text(f"  stays: {other.srn} has {other.both_have}"), soft_wrap=True)
    if not others.is_whole:
        printing.console.print("  There was no time to look for its DOI and addresses elsewhere.")
