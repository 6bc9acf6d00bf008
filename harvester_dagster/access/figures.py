"""The figures of a run: counted while it goes on, and reported.

Belongs here: what is counted, and the report that commands, pages and assets show.
Does not belong here: where it is stored (`runs.py`), how it looks on a terminal.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from harvester_dagster.access.deciding import Judged, already_told
from harvester_dagster.access.enricher import Enricher
from harvester_dagster.access.modes import Mode
from harvester_dagster.access.rules import Decision
from harvester_dagster.access.writer import Sent


@dataclass
class Counts:
    """The figures of a run. sent = applied + unchanged_meanwhile + gone + moved + failed."""

    total: int = 0
    processed: int = 0
    already: int = 0
    """Processed by the runs that this one continues."""
    unchanged: int = 0
    sent: int = 0
    applied: int = 0
    unchanged_meanwhile: int = 0
    gone: int = 0
    moved: int = 0
    failed: int = 0
    conflicts: int = 0
    forgotten: int = 0
    """Due, but not in the collection any more."""
    due_later: int = 0
    """Documents that others changed during the run: for `changed`."""
    rules: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)

    @property
    def skipped(self) -> int:
        return self.unchanged_meanwhile + self.gone + self.moved

    def add(self, judged: Judged) -> bool:
        """Count a decision; whether Solr says so already."""
        document, decision = judged.document, judged.decision
        self.rules[decision.rule] += 1
        for problem in judged.problems:
            self.problems[problem.kind] += 1
        if already_told(document, decision):
            self.unchanged += 1
            return True
        self.changes[change(document.fulltext_availability_ss, decision)] += 1
        return False

    def add_sent(self, number: int, sent: Sent) -> None:
        """Count what became of so many documents that were sent."""
        self.sent += number
        self.applied += len(sent.applied)
        self.unchanged_meanwhile += len(sent.unchanged)
        self.gone += len(sent.gone)
        self.moved += len(sent.moved)
        self.failed += len(sent.failed)
        self.conflicts += sent.conflicts


@dataclass(frozen=True)
class Report:
    """How a run ended, or how far it is. Times are ISO 8601 in UTC."""

    endpoint: str
    mode: str
    state: str
    started_at: str
    ended_at: str | None
    seconds: float
    counts: Counts
    per_second: float
    eta_seconds: float | None
    writers: int = 0
    batch: int = 0
    overloads: int = 0
    reason: str = ""
    continues: int | None = None

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


Show = Callable[[Report], None]


def reported(
    job: Enricher, mode: Mode, state: str, counts: Counts, began: float, began_at: datetime, **more: Any
) -> Report:
    """How far a run is, or how it ended. `began` is of the monotonic clock."""
    seconds = time.monotonic() - began
    rate = counts.processed / seconds if seconds > 0 else 0.0
    left = max(counts.total - counts.already - counts.processed, 0)
    return Report(
        endpoint=job.solr.name,
        mode=mode.name,
        state=state,
        started_at=began_at.isoformat(),
        ended_at=None if state == "running" else job.clock().isoformat(),
        seconds=seconds,
        counts=counts,
        per_second=rate,
        eta_seconds=left / rate if rate and state == "running" else None,
        **more,
    )


def change(was: Sequence[str], decision: Decision) -> str:
    """From what to what, for counting."""
    return f"{','.join(was) or 'none'} -> {','.join(decision.access) or 'none'} ({decision.info})"
