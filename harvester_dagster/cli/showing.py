"""How answers look: tables for people, JSON for machines, progress on what takes long.

A table shows fewer columns where the terminal is narrow; no word is broken in one.
"""

import dataclasses
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harvester_dagster.reports import SetLine, Status

_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140
console = Console(highlight=False, emoji=False, width=_WIDTH)  # "src:two:" is no emoji
errors = Console(stderr=True, highlight=False, emoji=False)
WIDE = 110
"""From so many columns on a table shows everything."""

_COLOURS = {"fresh": "green", "on fallback": "red", "missing": "red", "stale": "yellow", "retired": "dim"}


def as_json(value: Any) -> None:
    """Print any of our plain data as JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(_plain(value)), indent=2).decode())


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
    shown = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        shown.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    console.print(shown)


def moment(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""


def status(found: Status, *, tasks: bool = False) -> None:
    """The installation at a glance: a line a set, then what a person should look at."""
    version = (
        f"version {found.version_id}, promoted {moment(found.promoted_at)}" if found.version_id else "no version yet"
    )
    console.print(f"[bold]Current: {version}[/bold]")
    if found.hold:
        console.print(f"[yellow]Automatic releases are held: {found.hold}. `harvester release` goes on.[/yellow]")
    console.print()
    _print(_SET_COLUMNS, [_set_row(line) for line in found.sets])
    if tasks:
        task_outcomes(found)
    troubles = [line for line in found.sets if line.standing in ("on fallback", "missing", "stale")]
    if troubles and found.version_id:
        console.print("\n[bold]To look at[/bold]")
        for line in troubles:
            _trouble(line)


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
    _Column("unchanged"),
    _Column("deleted"),
    _Column("not taken up", wide=True),
    _Column("published", number=False, wide=True),
    _Column("verdict", number=False),
    _Column("seconds", wide=True),
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


def _set_row(line: SetLine) -> list[str]:
    counts = line.counts.get("products") or next(iter(line.counts.values()), {})
    aside = sum(counts.get(name, 0) for name in ("inactive", "skipped", "unreadable"))
    published = ", ".join(f"{n} {entity}" for entity, n in sorted(line.published.items(), reverse=True))
    return [
        line.key,
        line.mode,
        str(line.records),
        *(str(counts.get(name, 0)) for name in ("new", "changed", "unchanged", "deleted")),
        str(aside),
        published,
        f"[{_COLOURS[line.standing]}]{_verdict(line)}[/]",
        f"{line.seconds:.1f}",
    ]


def _verdict(line: SetLine) -> str:
    """In two words what came of the set."""
    if line.standing == "retired":
        return "retired"
    if line.harvest in ("rejected", "failed"):
        return "REJECTED" if line.harvest == "rejected" else "SOURCE FAILED"
    if line.standing in ("on fallback", "missing"):
        return "NOT HARVESTED"
    return line.standing if line.standing == "stale" else line.harvest


def _trouble(line: SetLine) -> None:
    """What happened to a set, what is published instead, what to do about it."""
    kept = ", ".join(f"{n:,} {entity}" for entity, n in sorted(line.published.items(), reverse=True))
    stays = f"What was accepted before stays published: {kept}." if line.generation else "Nothing of it is published."
    console.print(f"[red]{line.key}[/red]: {escape(line.reason)}. {stays}")
    if line.harvest == "rejected":
        mends = [f"harvester accept {line.key} --dry-run", f"harvester accept {line.key}"]
    else:
        mends = [f"harvester harvest {line.key}"]
    for mend in mends:
        console.print(f"    {mend}", style="dim", soft_wrap=True)


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
