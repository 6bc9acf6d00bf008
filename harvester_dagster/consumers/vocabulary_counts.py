"""The vocabularies as consumers are shown them: trees, and values by how they begin, each with how often it occurs.

Counts are those of the snapshot that is asked for, also between a promotion or rollback and the counting that follows
it. Belongs here: these questions. Does not belong here: counting (`releases/value_counts.py`), trees
(`vocabularies/trees.py`), HTTP.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec
from psycopg import Connection

from harvester_dagster.consumers.snapshots import Snapshot
from harvester_dagster.installation import Installation
from harvester_dagster.releases import value_counts
from harvester_dagster.releases.value_counts import Counts
from harvester_dagster.vocabularies import current, publisher_year
from harvester_dagster.vocabularies.trees import Node, Part, Term, Vocabularies


class FieldValue(msgspec.Struct):
    """A value of a field; `nl` and `en` are None for one that occurs and is no term of the vocabulary."""

    value: str
    nl: str | None
    en: str | None
    count: int


def state(connection: Connection[Any], installation: Installation) -> tuple[Any, ...]:
    """What the trees are made from beside the counts: another one when they may be others."""
    rows = connection.execute("SELECT name, object_key FROM vocabulary_source ORDER BY name").fetchall()
    return (*rows, installation.clock().astimezone(installation.config.zone).year)


def counts_of(connection: Connection[Any], installation: Installation, found: Snapshot) -> Counts:
    """How often each value occurs in a snapshot."""
    return value_counts.counts_of(connection, installation.catalog, found.generations)


def with_counts(installation: Installation, counts: Counts) -> Vocabularies:
    """All of them with these counts; years of publication are a tree of recent and older ones. It takes a connection.
    Raises VocabularyLost; StorageError when no object can be read now."""
    known = current.load(installation.pool, installation.objects).vocabularies.with_counts(counts)
    this_year = installation.clock().astimezone(installation.config.zone).year
    years = publisher_year.terms(known, this_year, installation.config.tasks.recent_years)
    others = [part for part in known.parts.values() if part.field != publisher_year.FIELD]
    return Vocabularies([*others, Part(publisher_year.FIELD, publisher_year.FIELD, years, curated=True)], counts)


def tree(vocabularies: Vocabularies, field: str) -> str:
    """A field as JSON: `{"field", "children"}`, each child `{"value", "nl", "en", "count", "children"}`."""
    roots = vocabularies.tree(field)
    return f'{{"field":{_json(field)},"children":{_children(roots, _written(roots))}}}'


def _written(roots: tuple[Node, ...]) -> Mapping[str, str]:
    """Every node as JSON, by value. A loop: a harvested tree may be deeper than Python's stack."""
    waiting = list(roots)
    for node in waiting:
        waiting += node.children
    written: dict[str, str] = {}
    for node in reversed(waiting):
        value, _, nl, en = node.term
        own = msgspec.json.encode({"value": value, "nl": nl, "en": en, "count": node.occurrences}).decode()
        written[value] = f'{own[:-1]},"children":{_children(node.children, written)}}}'
    return written


def _children(nodes: tuple[Node, ...], written: Mapping[str, str]) -> str:
    return f"[{','.join(written[node.term.value] for node in nodes)}]"


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def beginning_with(vocabularies: Vocabularies, field: str, prefix: str, most: int) -> list[FieldValue]:
    """Values of a field of which the value itself or a name begins so, in whatever case; those that occur most often
    come first."""
    wanted = prefix.casefold()
    found = (one for one in _values(vocabularies, field) if _begins(one, wanted))
    return list(islice(sorted(found, key=lambda one: (-one.count, one.value)), most))


def _values(vocabularies: Vocabularies, field: str) -> Iterator[FieldValue]:
    terms: Mapping[str, Term] = vocabularies.terms(field)
    for term in terms.values():
        yield FieldValue(term.value, term.nl, term.en, vocabularies.count(field, term.value))
    for value, count in vocabularies.counts.get(field, {}).items():
        if count > 0 and value not in terms:
            yield FieldValue(value, None, None, count)


def _begins(one: FieldValue, wanted: str) -> bool:
    return any(text is not None and text.casefold().startswith(wanted) for text in (one.value, one.nl, one.en))
