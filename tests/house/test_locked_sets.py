"""Who writes to a set asks for its lock: as a parameter, or by taking it."""

import ast
import re

from tests.house.trees import ROOT, tree

SETS = ROOT / "harvester_dagster" / "sets"
OF_A_SET = (
    *("attempt", "body", "dirty", "generation", "harvest_set", "output", "output_body", "page_bundle", "problem"),
    *("result", "revision", "stale_use", "task_progress", "task_report", "task_use"),
)
WRITES = re.compile(rf"\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+(?:harvester\.)?(?:{'|'.join(OF_A_SET)})\b")
OTHERWISE = {
    "LockedSet": "it is the lock",
    "synchronise": "it makes sets what the configuration says, and touches no generation of one",
}


def _said(node: ast.AST) -> str:
    return "\n".join(
        part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


def _has_lock(node: ast.FunctionDef | ast.ClassDef) -> bool:
    functions = [part for part in ast.walk(node) if isinstance(part, ast.FunctionDef)]
    asked = {argument.arg for each in functions for argument in (*each.args.args, *each.args.kwonlyargs)}
    calls = [part.func for part in ast.walk(node) if isinstance(part, ast.Call)]
    return "locked" in asked or any(isinstance(call, ast.Name) and call.id == "lock_set" for call in calls)


def test_who_writes_to_a_set_has_its_lock() -> None:
    writing = {
        node.name: _has_lock(node)
        for path in sorted(SETS.glob("*.py"))
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if WRITES.search(_said(node))
    }
    assert len(writing) > 15, "they are found"
    assert {name for name, has_lock in writing.items() if not has_lock} == set(OTHERWISE)
