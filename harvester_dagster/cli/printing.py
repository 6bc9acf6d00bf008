"""How answers look: tables for people, JSON for machines, progress on what takes long.

A table shows fewer columns where the terminal is narrow; no word is broken in one.
"""

import dataclasses
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args
from zoneinfo import ZoneInfo

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from harvester_dagster import shown_text
from harvester_dagster.consumers.field_differences import DocumentDifference
from harvester_dagster.consumers.version_differences import VersionsCompared
from harvester_dagster.explain.status import PushLine, SetLine, Status
from harvester_dagster.sets.differences import Kind
from harvester_dagster.sets.steps import SetOutcome

_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140


class _Terminal(Console):
    """Rich's console, on which text from outside moves no cursor and changes no title. Markup is still markup: what is
    not ours goes through `text`."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(shown_text.lines(each) if isinstance(each, str) else each for each in objects), **options)


console = _Terminal(highlight=False, emoji=False, width=_WIDTH)  # "src:two:" is no emoji
errors = _Terminal(stderr=True, highlight=False, emoji=False)
WIDE = 110
"""From so many columns on a table shows everything."""

_COLOURS = {"fresh": "green", "on fallback": "red", "missing": "red", "stale": "yellow", "retired": "dim"}


_MARKUP = re.compile(r"\\+(?=\[|$)|\[")
"""What Rich may take for markup, or for escaping some: a bracket, and backslashes before one or at the end."""


def text(value: object) -> str:
    """Text from outside, for what the console prints: one line, and no markup, whatever markup of ours follows.

    Rich's own `escape` leaves some: `\\[`, and three backslashes before a tag. Before a tag two backslashes are one: so
    they get a tag of their own that does nothing.
    """
    return _MARKUP.sub(_as_text, shown_text.one_line(str(value)))


def _as_text(found: re.Match[str]) -> str:
    return r"\[" if found[0] == "[" else f"{2 * found[0]}[none][/none]"


def as_json(value: Any) -> None:
    """Print any of our plain data as JSON."""
    typer.echo(shown_text.json_text(msgspec.json.format(msgspec.json.encode(_plain(value)), indent=2).decode()))


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in value]
    return value


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """Print rows under these columns; cells are text from outside, never markup."""
    shown = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        shown.add_row(*("" if cell is None else text(cell) for cell in row))
    console.print(shown)


def progress(line: str) -> None:
    """Say on stderr how far something is."""
    errors.print(text(line), style="dim")


def moment(at: datetime | None, zone: ZoneInfo) -> str:
    """A time in the installation's zone, to the second; nothing for none."""
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def would_see(found: VersionsCompared) -> None:
    """What would come, change and go."""
    for entity, counts in (found.counts or {}).items():
        listed = ", ".join(f"{counts.get(change, 0):,} {change}" for change in get_args(Kind))
        console.print(f"  {entity}: {listed}")
    if found.counts is None:
        console.print("  To count what differs took longer than the store lets a statement take.")
    if found.samples:
        console.print("Some of them:")
        differences(found.samples)


def candidate_outcome(key: str, outcome: SetOutcome) -> None:
    """What came of a candidate that a command has made, and what to do next."""
    attempt = outcome.attempt
    for entity, counts in ((attempt.counts if attempt else None) or {}).items():
        listed = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)
        console.print(f"  {entity}: {listed or 'none'}")
    if outcome.is_replaced:
        console.print(
            f"[red]{text(key)}[/red]: rejected: {text(outcome.reason)}. "
            "What is published of it stays.\n"
            f"See `harvester accept {text(shlex.quote(key))} --dry-run`, then accept or dismiss it.",
        )
    elif attempt is not None and attempt.generation is None:
        console.print(f"{key}: nothing differs from what was accepted.")
    else:
        console.print(f"{key}: accepted as generation {outcome.generation}. Publish it with `harvester release`.")


def status(found: Status, *, tasks: bool = False) -> None:
    """The installation at a glance: a line a set, then what a person should look at."""
    promoted = moment(found.promoted_at, ZoneInfo(found.timezone))
    version = f"version {found.version_id}, promoted {promoted}" if found.version_id else "no version yet"
    console.print(f"[bold]Current: {version}[/bold]")
    if found.news:
        console.print(f"[dim]{text(found.news)}[/dim]")
    _search_side(found)
    if found.hold:
        console.print(f"[yellow]Automatic releases are held: {text(found.hold)}. `harvester release` goes on.[/yellow]")
    if due := found.release_due:
        again = f"; asked for {due.times} times so far, and again by itself" if due.times > 1 else ""
        since = moment(due.since, ZoneInfo(found.timezone))
        console.print(f"[yellow]A release is due since {since}: {due.sets} sets have advanced{again}.[/yellow]")
    for line in found.pushes:
        _pushes(line, ZoneInfo(found.timezone))
    for task in found.failing:
        said = f"{task.task}: {task.failed:,} of {task.made:,} results failed for now: {text(task.reason)}."
        again = f"harvester tasks retry {task.task} {shlex.join(task.sets)}"
        console.print(f"[yellow]{said}[/yellow] `{text(again)}`", soft_wrap=True)
    console.print()
    _print(_SET_COLUMNS, [_set_row(line) for line in found.sets])
    console.print(LEGEND, style="dim")
    if tasks:
        task_outcomes(found)
    for one in found.sets:
        for note in one.notes:
            console.print(f"[yellow]{text(one.key)}[/yellow]: {text(note)}", soft_wrap=True)
    troubles = [one for one in found.sets if one.needs_a_hand]
    if troubles and found.version_id:
        console.print("\n[bold]To look at[/bold]")
        for one in troubles:
            _trouble(one)


def _pushes(line: PushLine, zone: ZoneInfo) -> None:
    """Where a set's pushes are that are not shown yet."""
    said = []
    if line.waiting:
        said.append(f"{line.waiting:,} wait since {moment(line.since, zone)}")
    if line.is_ahead:
        said.append("accepted, and not shown yet")
    if line.waits:
        said.append(text(line.waits))
    if said:
        console.print(f"[yellow]Pushes of {text(line.key)}: {'; '.join(said)}.[/yellow]", soft_wrap=True)
    if line.rejected:
        console.print(f"[red]Pushes of {text(line.key)}: {line.rejected:,} REJECTED: {text(line.reason)}[/red]")
        console.print(f"    harvester push accept {line.key}, or dismiss", style="dim", soft_wrap=True, markup=False)


def _search_side(found: Status) -> None:
    side = found.search
    if side is None or side.state == "follows":
        return
    said = {
        "behind": f"Searches are BEHIND: they do not show version {side.version_id} yet",
        "hindered": f"Version {side.version_id} is NOT ANNOUNCED, the one before it goes on serving",
    }[side.state]
    console.print(f"[red]{said}: {text(side.reason)}[/red]")
    console.print(f"    {side.mend or 'harvester index status'}", style="dim", soft_wrap=True, markup=False)


class _Column:
    """`wide`: only shown where there is room."""

    def __init__(self, name: str, *, number: bool = True, wide: bool = False) -> None:
        self.name, self.number, self.wide = name, number, wide


_SET_COLUMNS = (
    _Column("set", number=False),
    _Column("harvest", number=False, wide=True),
    _Column("records"),
    _Column("new"),
    _Column("changed"),
    _Column("same"),
    _Column("deleted"),
    _Column("aside"),
    _Column("ignored"),
    _Column("gone", wide=True),
    _Column("published", number=False, wide=True),
    _Column("verdict", number=False),
    _Column("seconds", wide=True),
)
_TALLY = ("new", "changed", "unchanged", "deleted", "aside", "ignored")
LEGEND = (
    "records = new + changed + same + deleted + aside + ignored. same: as before; aside: unreadable, or not for this "
    "platform; ignored: it came again later on, or was deleted and never known. gone: documents that a complete "
    "harvest does not contain any more. published: documents that consumers see. seconds: from asking the source to "
    "the verdict."
)
TASK_LEGEND = (
    "Results by their outcome. stood: made before, and still right; retry: tried again by itself; not applicable: "
    "documents that the task does not look at. seconds: of all sets together."
)
_TASK_COLUMNS = (
    _Column("task", number=False),
    _Column("success"),
    _Column("empty"),
    _Column("failure"),
    _Column("retry"),
    _Column("stood"),
    _Column("not applicable", wide=True),
    _Column("seconds"),
)


def _print(columns: Sequence[_Column], rows: Sequence[Sequence[str]]) -> None:
    """A table of those columns for which there is room, none of them wrapped."""
    roomy = console.width >= WIDE
    places = [place for place, column in enumerate(columns) if roomy or not column.wide]
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for place in places:
        column = columns[place]
        shown.add_column(column.name, justify="right" if column.number else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*(row[place] for place in places))
    console.print(shown)


def _documents(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {entity}" for entity, n in sorted(counts.items(), reverse=True))


def _set_row(line: SetLine) -> list[str]:
    published = _documents(line.published)
    if line.is_ahead:
        published = f"{published or 'none'}; accepted: {_documents(line.accepted)}"
    return [
        text(line.key),
        line.mode,
        f"{line.records:,}",
        *(f"{line.tally.get(name, 0):,}" if line.tally else "·" for name in _TALLY),
        f"{line.tally.get('gone', 0):,}" if line.tally else "·",
        published,
        f"[{'red' if line.waits else _COLOURS[line.standing]}]{_verdict(line)}[/]",
        f"{line.seconds:.1f}",
    ]


def _verdict(line: SetLine) -> str:
    """What went wrong is shouted."""
    return line.verdict.upper() if line.verdict in ("rejected", "source failed", "not harvested") else line.verdict


def _trouble(line: SetLine) -> None:
    """What happened to a set, what is published instead, what to do about it."""
    kept = _documents(line.published)
    stays = f"What is published of it stays: {kept}." if kept else "Nothing of it is published."
    console.print(f"[red]{text(line.key)}[/red]: {text(line.reason)}. {stays}")
    key = shlex.quote(line.key)
    if line.waits:
        mends = [f"harvester accept {key} --dry-run", f"harvester dismiss {key}"]
    else:
        mends = [f"harvester harvest {key}"]
    for mend in mends:
        console.print(f"    {text(mend)}", style="dim", soft_wrap=True)


def task_outcomes(found: Status) -> None:
    """Per task over all sets: how many ended how. `stood`: a result of before still holds."""
    totals: dict[str, dict[str, int]] = {}
    seconds: dict[str, float] = {}
    for line in found.sets:
        for task in line.tasks:
            row = totals.setdefault(task.task, {})
            row["stood"] = row.get("stood", 0) + task.reused
            seconds[task.task] = seconds.get(task.task, 0.0) + task.seconds
            for kind, count in task.outcomes.items():
                row[kind] = row.get(kind, 0) + count
    kinds = [column.name for column in _TASK_COLUMNS[1:-1]]
    console.print()
    _print(
        _TASK_COLUMNS,
        [
            [name, *(str(row[kind]) if row.get(kind) else "·" for kind in kinds), f"{seconds[name]:.1f}"]
            for name, row in totals.items()
        ],
    )
    console.print(TASK_LEGEND, style="dim")


SHOWN = 20
"""So many documents that differ are shown to people; JSON has all."""
_VALUE = 60


def differences(found: Iterable[DocumentDifference], *, as_json: bool = False, most: float = SHOWN) -> None:
    """Documents that differ: to people the first ones, field by field, and how many there are; to machines a line of
    JSON each."""
    count: Counter[str] = Counter()
    for each in found:
        count[each.change] += 1
        if as_json:
            typer.echo(shown_text.json_text(msgspec.json.encode(_plain(each)).decode()))
        elif count.total() <= most:
            console.print(f"{each.change:<8} {text(each.srn)}  [dim]{text(each.title or '')}[/dim]", soft_wrap=True)
            for field in each.fields:
                said = f"{text(field.field)}: {_value(field.before)} → {_value(field.after)}"
                console.print(f"           {said}", soft_wrap=True)
    if as_json:
        return
    more = f" (the first {most} shown; all with --json)" if count.total() > most else ""
    listed = ", ".join(f"{number:,} {change}" for change, number in count.items())
    console.print(f"{listed or 'nothing differs'}{more}")


def _value(value: Any) -> str:
    said = msgspec.json.encode(value).decode()
    end = said[-1] if said[0] in '"[{' else ""  # what is cut is closed all the same
    return text(said if len(said) <= _VALUE else f"{said[: _VALUE - 1 - len(end)]}…{end}")
