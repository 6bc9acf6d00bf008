"""`harvester takedown SRN`: a document that nobody is shown any more, whatever its source sends; and back."""

import sys
from typing import Annotated, Any

import typer
from psycopg import Connection

from harvester_dagster import shown_text
from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import MENDABLE, DryRun, Json
from harvester_dagster.cli.session import opened
from harvester_dagster.explain import same_record, takedown_look, why
from harvester_dagster.explain.same_record import OtherRecord, Others
from harvester_dagster.explain.takedown_look import TakedownLook
from harvester_dagster.installation import Installation
from harvester_dagster.publication import takedowns, wishes
from harvester_dagster.publication.takedowns import Takedown
from harvester_dagster.publication.wishes import Wish
from harvester_dagster.releases import asking_anew, taking_down
from harvester_dagster.releases.asking_anew import AskedAnew
from harvester_dagster.releases.taking_down import Named, TakenDown

Wanted = Annotated[str, typer.Argument(metavar="[SRN]", help="The document; without it, what is taken down is listed.")]
Reason = Annotated[str, typer.Option(help="Why, in a few words, such as a case's number: kept, with the act.")]
Purge = Annotated[
    bool, typer.Option("--purge", help="Remove what is kept of it too. It cannot be brought back from here.")
]
Undo = Annotated[bool, typer.Option("--undo", help="Show it again. After a purge its source is asked for it.")]
AskNoMore = Annotated[
    bool, typer.Option("--ask-no-more", help="Give a record up whose purge was undone: its source is asked no more.")
]
Confirm = Annotated[bool, typer.Option("--confirm", help="Go on though more than 20 were taken down within a day.")]


def takedown(
    srn: Wanted = "",
    reason: Reason = "",
    purge: Purge = False,
    undo: Undo = False,
    ask_no_more: AskNoMore = False,
    confirm: Confirm = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take a document down: within a minute nobody is shown it, in whatever version, whatever its source sends later.
    A product takes its files along. The same record under another SRN is named; at a terminal it is asked whether it
    goes, too."""
    with opened() as installation:
        if not srn:
            _list(installation, as_json)
            return
        with installation.pool.connection() as connection:
            found = why.look_up(installation, connection, srn)
            before = takedowns.find(connection, found.doc_id)
            wished = _wished(connection, found.doc_id)  # undone before, and not asked for yet
        if dry_run:
            _look(srn, before, takedown_look.look(installation, found), as_json)
            return
        if ask_no_more:
            asking_anew.drop(installation, found.doc_id, srn)
            _show_given_up(srn, as_json)
            return
        named = Named(found.doc_id, found.set_id, srn)
        if undo:
            undone = None if wished else taking_down.undo(installation, named)
            with installation.pool.connection() as connection:
                wished = _wished(connection, found.doc_id)
            asked = _asked_anew(wished) if wished else None
            _show_undone(undone, asked, as_json)
            if asked and not asked.is_over:
                raise typer.Exit(MENDABLE)
            return
        same = same_record.others(installation, found) if purge else None
        done = [taking_down.take_down(installation, named, reason, purge=purge, confirmed=confirm)]
        others = same or same_record.others(installation, found)
        _show(done[0], others, as_json)
        for other in others.found if not as_json else ():
            if _is_wanted(other):
                one = _named(installation, other.srn)
                done.append(taking_down.take_down(installation, one, reason, purge=purge, confirmed=confirm))
                _show_taken(done[-1])
    if any(taken.behind or taken.left for taken in done):
        raise typer.Exit(MENDABLE)


def _named(installation: Installation, srn: str) -> Named:
    with installation.pool.connection() as connection:
        found = why.look_up(installation, connection, srn)
    return Named(found.doc_id, found.set_id, srn)


def _is_wanted(other: OtherRecord) -> bool:
    """Whether it is to go too, as whoever sits at a terminal says."""
    asks = sys.stdin.isatty() and sys.stdout.isatty()
    return asks and typer.confirm(f"Take {shown_text.one_line(other.srn)} down, too?")


def _list(installation: Installation, as_json: bool) -> None:
    with installation.pool.connection() as connection:
        found, wished = takedowns.listed(connection), wishes.all_wishes(connection)
    if as_json:
        printing.as_json(found)
        return
    zone = installation.config.zone
    printing.table(
        ["taken down", "document", "by", "purge", "reason"],
        [(printing.moment(one.at, zone), one.srn, one.actor, one.purge, one.reason) for one in found],
    )
    for one in wished:
        since = printing.moment(one.since, zone)
        said = f"{one.srn}: its source is asked for it since {since}, for its purge was undone. {one.reason}"
        printing.console.print(printing.text(said.rstrip()), soft_wrap=True)


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
    _show_taken(taken)
    _name(others)


def _show_taken(taken: TakenDown) -> None:
    printing.console.print(printing.text(f"{taken.srn}: {taken.documents} documents taken down."), soft_wrap=True)
    if taken.behind:
        printing.errors.print(printing.text(f"The index shows it still: {taken.behind}. It is tried again by itself."))
    if taken.left:
        printing.errors.print(printing.text(f"{taken.left}. The next night goes on with it."))
    elif taken.purge == "done":
        printing.console.print("  What was kept of it is removed. An SRN, a hash and this act are left.")


def _wished(connection: Connection[Any], doc_id: int) -> Wish | None:
    """That its source is to be asked for it, where its purge was undone."""
    return next((one for one in wishes.all_wishes(connection) if one.doc_id == doc_id), None)


def _asked_anew(wished: Wish) -> AskedAnew:
    """What was purged is only at its source."""
    with opened(for_tasks=True) as installation:
        return asking_anew.ask(installation, wished, printing.progress)


def _show_undone(undone: TakenDown | None, asked: AskedAnew | None, as_json: bool) -> None:
    if as_json:
        shown = undone._asdict() if undone else {}
        printing.as_json(shown | ({"asked": asked._asdict()} if asked else {}))
        return
    if undone:
        said = f"{undone.srn}: {undone.documents} documents are shown again."
        printing.console.print(printing.text(said), soft_wrap=True)
    if asked is None:
        return
    of = asked.wish.srn
    if not asked.reason:
        printing.errors.print(printing.text(f"{of}: {asked.did} at its source; publish it with `harvester release`."))
        return
    more = "" if asked.is_over else " It is tried again by itself, and by saying this once more."
    printing.errors.print(printing.text(f"{of}: its source was asked for it: {asked.reason}.{more}"))


def _show_given_up(srn: str, as_json: bool) -> None:
    if as_json:
        printing.as_json({"srn": srn, "asked_no_more": True})
    else:
        printing.console.print(printing.text(f"{srn}: its source is asked for it no more."), soft_wrap=True)


def _name(others: Others) -> None:
    """What may be the same record: whoever reads this decides about each."""
    for other in others.found:
        printing.console.print(printing.text(f"  stays: {other.srn} has {other.both_have}"), soft_wrap=True)
    for unseen in others.unseen:
        printing.console.print(printing.text(f"  Not looked for everywhere: {unseen}."), soft_wrap=True)
