"""What Solr can give back of a document, field by field: what it cannot give back, an atomic update loses.

Solr makes an atomic update of the whole document as it can be read again: from stored values, else from docValues
that are used as stored ones (9.10 drops the others, whatever its guide says). Targets of copyField are left out and
made anew of their sources.

Belongs here: the rule, as pure functions of the schema. Does not belong here: asking for a schema, or whether any
document has the field (`before_writing.py`). Solr's page:
https://solr.apache.org/guide/solr/latest/indexing-guide/partial-document-updates.html
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

_OF_SOLR = frozenset({"_version_", "_root_", "_nest_path_", "_nest_parent_"})
"""Solr fills these itself."""
_OF_PARTS = frozenset({"PointType", "LatLonType", "CurrencyField", "CurrencyFieldType", "BBoxField"})
"""Types whose values are indexed in further fields, `NAME_…`, that are made anew with them."""
_SORT_KEYS = frozenset({"CollationField", "ICUCollationField"})

EMPTIED = "neither stored nor with docValues: it would be emptied"
UNUSED = "its docValues are not used as stored values (useDocValuesAsStored): it would be emptied"
UNORDERED = "only docValues give it back: the order of its values and repeated ones would be lost"
SORT_KEY = "only docValues give it back, which hold a key for sorting in place of its value"
GROWING = "a stored target of a copyField with a * there: Solr would add its values to it once more"
FED = "a target of a copyField that documents fill themselves: it would hold the copies only"
UNKNOWN = "documents have it, and the schema does not know it any more"


class SolrField(NamedTuple):
    """A field, or a rule for names with a `*`, as the schema has it; `type_class` is without its package."""

    name: str
    type_class: str
    indexed: bool
    stored: bool
    doc_values: bool
    multi_valued: bool
    doc_values_as_stored: bool

    @property
    def is_searchable(self) -> bool:
        """Whether Solr can be asked which documents have it."""
        return self.indexed or self.doc_values

    @property
    def leaves_traces(self) -> bool:
        """Whether the collection holds anything of it."""
        return self.indexed or self.stored or self.doc_values


class CopyRule(NamedTuple):
    """One copyField; either name may have a `*`."""

    source: str
    target: str

    def into(self, target: str) -> str | None:
        """The source (perhaps with a `*`) that it copies into that field; None: none."""
        if (found := _star(self.target, target)) is None:
            return None
        return self.source.replace("*", found) if "*" in self.target else self.source


@dataclass(frozen=True)
class SolrSchema:
    """The fields of a collection. `dynamic`: rules for names with a `*`."""

    fields: Mapping[str, SolrField]
    dynamic: tuple[SolrField, ...]
    copies: tuple[CopyRule, ...]

    def rule_of(self, name: str) -> SolrField | None:
        """What holds for a name: its own field, else the longest rule that matches, as Solr has it; None: unknown."""
        return self.fields.get(name) or next(
            (rule for rule in self._longest if _star(rule.name, name) is not None), None
        )

    @cached_property
    def _longest(self) -> list[SolrField]:
        return sorted(self.dynamic, key=lambda rule: -len(rule.name))

    def sources(self, target: str, used: Iterable[str]) -> set[str]:
        """The fields that are copied into a target. Of those that a `*` means, the ones that documents have, and those
        of which the collection would hold nothing if they had them; no further target, which holds copies only."""
        found: set[str] = set()
        for copy in self.copies:
            source = copy.into(target)
            if source is None or "*" not in source:
                found |= {source} if source else set()
                continue
            silent = (field.name for field in self.fields.values() if not field.leaves_traces)
            found |= {name for name in (*used, *silent) if _star(source, name) is not None and not self.is_target(name)}
        return found - {target} - _OF_SOLR

    def is_target(self, name: str) -> bool:
        """Whether anything is copied there."""
        return any(copy.into(name) is not None for copy in self.copies)


def why_lost(schema: SolrSchema, name: str, used: Iterable[str]) -> str | None:
    """What an atomic update of something else would do to a field of a document; None: it stays as it is."""
    field = schema.rule_of(name)
    if name in _OF_SOLR:
        return None
    if field is None:
        return UNKNOWN
    if schema.is_target(name):
        return _of_a_target(schema, field, name, used)
    return None if _is_part(schema, name) else _own(field)


def _own(field: SolrField) -> str | None:
    if field.stored or not field.leaves_traces:
        return None
    if not field.doc_values:
        return EMPTIED
    if field.type_class in _SORT_KEYS:
        return SORT_KEY
    if not field.doc_values_as_stored:
        return UNUSED
    return UNORDERED if field.multi_valued else None


def _of_a_target(schema: SolrSchema, field: SolrField, name: str, used: Iterable[str]) -> str | None:
    if not field.leaves_traces:
        return None
    if name not in schema.fields and (field.stored or field.doc_values) and not _is_named_target(schema, name):
        return GROWING
    if lost := sorted(source for source in schema.sources(name, used) if not is_given_back(schema, source, used)):
        return f"made of {', '.join(lost)}, which Solr does not give back: it would be made of nothing"
    return None


def is_given_back(schema: SolrSchema, name: str, used: Iterable[str]) -> bool:
    """Whether Solr copies from a field again what was copied from it at first. What it keeps nothing of, it does not;
    the order of values makes no difference to a search."""
    field = schema.rule_of(name)
    if field is None or not (field.stored or field.doc_values) or schema.is_target(name):
        return False
    return why_lost(schema, name, used) in (None, UNORDERED)


def _is_named_target(schema: SolrSchema, name: str) -> bool:
    """Solr knows a target that a copyField names in full; of one with a `*` it forgets that it is one (9.10)."""
    return any(copy.target == name for copy in schema.copies)


def _is_part(schema: SolrSchema, name: str) -> bool:
    """Whether a field is made of another one's value: `place_0_coordinate` of `place`."""
    parents = (name[:end] for end in range(1, len(name)) if name[end] == "_")
    rules = (schema.rule_of(parent) for parent in parents)
    return any(rule is not None and rule.type_class in _OF_PARTS and rule.stored for rule in rules)


def _star(pattern: str, name: str) -> str | None:
    """What the `*` of a pattern stands for in a name ("" without a `*`); None when it does not match."""
    head, star, tail = pattern.partition("*")
    if not star:
        return "" if pattern == name else None
    fits = len(name) >= len(head) + len(tail) and name.startswith(head) and name.endswith(tail)
    return name[len(head) : len(name) - len(tail)] if fits else None


def schema_of(answer: Mapping[str, Any]) -> SolrSchema:
    """The schema as Solr's answers list it (`fields`, `dynamicFields`, `copyFields`, `fieldTypes`, each with defaults).
    Raises KeyError for what is none."""
    classes = {each["name"]: str(each.get("class", "")).rpartition(".")[2] for each in answer["fieldTypes"]}

    def read(listed: Iterable[Mapping[str, Any]]) -> Iterator[SolrField]:
        for each in listed:
            yield SolrField(
                each["name"],
                classes.get(each["type"], ""),
                indexed=each.get("indexed", True),
                stored=each.get("stored", True),
                doc_values=each.get("docValues", False),
                multi_valued=each.get("multiValued", True),
                doc_values_as_stored=each.get("useDocValuesAsStored", True),
            )

    return SolrSchema(
        {field.name: field for field in read(answer["fields"])},
        tuple(read(answer["dynamicFields"])),
        tuple(CopyRule(each["source"], each["dest"]) for each in answer["copyFields"]),
    )
