"""What consumers see of a task: the fields that its row publishes, and the values that are counted for vocabularies.

Belongs here: the words of such a declaration, and what several tasks declare alike. A field is declared once, in its
task's own file; outputs (`documents/making.py`), the published schema (`documents/schema.py`) and the index
(`documents/index_form.py`, `search/default_mapping.py`) read it from there.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Place = Literal["document", "main", "texts"]
Mapped = Mapping[str, Any]
"""A part of a search mapping, in the server's words."""
KEYWORD: Mapped = {"type": "keyword", "ignore_above": 8191}
"""Search mapping of what is filtered and counted on. A keyword of more than 32,766 bytes makes the server refuse the
whole document: 8,191 characters of 4 bytes."""


@dataclass(frozen=True)
class PublishedField:
    """A field of the output that a task fills.

    Several tasks may name one field: it has the value of the first of them, in the order of the table, that has any.
    A field of a part (a file) stands in the part's own output and where its owner (the product) lists its parts.
    """

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema (draft 2020-12) of the field; it may refer to `#/$defs` of the entity's schema. An output that does
    not keep to it is not published."""
    value: Callable[[Mapping[str, Any]], Any] | None = None
    """Of a success's data, which is never empty here, to what consumers get, or None: nothing to publish. Pure.
    Unless given, it is the datum of the field's name."""
    default: Any = None
    """What consumers get where there is nothing to publish; never changed."""
    optional: bool = False
    """Where there is nothing to publish, the field is left out."""
    place: Place = "document"
    """main: the owner shows its main part's value too, as its own, or null. texts: no field, but texts of the kind
    `name` (`documents/texts.py`), those of all tasks: pairs of a text and the language that was detected in it, or
    None."""
    mapping: Mapped | None = None
    """How the built-in index takes the field, in the server's words; None: it is kept there and not searched."""
    objects: bool = False
    """The value is an object of keys of the object store: consumers get addresses (`documents/object_addresses.py`),
    and where the installation has none, nothing."""
    index_form: Callable[[Any], Any] | None = None
    """Of a value in the output to the value in the index, where the two differ; None: it is left out there. Pure."""
    version: int = 1
    """Raised when a function answers differently or the schema refuses other values: outputs are made anew, and indices
    where they have a form of their own."""


@dataclass(frozen=True)
class Counted:
    """Values in the outputs of the task's entity of which the occurrences are counted after each release."""

    vocabulary: str
    field: str
    """Of the output; one that is absent or null has no values."""
    values: Callable[[Any], Iterable[str]]


ANALYZERS: Mapping[str, str] = {"nl": "custom_dutch", "en": "english", "unk": "standard"}
"""Analyzer by the language of a text; `english` and `standard` are the server's own."""
FOLDED: Mapped = {"type": "text", "analyzer": "folding"}


def searched(language: str) -> dict[str, Any]:
    """Search mapping of a text in one language: word by word, beside it stemmed (`analyzed`) and without marks
    (`folded`). The index may cut compounds of what is searched for, where an analyzer for searching is named."""
    analyzed = {"type": "text", "analyzer": ANALYZERS[language]}
    if language == "nl":
        analyzed["search_analyzer"] = ANALYZERS[language]
    return {"type": "text", "fields": {"analyzed": analyzed, "folded": FOLDED}}


TERM_NAMES: Mapped = {"properties": {"keyword": KEYWORD, "nl": searched("nl"), "en": searched("en")}}
"""Search mapping of vocabulary terms with their names."""


def terms(name: str, description: str) -> PublishedField:
    """A field of vocabulary terms: `{keyword, nl, en}`, lists in step; `{}` when there is none."""
    schema = {"description": description, "$ref": "#/$defs/terms"}
    return PublishedField(name, schema, default={}, mapping=TERM_NAMES)


def keywords(value: Mapping[str, Any]) -> Iterable[str]:
    """The terms of a field of vocabulary terms."""
    found: Iterable[str] = value.get("keyword") or ()
    return found
