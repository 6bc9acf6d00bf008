"""How counts, examples and times become Dagster metadata: numbers that plot, tables, thumbnails.

Belongs here: the form only. What is counted comes from the domain's reports.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

Metadata = dict[str, Any]


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    """A table for the UI; every cell is text or a number."""
    records = [dg.TableRecord({name: _cell(value) for name, value in zip(columns, row, strict=True)}) for row in rows]
    if not records:
        return dg.MetadataValue.text("none")
    schema = dg.TableSchema([dg.TableColumn(name, _type(records, name)) for name in columns])
    return dg.MetadataValue.table(records, schema=schema)


def _cell(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else "" if value is None else str(value)


def _type(records: Sequence[dg.TableRecord], name: str) -> str:
    first = records[0].data[name]
    return "int" if isinstance(first, int) and not isinstance(first, bool) else "string"


def counts(per_entity: Mapping[str, Mapping[str, int]] | None) -> Any:
    """{entity: {new: 3, …}} as a table, one row an entity."""
    per_entity = per_entity or {}
    names = list(dict.fromkeys(name for row in per_entity.values() for name in row))
    return table(
        ["entity", *names], [[entity, *(row.get(name, 0) for name in names)] for entity, row in per_entity.items()]
    )


def why_commands(srns: Iterable[str]) -> Any:
    lines = [f"    harvester why {srn}" for srn in srns]
    return dg.MetadataValue.md("\n".join(lines) if lines else "none")
