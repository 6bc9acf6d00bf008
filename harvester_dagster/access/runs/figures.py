"""The figures of a run: counted while it goes on, and reported.

Belongs here: what is counted, and the report that commands, pages and assets show.
Does not belong here: where it is stored (`run_rows.py`), how it looks on a terminal.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from harvester_dagster.access.decide.decider import Judged, already_told
from harvester_dagster.access.decide.rules import Decision
from harvester_dagster.access.runs.enricher import Enricher
from harvester_dagster.access.runs.modes import Mode
from harvester_dagster.access.solr.writer import BatchSent


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
        """Sent, and not applied without anything having failed: unchanged meanwhile, gone, or moved twice."""
        return self.unchanged_meanwhile + self.gone + self.moved

    def add(self, judged: Judged) -> bool:
        """Count a decision. True when Solr already says so, so that nothing is sent."""
        document, decision = judged.document, judged.decision
        self.rules[decision.rule] += 1
        for problem in judged.problems:
            self.problems[problem.kind] += 1
        if already_told(document, decision):
            self.unchanged += 1
            return True
        self.changes[change(document.fulltext_availability_ss, decision)] += 1
        return False

    def add_sent(self, number: int, sent: BatchSent) -> None:
        """Count what became of `number` documents that were sent."""
        self.sent += number
        self.applied += len(sent.applied)
        self.unchanged_meanwhile += len(sent.unchanged)
        self.gone += len(sent.gone)
        self.moved += len(sent.moved)
        self.failed += len(sent.failed)
        self.conflicts += sent.conflicts


@dataclass(frozen=True)
class RunReport:
    """How a run ended, or how far it is.

    Times are ISO 8601 in UTC; `per_second` is documents; `eta_seconds` is None unless it runs; `continues` is the id of
    the run that it goes on from.
    """

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
        """The report as plain data: what `--json`, the status page and the table of runs hold."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


Show = Callable[[RunReport], None]


def reported(
    job: Enricher, mode: Mode, state: str, counts: Counts, began: float, began_at: datetime, **more: Any
) -> RunReport:
    """How far a run is, or how it ended, by its counts. `began` is a reading of the monotonic clock, `began_at` is
    in UTC; `more` are further fields of the report."""
    seconds = time.monotonic() - began
    rate = counts.processed / seconds if seconds > 0 else 0.0
    left = max(counts.total - counts.already - counts.processed, 0)
    return RunReport(
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
    """From what to what access goes, and by whose information, as a text to count by: `none -> dtu (sfx)`."""
    return f"{','.join(was) or 'none'} -> {','.join(decision.access) or 'none'} ({decision.info})"
