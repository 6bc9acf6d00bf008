"""Which entities there are is said by the catalogue and by the sources that make them, and nowhere else."""

import ast
from functools import cache

import pytest

from harvester_dagster.catalog import CATALOG
from tests.house.trees import ROOT, nodes

DOMAIN = ROOT / "harvester_dagster"
SAYS_IT = ("catalog.py", "sources")
"""Where the name stands in a row, and where documents of it are made."""


@cache
def _said() -> list[tuple[str, int, str]]:
    """What code says outside those: file, line, text. A row of the task table names the entity that it is for."""
    found = []
    for path in DOMAIN.rglob("*.py"):
        if path.relative_to(DOMAIN).parts[0] in SAYS_IT:
            continue
        rows = {
            id(keyword.value)
            for call in nodes(path)
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Task"
            for keyword in call.keywords
            if keyword.arg == "entity"
        }
        found += [
            (str(path.relative_to(DOMAIN)), node.lineno, node.value)
            for node in nodes(path)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in rows
        ]
    return found


def _lines(name: str) -> set[str]:
    """Where code names an entity or a task: the name alone, or in SQL's quotes."""
    return {f"{path}:{line}" for path, line, text in _said() if text == name or f"'{name}'" in text}


def test_only_rows_and_sources_name_products() -> None:
    assert _lines("products") == set()
    assert _lines("check_url"), "what is looked for would be found"


@pytest.mark.parametrize("name", [task.name for task in CATALOG.tasks])
def test_outputs_schema_index_and_reports_name_no_task(name: str) -> None:
    rooms = ("documents", "search", "explain", "releases", "publication")
    assert [line for line in _lines(name) if line.startswith(rooms)] == []
