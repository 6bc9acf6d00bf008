"""The published JSON Schema of an entity's outputs, and why an output does not keep to it.

An entity's own schema describes what it is made of without its tasks; what these publish is added from their rows.
Strict on what consumers rely on, tolerant where sources are. A product that is not valid is not published; its
reasons are kept. Compiled at first use, once per process.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from harvester_dagster import canonical
from harvester_dagster.documents.making import Parts
from harvester_dagster.tasks.published import PublishedField

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

MOST_REASONS = 10
_LONGEST_REASON = 300
_KNOWN = "a task publishes {}, which the schema of its entity knows already"

Schema = Mapping[str, Any]


@cache
def product_schema() -> Schema:
    """A product and its files, without what tasks publish of them."""
    content = (files(__package__) / "output.schema.json").read_bytes()
    schema: Schema = msgspec.json.decode(content)
    return schema


def with_fields(schema: Schema, fields: Iterable[PublishedField], parts: Parts) -> Schema:
    """An entity's schema with what its tasks and those of its parts publish; `$defs` describes one part by its
    singular name. Raises ValueError where a field has the name of something else."""
    properties, definitions = dict(schema.get("properties", {})), dict(schema.get("$defs", {}))
    required = [*schema.get("required", ())]
    for field in _fields(fields):
        _add(properties, required, field, field.schema)
    if described := definitions.get(parts.singular):
        of_part, required_of_part = dict(described.get("properties", {})), [*described.get("required", ())]
        for field in _fields(parts.fields):
            if field.name in definitions:
                raise ValueError(_KNOWN.format(field.name))
            definitions[field.name] = field.schema
            reference = {"$ref": f"#/$defs/{field.name}"}
            _add(of_part, required_of_part, field, reference)
            if field.place == "main":
                shown = {"description": f"The main {parts.singular}'s.", "anyOf": [reference, {"type": "null"}]}
                _add(properties, required, replace(field, optional=False), shown)
        definitions[parts.singular] = {**described, "properties": of_part, "required": required_of_part}
    return {**schema, "required": required, "properties": properties, "$defs": definitions}


def _add(properties: dict[str, Any], required: list[str], field: PublishedField, schema: Schema) -> None:
    if field.name in properties:
        raise ValueError(_KNOWN.format(field.name))
    properties[field.name] = schema
    if not field.optional:
        required.append(field.name)


def _fields(published: Iterable[PublishedField]) -> list[PublishedField]:
    return [field for field in published if field.place != "texts"]


def validation(schema: Schema, singular: str) -> Callable[[Mapping[str, Any]], list[str]]:
    """Why an output is not valid, a reason a line: where, and what; empty when it is. `singular` is what the output as
    a whole is called."""
    encoded = canonical.encode(schema)

    def reasons(output: Mapping[str, Any]) -> list[str]:
        validator = _validator(encoded)
        try:
            if validator.is_valid(output):
                return []
            errors = zip(validator.iter_errors(output), range(MOST_REASONS), strict=False)
            return [_reason(error.instance_path, error.message, singular) for error, _ in errors]
        except ValueError:  # what is nested some hundred levels deep is not looked at
            return [f"{singular}: a value is nested too deeply"]

    return reasons


def _reason(path: list[str | int], message: str, singular: str) -> str:
    where = ".".join(str(step) for step in path) or singular
    return f"{where}: {message}"[:_LONGEST_REASON]


@lru_cache(maxsize=16)
def _validator(schema: bytes) -> "Draft202012Validator":
    # Imported here: loading it takes longer than all else that importing this module does.
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(msgspec.json.decode(schema), validate_formats=True)
