"""The published JSON Schema of a product's output, and why an output does not keep to it.

Strict on what consumers rely on, tolerant where sources are. A product that is not valid is not published; its
reasons are kept. Compiled at first use, once per process.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

MOST_REASONS = 10
_LONGEST_REASON = 300


@cache
def product_schema() -> Mapping[str, Any]:
    content = (files(__package__) / "output.schema.json").read_bytes()
    schema: Mapping[str, Any] = msgspec.json.decode(content)
    return schema


def validate(output: Mapping[str, Any]) -> list[str]:
    """Why this output is not valid, a reason a line: where, and what; empty when it is."""
    if _validator().is_valid(output):
        return []
    errors = _validator().iter_errors(output)
    return [_reason(error.instance_path, error.message) for error, _ in zip(errors, range(MOST_REASONS), strict=False)]


def _reason(path: list[str | int], message: str) -> str:
    where = ".".join(str(step) for step in path) or "product"
    return f"{where}: {message}"[:_LONGEST_REASON]


@cache
def _validator() -> "Draft202012Validator":
    # Imported here: loading it takes longer than all else that importing this module does.
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(dict(product_schema()), validate_formats=True)
