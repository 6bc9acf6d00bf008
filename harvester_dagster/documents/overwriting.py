"""Which fields of an output a person may overwrite, and why given values cannot be taken.

Held to the published JSON Schema of the outputs, so that an overwrite cannot make its document invalid. Belongs here:
the rule. Does not belong here: keeping overwrites (`publication/overwrites.py`), laying them over the source's values
(`output.py`).
"""

from collections.abc import Mapping
from typing import Any

from harvester_dagster.documents import schema
from harvester_dagster.documents.schema import Schema

_WHICH = "it says which document this is"
_OF_FILES = "it is its files': overwrite the file"
_MADE = "it is made from the other fields"
FIXED: Mapping[str, str] = {
    **dict.fromkeys(("srn", "set", "harvest_source", "entity", "external_id"), _WHICH),
    "state": "whether a document is shown is its source's to say",
    "provider": "it says who answers for the document",
    **dict.fromkeys(("modified_at", "source_modified_at", "overwrite"), "the harvester keeps it"),
}
"""Fields of every entity that must not be overwritten, each with the reason."""
FIXED_OF_PRODUCTS: Mapping[str, str] = {
    **FIXED,
    **dict.fromkeys(("url", "mime_type", "files", "licenses", "technical_types"), _OF_FILES),
    **dict.fromkeys(("texts", "suggest_phrase", "suggest_completion"), _MADE),
}
FIXED_OF_FILES: Mapping[str, str] = {
    **FIXED,
    **dict.fromkeys(("url", "hash"), _WHICH),
    "type": "it follows from mime_type",
}
_DATE: Schema = {
    "type": "string",
    "not": {"pattern": "^0000"},
    "anyOf": [
        {"pattern": "^[0-9]{4}$"},
        {"pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$"},
        {"format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
    ],
}
"""One that there is. Those of sources are made so (`sources/dates.py`); the schema says only what they look like."""
_ADDED = {"author": {"email"}}
"""What outputs add to a value where nobody gave it: an overwrite need not give it either."""


def reasons(values: Mapping[str, Any], described: Schema | None, fixed: Mapping[str, str], singular: str) -> list[str]:
    """Why these values cannot be an overwrite, a reason a line that begins with the field; empty: they can.

    `described` is the schema of one such output, with its `$defs` (None: it has none, every field may be given);
    `fixed` are fields that must not be overwritten, with the reason; `singular` is what an output is called.
    """
    found = [f"{name}: it cannot be overwritten, {fixed[name]}" for name in values if name in fixed]
    if described is None:
        return found
    known = {name: each for name, each in described.get("properties", {}).items() if name not in fixed}
    unknown = [name for name in values if name not in known and name not in fixed]
    found += [f"{name[:100]}: a {singular} has no such field; known are: {', '.join(known)}" for name in unknown[:5]]
    given = {name: value for name, value in values.items() if name in known}
    return found + schema.validation(_partial(known, described), singular)(given)


def _partial(known: Schema, described: Schema) -> Schema:
    definitions = dict(described.get("$defs", {}))
    for name, added in _ADDED.items():
        if part := definitions.get(name):
            definitions[name] = {**part, "required": [each for each in part.get("required", ()) if each not in added]}
    if "date" in definitions:
        definitions["date"] = _DATE
    return {"type": "object", "properties": known, "$defs": definitions}
