"""A night as it goes on: a line a set that is kept up to date on a terminal, a line for each change elsewhere.

Belongs here: what is seen of a running night, read from the rows that its runs write. Does not belong here: opening a
night (`night.py`) or what came of it (`showing.py`).
"""

from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple

from psycopg import Connection
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from harvester_dagster.cli import showing

_ATTEMPTS = """
SELECT s.key, n.outcome, a.state, a.started_at, coalesce(a.ended_at, n.ended_at), a.pages, a.records,
       (SELECT count(*) FROM task_report t WHERE t.set_id = n.set_id AND t.finished_at >= a.started_at)
FROM night_set n JOIN harvest_set s USING (set_id)
LEFT JOIN LATERAL (SELECT * FROM attempt a WHERE a.set_id = n.set_id AND a.night_id = n.night_id
                   ORDER BY attempt_id DESC LIMIT 1) a ON true
WHERE n.night_id = %s ORDER BY n.set_id
"""
_VERDICTS = {"accepted": "[green]accepted[/]", "rejected": "[red]REJECTED[/]", "failed": "[red]SOURCE FAILED[/]"}
RELEASE = "release"


class Line(NamedTuple):
    """`is_over`: nothing more happens to this set tonight. `step` is `said` without its counts."""

    key: str
    step: str
    said: str
    is_over: bool
    seconds: float


def lines(connection: Connection[Any], night_id: int, tasks: int, now: datetime) -> list[Line]:
    """Where every set of the night is, and the release after them."""
    found = [_line(row, tasks, now) for row in connection.execute(_ATTEMPTS, (night_id,))]
    if found and all(line.is_over for line in found):
        said = "the next version is prepared, indexed, promoted"
        found.append(Line(RELEASE, said, said, False, 0.0))
    return found


def _line(row: tuple[Any, ...], tasks: int, now: datetime) -> Line:
    key, outcome, state, started, ended, pages, records, done = row
    step, count = {
        None: ("waits for its run", ""),
        "open": ("asks its source", f": {pages} pages"),
        "fetched": ("is extracted and compared", f": {pages} pages"),
        "staged": ("is enriched", f": {records:,} records, {done} of {tasks} tasks" if records is not None else ""),
    }.get(state, (_VERDICTS.get(state, state), ""))
    if outcome == "failure":
        step, count = "[red]ITS RUN FAILED[/]", ""
    seconds = ((ended or now) - started).total_seconds() if started else 0.0
    return Line(key, step, step + count, outcome is not None, seconds)


class Following:
    """Shows lines as they change, until the block ends."""

    def __init__(self) -> None:
        self._live = Live(console=showing.console, refresh_per_second=4, transient=True)
        self._said: dict[str, str] = {}

    def __enter__(self) -> "Following":
        if showing.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if showing.console.is_terminal:
            self._live.stop()

    def show(self, found: list[Line]) -> None:
        if showing.console.is_terminal:
            self._live.update(_drawn(found))
            return
        for line in found:
            if self._said.get(line.key) != line.step:
                self._said[line.key] = line.step
                showing.console.print(f"  {line.key}: {line.said}", style="dim")


def _drawn(found: list[Line]) -> Table:
    drawn = Table(box=None, pad_edge=False, show_header=False)
    drawn.add_column(no_wrap=True)
    drawn.add_column(no_wrap=True)
    drawn.add_column(no_wrap=True, overflow="ellipsis")
    drawn.add_column(justify="right", no_wrap=True, style="dim", min_width=6)
    for line in found:
        mark = "[green]✓[/]" if line.is_over else Spinner("dots")
        drawn.add_row(mark, line.key, line.said, f"{line.seconds:.0f} s" if line.seconds else "")
    return drawn
