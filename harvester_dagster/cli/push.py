"""`harvester push …`: the worker that takes what sources push, and what becomes of a push that was rejected."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated

import typer

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import MENDABLE, Commands, Json, Key
from harvester_dagster.cli.session import dagster_home, opened
from harvester_dagster.processes.stop_signals import StopSignals
from harvester_dagster.publication import inbox
from harvester_dagster.publication.inbox import PushState
from harvester_dagster.releases.push_rounds import PushRounds
from harvester_dagster.releases.takedown_rounds import TakedownRounds
from harvester_dagster.sets import pushed, sets
from harvester_dagster.store.away import overlooked

POLL_SECONDS = 0.5

push_app = Commands("Records that sources push: take them, look at them, decide about those that were rejected.")


@push_app.command("work")
def push_work(
    once: Annotated[bool, typer.Option("--once", help="Do what there is to do now, then end.")] = False,
) -> None:
    """Take what was pushed, and publish it within seconds, until Ctrl-C; bring takedowns that were cut to their end.
    `harvester up` runs one. A store that goes away meanwhile is waited for, but with --once."""
    stop = StopSignals()
    with opened(for_tasks=True) as installation:
        dagster_home(installation.config)
        from harvester_dagster.cli.dagster_runs import PushReports

        with PushReports(installation) as report:
            takedowns, rounds = TakedownRounds(installation, _say), PushRounds(installation, report, _say)
            work(lambda: takedowns.round() | rounds.round(), stop.wait, once=once)


def work(rounds: Callable[[], bool], is_over: Callable[[float], bool], *, once: bool) -> None:
    """Round after round, until somebody ends it within so many seconds of waiting, or `once` nothing is left to be
    done. That the store is away ends only the latter."""
    is_left = True
    while is_left or not once:
        with nullcontext() if once else overlooked():
            is_left = rounds()
        if (is_left or not once) and is_over(POLL_SECONDS):
            return


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@push_app.command("list")
def push_list(
    key: Annotated[str, typer.Argument(metavar="SOURCE:SET", help="Only of this set.")] = "",
    state: Annotated[PushState | None, typer.Option(help="Only what came to this.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """What was pushed and what came of it, newest first. Kept for [store] retention_days, and as long as it waits."""
    with opened() as installation, installation.pool.connection() as connection:
        if key:
            sets.id_of(connection, key)
        found = inbox.rows(connection, key, [state] if state else (), count)
    if as_json:
        printing.as_json(found)
        return
    zone = installation.config.zone
    printing.table(
        ["received", "record", "from", "state", ""],
        [
            (printing.moment(row.received_at, zone), f"{row.set}:{row.external_id}", row.sender, row.state, row.reason)
            for row in found
        ],
    )


@push_app.command("accept")
def push_accept(key: Key, as_json: Json = False) -> None:
    """Take a set's rejected pushes after all, whatever the verdict says, with all that waits there."""
    with opened() as installation:
        found = pushed.accept(installation, key, printing.progress)
        if as_json:
            printing.as_json(found)
        elif found.waits:
            printing.console.print(printing.text(f"{key}: nothing was taken: {found.waits}."))
        else:
            printing.console.print(printing.text(f"{key}: {found.settled} pushes taken."))
    if found.waits:
        raise typer.Exit(MENDABLE)


@push_app.command("dismiss")
def push_dismiss(key: Key, as_json: Json = False) -> None:
    """Lay a set's rejected pushes aside for good."""
    with opened() as installation:
        count = pushed.dismiss(installation, key)
    if as_json:
        printing.as_json({"set": key, "dismissed": count})
    else:
        printing.console.print(printing.text(f"{key}: {count} rejected pushes dismissed."))
