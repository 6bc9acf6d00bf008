"""Which entities there are is said by the catalogue and by the sources that make them, and nowhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester_dagster.catalog import CATALOG

DOMAIN = Path(__file__).parents[2] / "harvester_dagster"
SAYS_IT = ("catalog.py", "sources")
"""Where the name stands in a row, and where documents of it are made."""


def _said(path: Path, name: str) -> Iterator[int]:
    """The lines in which code names the entity: the name alone, or in SQL's quotes. A row of the task table names the
    entity that it is for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    rows = {
        id(keyword.value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Task"
        for keyword in call.keywords
        if keyword.arg == "entity"
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in rows:
            continue
        if node.value == name or f"'{name}'" in node.value:
            yield node.lineno


def _lines(name: str) -> set[str]:
    return {
        f"{path.relative_to(DOMAIN)}:{line}"
        for path in DOMAIN.rglob("*.py")
        if path.relative_to(DOMAIN).parts[0] not in SAYS_IT
        for line in _said(path, name)
    }


def test_only_rows_and_sources_name_products() -> None:
    assert _lines("products") == set()
    assert _lines("check_url"), "what is looked for would be found"


@pytest.mark.parametrize("name", [task.name for task in CATALOG.tasks])
def test_outputs_schema_index_and_reports_name_no_task(name: str) -> None:
    rooms = ("documents", "search", "explain", "releases", "publication")
    assert [line for line in _lines(name) if line.startswith(rooms)] == []
