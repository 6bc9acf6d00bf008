"""`python -m benchmarks [names…] [--million] [--night] …`: measure, show a table, write it down.

The table goes to docs/benchmarks.md, the figures to results.json.

Rows that are not measured this time stay in results.json as they were, with their commit. Belongs here: which
benchmarks there are, and how they are shown. Does not belong here: measuring.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.rows import Row, is_met

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
REPORT = HERE.parent / "docs" / "benchmarks.md"
MEASURES: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "harvest": lambda asked: import_module("benchmarks.harvest").measure(million=asked.million),
    "reconcile": lambda _: import_module("benchmarks.reconciling").measure(),
    "dagster": lambda asked: import_module("benchmarks.dagster_runs").measure(night=asked.night, many=asked.million),
    "commands": lambda _: import_module("benchmarks.commands").measure(),
    "tasks": lambda _: import_module("benchmarks.tasks").measure(),
    "content_tasks": lambda _: import_module("benchmarks.content_tasks").measure(),
    "search": lambda _: import_module("benchmarks.search").measure(),
    "access": lambda _: import_module("benchmarks.access").measure(),
    "consumers": lambda asked: import_module("benchmarks.consumers").measure(asked.documents, asked.seconds),
    "pages": lambda asked: import_module("benchmarks.pages").measure(1_000_000 if asked.million else 50_000),
}
HOW_TO_READ = """\
Each figure stands beside its ceiling, measured in the same run on the same machine: the same work with nothing of this
project around it (a bare client, a bare COPY, a bare `_bulk`, poppler and Pillow by themselves). The ratio of the two
says what the project costs and holds on other machines; the figure itself does not. Where a row has no such ceiling,
the number that it must stay below stands there. Nights run in processes of their own over a real embedded PostgreSQL
with fsync on, the source in another process on loopback, so that on two cores three programs share the processors.
"Outputs included" is everything up to an accepted generation that consumers could read, but for the document tasks (and
so without validation, which is one); "harvest and documents only" ends before outputs are made. `make bench` measures
again; `BENCH="harvest --million"` takes a million."""


def main() -> None:
    asked = _arguments()
    console = Console()
    rows: dict[str, list[Row]] = {}
    busy = os.getloadavg()[0]
    for name in asked.names or MEASURES:
        table = _table(name)
        rows[name] = []
        for row in MEASURES[name](asked):
            rows[name].append(row)
            console.print(f"{row.name}: {_figure(row.value)} {row.unit}", style="dim")
            table.add_row(*_cells(row))
            kept = _kept(name, rows[name], busy)  # after each row: a long run that is cut has written what it measured
            RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            REPORT.write_text(_report(kept), encoding="utf-8")
        console.print(table)
    sys.exit(any(is_met(row) is False for measured in rows.values() for row in measured))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed, each figure beside its ceiling.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}; none: all")
    parser.add_argument(
        "--million",
        action="store_true",
        help="harvest 1,000,000 documents too (an hour), pages over as many, a night of 300 sets",
    )
    parser.add_argument(
        "--night", action="store_true", help="also nights through Dagster's daemon: of 50 sets, the demonstration's"
    )
    parser.add_argument("--documents", type=int, default=20_000, help="of the benchmark consumers")
    parser.add_argument("--seconds", type=int, default=15, help="of its mixture of requests")
    asked = parser.parse_args()
    if unknown := set(asked.names) - MEASURES.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(MEASURES)}")
    return asked


def _kept(group: str, rows: list[Row], busy: float) -> list[dict[str, Any]]:
    """All results, those of this group measured now in the places of the older ones."""
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    stamp = {
        "commit": _commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{_machine()}, load average {busy:.0f} before",
    }
    new = {(group, row.name): {"group": group, **row._asdict(), "met": is_met(row), **stamp} for row in rows}
    kept = [new.pop((entry["group"], entry["name"]), entry) for entry in before]
    places = list(MEASURES)
    return sorted([*kept, *new.values()], key=lambda entry: places.index(entry["group"]))


def _commit() -> str:
    """What was measured; a change of what is written here is none."""
    written = [f":(exclude){path.relative_to(HERE.parent)}" for path in (RESULTS, REPORT)]
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *written)
    return f"{commit}{' with changes' if changed else ''}" if commit else "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(HERE.parent), *arguments], capture_output=True, text=True).stdout.strip()


def _machine() -> str:
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return f"{os.cpu_count()} cores ({_processor()}), {pages:.0f} GiB, Python {platform.python_version()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def _cells(row: Row) -> tuple[str, ...]:
    met = {True: "yes", False: "no", None: ""}[is_met(row)]
    return row.name, _figure(row.value), row.unit, _figure(row.ceiling), f"{row.ratio:.3g}", row.target, met


HEADINGS = ("what", "value", "unit", "ceiling", "ratio", "target", "met")


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in ("value", "ceiling", "ratio") else "left")
    return table


def _report(kept: list[dict[str, Any]]) -> str:
    """docs/benchmarks.md, whole, from the results."""
    lines = ["# Benchmarks", "", HOW_TO_READ, ""]
    for group in dict.fromkeys(entry["group"] for entry in kept):
        entries = [entry for entry in kept if entry["group"] == group]
        lines += [f"## {group}", "", f"| {' | '.join(HEADINGS)} |", "|---|--:|---|--:|--:|---|---|"]
        for entry in entries:
            row = Row(**{name: entry[name] for name in Row._fields})
            lines.append(f"| {' | '.join(_cells(row))} |")
        runs = dict.fromkeys((entry["machine"], entry["date"], entry["commit"]) for entry in entries)
        lines += ["", *(f"Measured on {machine}, {date}, commit {commit}.  " for machine, date, commit in runs), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
