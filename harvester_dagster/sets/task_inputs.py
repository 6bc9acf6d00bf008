"""What a task makes of a document before it runs: the values it reads, whether it applies, the fingerprint.

Belongs here: pure functions of a document's properties and results. Documents with equal values are evaluated once a
run: a vocabulary's tasks look into the values of 100,000 products, but of a few thousand different ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from traceback import extract_tb
from typing import Any, NamedTuple

import msgspec

from harvester_dagster import canonical
from harvester_dagster.tasks.task import Context, Result, Subject, Task

MOST_REMEMBERED = 20_000


class Candidate(NamedTuple):
    """A revision that may need a task. `results` is JSON: [task, kind, data, reason, attempts] for each."""

    doc_id: int
    from_gen: int
    external_id: str
    body: str
    results: str | None


class Evaluated(NamedTuple):
    """Why the task does not apply, or the fingerprint of what it reads."""

    why_not: str | None
    mark: bytes


def value_at(subject: Subject, path: str) -> Any:
    """`$.a.b` in the properties, `task.a.b` in a result's data; None where there is nothing."""
    head, *rest = path.split(".")
    found: Any = subject.properties
    if head != "$":
        result = subject.results.get(head)
        found = result.data if result else None
    for name in rest:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def fingerprint(task: Task, subject: Subject, context: Context) -> bytes:
    """Over every value that the task and its condition read."""
    values: list[Any] = [value_at(subject, path) for path in task.reads]
    if task.looks_up:
        values.append(task.looks_up(subject, context))
    return canonical.digest(canonical.encode([task.name, values]))


def evaluated(task: Task, subject: Subject, context: Context) -> Evaluated:
    """Whether the task applies, and to what. Where its condition or its look-up raises, for a value that nobody thought
    of, it does not apply to that document; what is said of it, which Dagster is told, quotes no value."""
    try:
        why_not = task.condition(subject, context)
        return Evaluated(why_not, b"" if why_not else fingerprint(task, subject, context))
    except Exception as error:
        at = extract_tb(error.__traceback__)[-1]
        return Evaluated(f"its condition failed: {type(error).__name__} at {Path(at.filename).name}:{at.lineno}", b"")


def subject_of(candidate: Candidate, context: Context) -> Subject:
    """What a task may look at of a candidate: its properties, and the results of the tasks before it."""
    results = {
        name: Result(kind, data, reason, None, tried, context.now)
        for name, kind, data, reason, tried in msgspec.json.decode(candidate.results or "[]")
    }
    return Subject(msgspec.json.decode(candidate.body)["properties"], results)


class Reader:
    """Cuts the values at some paths out of a body, undecoded: passing over the rest of it takes a fifth of the time of
    decoding it."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = tuple(sorted({path for path in paths if path.startswith("$.")}))
        steps = [path.split(".")[1:] for path in self.paths]
        self._names = [[f"_{step}" for step in path] for path in steps]
        self._decoder = msgspec.json.Decoder(_struct({"properties": _tree(steps)}))

    def __call__(self, body: str) -> tuple[bytes, ...]:
        """A value for each path; where the body is not shaped as the paths say, all of it for each."""
        try:
            found = self._decoder.decode(body)._properties
        except msgspec.ValidationError:
            return (body.encode(),) * len(self.paths)
        return tuple([_at(found, names) for names in self._names])


_Tree = Mapping[str, Any]
"""Nested names; None for a leaf."""


def _tree(paths: Iterable[Sequence[str]]) -> _Tree:
    """Of a path and what lies under it the shorter one holds both."""
    branches: dict[str, list[Sequence[str]]] = {}
    for head, *rest in paths:
        branches.setdefault(head, []).append(rest)
    return {head: None if [] in rests else _tree(rests) for head, rests in branches.items()}


def _struct(tree: _Tree) -> Any:
    """A msgspec type that holds these names, each `_NAME`; leaves as raw bytes."""
    fields: list[tuple[str, Any, Any]] = [
        (f"_{name}", msgspec.Raw if branch is None else _struct(branch) | None, None) for name, branch in tree.items()
    ]
    return msgspec.defstruct("Values", fields, rename={f"_{name}": name for name in tree})


def _at(found: Any, names: Iterable[str]) -> bytes:
    for name in names:
        if found is None or isinstance(found, msgspec.Raw):
            break
        found = getattr(found, name)
    return b"" if found is None else bytes(found)


class Evaluation:
    """One task's evaluation of documents in one run, with the values that a reader of its paths cuts out."""

    def __init__(self, task: Task, context: Context, reader: Reader) -> None:
        self.task, self.context = task, context
        places = [place for place, path in enumerate(reader.paths) if path in task.reads]
        self._own = itemgetter(*places) if places else lambda _values: None
        self._remembered: dict[Any, Evaluated] = {}

    def of(self, candidates: Sequence[Candidate], values: Sequence[Sequence[bytes]]) -> list[Evaluated]:
        """What it makes of each, in their order."""
        own = [self._own(cut) for cut in values]
        if self.task.after:
            own = [(cut, candidate.results) for cut, candidate in zip(own, candidates, strict=True)]
        known = self._remembered.get
        return [known(key) or self._evaluated(key, one) for key, one in zip(own, candidates, strict=True)]

    def _evaluated(self, key: Any, candidate: Candidate) -> Evaluated:
        found = evaluated(self.task, subject_of(candidate, self.context), self.context)
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = found
        return found
