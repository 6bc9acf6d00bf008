"""What a document task is: its name, what it reads, when it applies, and the function that does it.

Belongs here: the words of the task table. A task writes outcomes and nothing else; what is pending, stored,
retried and shared is the frame's business (`sets/enrich.py`), what a task needs from the world comes in its `Context`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harvester_dagster.config import Config, SetSettings, Tasks
from harvester_dagster.tasks.published import Counted, PublishedField

if TYPE_CHECKING:
    from harvester_dagster.outside.bodies import Bodies
    from harvester_dagster.outside.http import Outside
    from harvester_dagster.store.objects import Objects
    from harvester_dagster.vocabularies.trees import Vocabularies

OutcomeKind = Literal["success", "empty", "failure", "retry"]


class Outcome(NamedTuple):
    """How a task ended for one input; every applicable document ends in one of the four kinds.

    success: `data` is the derivative. empty: looked, and there was nothing (data may say what was seen).
    failure: permanent for this input. retry: transient; due again at `due_at`.
    `due_at` on the other kinds is when the outcome wants to be looked at again (None: never).
    """

    kind: OutcomeKind
    data: Mapping[str, Any] | None = None
    reason: str = ""
    due_at: datetime | None = None


class Result(NamedTuple):
    """A stored outcome. `attempts` counts the runs that led to it since the last success."""

    kind: OutcomeKind
    data: Mapping[str, Any] | None
    reason: str
    due_at: datetime | None
    attempts: int
    finished_at: datetime


class Subject(NamedTuple):
    """What a task may look at: the document's properties and the results of the tasks it comes after."""

    properties: Mapping[str, Any]
    results: Mapping[str, Result]


@dataclass(frozen=True)
class Context:
    """The world of a task's run over one set. `now` is the clock (UTC, aware); nothing reads another."""

    key: str
    config: Config
    settings: SetSettings
    now: datetime
    outside: "Outside"
    objects: "Objects"
    bodies: "Bodies"
    vocabularies: "Vocabularies"


class Item(NamedTuple):
    """One piece of work: an input that has no usable result. Documents with the same input share it."""

    fingerprint: bytes
    subject: Subject
    previous: Result | None
    srn: str
    """One of the documents that wait for it, for messages."""
    doc_id: int = 0
    """Of the same document, for the store."""


@dataclass(frozen=True)
class Task:
    """One row of the task table: one partitioned asset of this name."""

    name: str
    entity: str
    version: int
    """Raised when the function would answer differently: every result is made anew."""
    reads: tuple[str, ...]
    """The values that make a result stale: `$.a.b` in the properties, `check_url.validator` in a result's data."""
    run: Callable[[Sequence[Item], Context], Iterator[tuple[Item, Outcome]]]
    """Works on a batch, yields outcomes as they are there (in any order). What it does not yield, or raises for
    one item after others were yielded, becomes a retry of the items left."""
    condition: Callable[[Subject, Context], str | None] = lambda _subject, _context: None
    """None: it applies; else why not, in a few words. Reads only what is also in `reads`."""
    looks_up: Callable[[Subject, Context], Any] | None = None
    """A further part of the fingerprint that is not in the document (the vocabulary's answer for its terms)."""
    uses_vocabularies: bool = False
    """Every document is looked at again when a vocabulary, or the calendar year, changes."""
    after: tuple[str, ...] = ()
    quick: bool = False
    """It calls nobody: a record that is pushed waits for it. Other tasks follow with a later version."""
    batch: int = 200
    platforms: tuple[str, ...] = ()
    """Only on these platforms; empty: on all."""
    summary: str = ""
    """One sentence for the UI and the documentation."""
    news: str = ""
    """What has happened when results change though no source sent anything new, in a few words for people."""
    publishes: tuple[PublishedField, ...] = ()
    """The fields that consumers get of its results."""
    counts: tuple[Counted, ...] = ()
    """The values that later nights look up with their number of occurrences."""
    hides: Callable[[Result, Tasks], bool] | None = None
    """Whether a result takes its document out of what consumers see. Pure."""
    picture: str = ""
    """The datum of a success that is the object key of a small picture, for people to look at."""
