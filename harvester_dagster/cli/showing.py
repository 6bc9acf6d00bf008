"""How answers look: tables for people, JSON for machines, progress on what takes long."""

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from harvester_dagster.reports import SetLine, Status

_WIDTH = None if sys.stdout.isatty() else 140
console = Console(highlight=False, width=_WIDTH)
errors = Console(stderr=True, highlight=False)

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
        shown.add_row(*("" if cell is None else str(cell) for cell in row))
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
    shown = Table(box=None, pad_edge=False)
    for name, numeric in _SET_COLUMNS:
        shown.add_column(name, justify="right" if numeric else "left")
    for line in found.sets:
        shown.add_row(*_set_row(line))
    console.print(shown)
    if tasks:
        task_outcomes(found)
    for line in found.sets:
        if line.standing in ("on fallback", "missing", "stale") and line.reason:
            console.print(f"[red]{line.key}[/red]: {line.reason}")
            if line.harvest == "rejected":
                console.print(f"    look: harvester accept {line.key} --dry-run", style="dim")


_SET_COLUMNS = (
    ("set", False),
    ("harvest", False),
    ("records", True),
    ("new", True),
    ("changed", True),
    ("unchanged", True),
    ("deleted", True),
    ("not taken up", True),
    ("published", True),
    ("verdict", False),
    ("seconds", True),
)


def _set_row(line: SetLine) -> list[str]:
    root = next(iter(line.published), "products")
    counts = line.counts.get("products") or next(iter(line.counts.values()), {})
    aside = sum(counts.get(name, 0) for name in ("inactive", "skipped", "unreadable"))
    published = " + ".join(f"{n} {entity}" for entity, n in sorted(line.published.items(), reverse=root != "products"))
    colour = _COLOURS[line.standing]
    verdict = {"accepted": "accepted", "rejected": "REJECTED, kept what was there", "failed": "SOURCE FAILED"}
    return [
        line.key,
        line.mode,
        str(line.records),
        *(str(counts.get(name, 0)) for name in ("new", "changed", "unchanged", "deleted")),
        str(aside),
        published,
        f"[{colour}]{verdict.get(line.harvest, line.harvest)}[/{colour}]",
        f"{line.seconds:.1f}",
    ]


def task_outcomes(found: Status) -> None:
    """Per task over all sets: how many ended how."""
    totals: dict[str, dict[str, int]] = {}
    seconds: dict[str, float] = {}
    for line in found.sets:
        for task in line.tasks:
            row = totals.setdefault(task.task, {})
            row["stood"] = row.get("stood", 0) + task.reused
            seconds[task.task] = seconds.get(task.task, 0.0) + task.seconds
            for kind, count in task.outcomes.items():
                row[kind] = row.get(kind, 0) + count
    kinds = ("success", "empty", "failure", "retry", "not applicable", "stood")
    shown = Table(box=None, pad_edge=False)
    shown.add_column("task")
    for kind in (*kinds, "seconds"):
        shown.add_column("result stood" if kind == "stood" else kind, justify="right")
    for task_name, row in totals.items():
        cells = [str(row.get(kind, 0)) if row.get(kind) else "·" for kind in kinds]
        shown.add_row(task_name, *cells, f"{seconds[task_name]:.1f}")
    console.print()
    console.print(shown)
