"""A night as it goes on: a line a set that is kept up to date on a terminal, a line for each change elsewhere.

Belongs here: how it looks. Does not belong here: where a night is (`explain/night_progress.py`), opening one
(`night.py`), what came of it (`printing.py`).
"""

import time
from datetime import datetime
from types import TracebackType
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from harvester_dagster.cli import printing
from harvester_dagster.explain.night_progress import RELEASE, ProgressLine

_COLOURS = {"accepted": "green", "REJECTED": "red", "SOURCE FAILED": "red", "ITS RUN FAILED": "red"}
EVERY = 10.0
"""Seconds after which counts that moved are printed anew, where there is no terminal."""


def _coloured(line: ProgressLine) -> str:
    colour = _COLOURS.get(line.step)
    return f"[{colour}]{line.said}[/]" if colour else line.said


class Following:
    """Shows lines as they change, until the block ends, with a clock: in `zone` where lines are printed, else the time
    since it began."""

    def __init__(self, zone: ZoneInfo, console: Console = printing.console) -> None:
        self._zone, self._console = zone, console
        self._began = time.monotonic()
        self._printed: dict[str, tuple[str, float]] = {}
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Following":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, found: list[ProgressLine]) -> None:
        """Draw the lines anew on a terminal; elsewhere print those that changed."""
        if self._console.is_terminal:
            self._live.update(_drawn(found, time.monotonic() - self._began))
            return
        now = time.monotonic()
        for line in found:
            said, at = self._printed.get(line.key, ("", 0.0))
            is_next = not said.startswith(line.step)
            if is_next or (line.said != said and now - at >= EVERY):
                self._printed[line.key] = (line.said, now)
                clock = f"{datetime.now(self._zone):%H:%M:%S}"
                self._console.print(f"  {clock} {printing.text(line.key)}: {_coloured(line)}", style="dim")


def _drawn(found: list[ProgressLine], seconds: float) -> Table:
    drawn = Table(box=None, pad_edge=False, show_header=False, caption_justify="left")
    over = sum(line.is_over for line in found)
    count = sum(line.key != RELEASE for line in found)
    drawn.caption = f"{int(seconds) // 60}:{int(seconds) % 60:02} since it began; {over} of {count} sets have ended"
    drawn.add_column(no_wrap=True)
    drawn.add_column(no_wrap=True)
    drawn.add_column(no_wrap=True, overflow="ellipsis")
    drawn.add_column(justify="right", no_wrap=True, style="dim", min_width=6)
    for line in found:
        mark = "[green]✓[/]" if line.is_over else Spinner("dots")
        drawn.add_row(mark, printing.text(line.key), _coloured(line), f"{line.seconds:.0f} s" if line.seconds else "")
    return drawn
