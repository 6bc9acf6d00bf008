"""Vocabularies: fields of values, each value with a parent and a name in Dutch and English.

Belongs here: what a tree answers (ancestors, root, digest), how broken trees are mended and reported, and how two
states of a vocabulary compare. Does not belong here: reading files (`shipped.py`, `skos.py`), fetching, storage.
Everything is immutable; one instance serves a whole run.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Literal, NamedTuple

from harvester_dagster import canonical

Problem = Literal["cycle", "orphan", "two parents"]

OPEN_FIELDS = ("publisher_year",)
"""Fields that grow by what harvests hold: a value that was counted at a release is known, term or not."""


class Term(NamedTuple):
    """One value of a field. `parent` is None for a root."""

    value: str
    parent: str | None
    nl: str
    en: str


class Part(NamedTuple):
    """One origin of terms: a CSV tree (curated: its terms win) or a SKOS scheme."""

    name: str
    field: str
    terms: tuple[Term, ...]
    curated: bool = False


class Finding(NamedTuple):
    """A place where a tree is broken, and what was made of it."""

    field: str
    value: str
    problem: Problem
    detail: str


class Changes(NamedTuple):
    """What differs between two states of a vocabulary, by value."""

    added: frozenset[str]
    changed: frozenset[str]
    removed: frozenset[str]


class Node(NamedTuple):
    """A value with its branch, and how often it occurs in the current version."""

    term: Term
    occurrences: int
    children: "tuple[Node, ...]"


class Vocabularies:
    """All fields with their trees, mended where they are broken (`findings` tells what was).

    Of parts with one name the last counts; curated terms win over others, first ones over later ones. `counts` says how
    often a value occurs in the current version, by field and value.
    """

    def __init__(self, parts: Iterable[Part], counts: Mapping[str, Mapping[str, int]] | None = None) -> None:
        self.parts: Mapping[str, Part] = {part.name: part for part in parts}
        self.counts: Mapping[str, Mapping[str, int]] = counts or {}
        fields: dict[str, dict[str, Term]] = {}
        findings: list[Finding] = []
        for part in sorted(self.parts.values(), key=lambda part: not part.curated):
            findings += _merge(fields.setdefault(part.field, {}), part, self.parts)
        for field, terms in fields.items():
            findings += _mend(field, terms)
        self._fields: Mapping[str, Mapping[str, Term]] = fields
        self.findings: tuple[Finding, ...] = tuple(findings)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that have terms."""
        return tuple(self._fields)

    def with_parts(self, parts: Iterable[Part]) -> "Vocabularies":
        """These vocabularies with further parts; a part with a known name takes that one's place."""
        return Vocabularies([*self.parts.values(), *parts], self.counts)

    def with_counts(self, counts: Mapping[str, Mapping[str, int]]) -> "Vocabularies":
        """The same trees, with how often each value occurs in the current version, by field."""
        return Vocabularies(self.parts.values(), counts)

    def terms(self, field: str) -> Mapping[str, Term]:
        """The terms of a field by value, in the order of their origin; none for an unknown field."""
        return self._fields.get(field, {})

    def get(self, field: str, value: str) -> Term | None:
        """The term of that value; None for an unknown one."""
        return self.terms(field).get(value)

    def count(self, field: str, value: str) -> int:
        """How often the value occurs in the current version; 0 for an unknown one."""
        return self.counts.get(field, {}).get(value, 0)

    def lineage(self, field: str, value: str) -> Iterator[Term]:
        """The value's term, its parent, and so on to the root; nothing for an unknown value."""
        terms = self.terms(field)
        term = terms.get(value)
        while term:
            yield term
            term = terms.get(term.parent) if term.parent is not None else None

    def ancestors(self, field: str, value: str) -> tuple[Term, ...]:
        """The value's term and all its ancestors, sorted by value; nothing for an unknown value."""
        return tuple(sorted(self.lineage(field, value)))

    def root(self, field: str, value: str) -> Term | None:
        """The root of the value's branch, which may be its own term; None for an unknown value."""
        root = None
        for term in self.lineage(field, value):
            root = term
        return root

    def tree(self, field: str) -> tuple[Node, ...]:
        """The whole field as branches from its roots, in the order of its origin, with counts."""
        branches: dict[str | None, list[Node]] = {}
        for term in reversed(_top_down(self.terms(field))):
            children = tuple(reversed(branches.pop(term.value, [])))
            branches.setdefault(term.parent, []).append(Node(term, self.count(field, term.value), children))
        return tuple(reversed(branches.get(None, [])))

    def values(self, field: str) -> frozenset[str]:
        """Every value that counts as known: the terms, and in an open field what was counted too."""
        counted = self.counts.get(field, {}) if field in OPEN_FIELDS else {}
        return frozenset([*self.terms(field), *(value for value, count in counted.items() if count > 0)])

    @cached_property
    def digest(self) -> bytes:
        """Names everything that tasks can look up here: with equal digests, all answers are equal. Counts play no
        part, but for the values that they make known."""
        everything = {
            field: [sorted(self.values(field)), sorted(self._digests.get(field, {}).items())]
            for field in (*self._fields, *OPEN_FIELDS)
        }
        return canonical.digest(canonical.encode(everything))

    def digest_of(self, field: str, values: Iterable[str]) -> str:
        """Names what these values and their ancestors look like: another one when, and only when, one of them changed.

        Made for fingerprints: a table look-up per value.
        """
        known = self._digests.get(field, {})
        return ".".join([known.get(value, "") for value in values])

    @cached_property
    def _digests(self) -> Mapping[str, Mapping[str, str]]:
        digests: dict[str, dict[str, str]] = {}
        for field, terms in self._fields.items():
            own: dict[str | None, str] = {None: ""}
            for term in _top_down(terms):
                own[term.value] = sha256(repr((*term, own[term.parent])).encode()).hexdigest()[:16]
            digests[field] = {value: own[value] for value in terms}
        return digests


def columns(terms: Iterable[Term]) -> dict[str, list[str]]:
    """Terms as consumers get them: `keyword`, `nl` and `en`, three lists in step."""
    chosen = list(terms)
    return {
        "keyword": [term.value for term in chosen],
        "nl": [term.nl for term in chosen],
        "en": [term.en for term in chosen],
    }


def changes(old: Mapping[str, Term], new: Mapping[str, Term]) -> Changes:
    """What differs between two states of a field or a part, given by value."""
    return Changes(
        added=frozenset(new.keys() - old.keys()),
        changed=frozenset(value for value in old.keys() & new.keys() if old[value] != new[value]),
        removed=frozenset(old.keys() - new.keys()),
    )


def shrunk(before: int, now: int, max_shrink: float = 0.05) -> bool:
    """Whether of so many terms so many fewer are left that the old state should stay: by the rule for sets, 5 % of what
    would be left (`max_shrink`), or nothing left at all."""
    return before > now and (now == 0 or (before - now) / now >= max_shrink)


def _merge(terms: dict[str, Term], part: Part, parts: Mapping[str, Part]) -> Iterator[Finding]:
    trees = [other for other in parts.values() if other.curated and other.field == part.field]
    curated = {term.value for tree in trees for term in tree.terms}
    for term in part.terms:
        if not part.curated and term.value in curated:
            continue
        kept = terms.setdefault(term.value, term)
        if kept.parent != term.parent:
            yield Finding(part.field, term.value, "two parents", f"{kept.parent} was kept, {term.parent} left out")


def _mend(field: str, terms: dict[str, Term]) -> Iterator[Finding]:
    """Make a forest of what may be any graph: an orphan becomes a root, a cycle is opened at its smallest value."""
    for value, term in list(terms.items()):
        if term.parent is not None and term.parent not in terms:
            yield Finding(field, value, "orphan", f"its parent {term.parent} is not known; it became a root")
            terms[value] = term._replace(parent=None)
    sound: set[str] = set()
    for value in terms:
        path: list[str] = []
        seen: set[str] = set()
        at: str | None = value
        while at is not None and at not in sound and at not in seen:
            path.append(at)
            seen.add(at)
            at = terms[at].parent
        if at is not None and at in seen:
            cycle = path[path.index(at) :]
            opened = min(cycle)
            yield Finding(field, opened, "cycle", f"{' > '.join([*cycle, at])}; it became a root")
            terms[opened] = terms[opened]._replace(parent=None)
        sound.update(path)


def _top_down(terms: Mapping[str, Term]) -> list[Term]:
    """Every parent before its children; a loop, because a tree from outside may be deeper than Python's stack."""
    children: dict[str | None, list[Term]] = {}
    for term in terms.values():
        children.setdefault(term.parent, []).append(term)
    order = list(children.get(None, ()))
    for term in order:
        order += children.get(term.value, ())
    return order
