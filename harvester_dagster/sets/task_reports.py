"""How a task's run over a set went, for people: counts by outcome, and documents to look at."""

from dataclasses import dataclass, field
from typing import NamedTuple

from psycopg.types.json import Jsonb

from harvester_dagster.sets.locked_set import LockedSet
from harvester_dagster.tasks.task import Item, Outcome

EXAMPLES = 10


class Example(NamedTuple):
    """A document to look at: how the task ended for it, and why."""

    srn: str
    kind: str
    reason: str


class Thumbnail(NamedTuple):
    """A small picture that the task made of a document, by its object key."""

    srn: str
    key: str


@dataclass
class TaskReport:
    """One task's run over one set. `seconds` are those of the pass, which it may have shared with other tasks."""

    task: str
    picture: str = ""
    """The datum that is a picture's object key, if the task makes any."""
    looked_at: int = 0
    not_applicable: int = 0
    reused: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    why_not: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    pictures: list[Thumbnail] = field(default_factory=list)
    seconds: float = 0.0
    is_cut: bool = False
    """Its time was over before all was done."""
    waits: str = ""
    """Why it looked at nothing, and the next run will."""

    @property
    def done(self) -> int:
        """How many inputs were worked on."""
        return sum(self.outcomes.values())

    def pass_over(self, why_not: str) -> None:
        """Count a document to which the task does not apply, by its reason."""
        self.not_applicable += 1
        self.why_not[why_not] = self.why_not.get(why_not, 0) + 1

    def add(self, item: Item, outcome: Outcome) -> None:
        """Count an outcome, and keep the first examples of those that a person should look at."""
        self.outcomes[outcome.kind] = self.outcomes.get(outcome.kind, 0) + 1
        example = Example(item.srn, outcome.kind, outcome.reason)
        if outcome.kind in ("failure", "retry") and len(self.examples) < EXAMPLES:
            self.examples.append(example)
        key = (outcome.data or {}).get(self.picture) if outcome.kind == "success" else None
        if isinstance(key, str) and len(self.pictures) < EXAMPLES:
            self.pictures.append(Thumbnail(item.srn, key))


def keep(locked: LockedSet, report: TaskReport) -> None:
    """The newest report of each task is kept, for the night's report and the status."""
    outcomes = {**report.outcomes, **({"not applicable": report.not_applicable} if report.not_applicable else {})}
    examples = [[example.srn, example.kind, example.reason] for example in report.examples]
    with locked.connection() as connection:
        connection.execute(
            """INSERT INTO task_report (set_id, task, finished_at, looked_at, reused, outcomes, examples, seconds)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
               ON CONFLICT (set_id, task) DO UPDATE SET finished_at = excluded.finished_at,
                   looked_at = excluded.looked_at, reused = excluded.reused, outcomes = excluded.outcomes,
                   examples = excluded.examples, seconds = excluded.seconds""",
            (
                locked.set_id,
                report.task,
                locked.installation.clock(),
                report.looked_at,
                report.reused,
                Jsonb(outcomes),
                Jsonb(examples),
                report.seconds,
            ),
        )
