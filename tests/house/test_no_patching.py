"""No test replaces anything of ours while it runs: what a test must make small is a parameter of the code.

The one exception is the kill driver, whose purpose it is to see each call of a night.
"""

import ast
from collections.abc import Iterator, Sequence

from tests.house.trees import ROOT, nodes

OURS = ("harvester_dagster", "assets", "resources", "sensors", "benchmarks")
DRIVER = ROOT / "tests" / "kills" / "driver.py"
PATCHING = {"setattr", "delattr", "object"}
"""`monkeypatch.setattr`, `setattr`, `mock.patch.object` and their like."""


def test_no_test_replaces_anything_of_ours() -> None:
    files = [path for path in (ROOT / "tests").rglob("*.py") if path != DRIVER]
    found = [f"{path.relative_to(ROOT)}:{line}" for path in files for line in replacing(nodes(path))]
    assert found == []


def test_what_replaces_is_found() -> None:
    head = "from harvester_dagster.search import build\nfrom harvester_dagster.tasks.tika import Server\nimport json\n"
    for patching in (
        "monkeypatch.setattr(build, 'KEPT', 2)",
        "monkeypatch.setattr('harvester_dagster.search.build.KEPT', 2)",
        "monkeypatch.setattr(build.Build, 'run', print)",
        "patched.setattr(*[Server, 'ready'], print)",
        "setattr(Server, 'ready', print)",
        "mock.patch.object(build, 'KEPT', 2)",
        "build.KEPT = 2",
        "build.Build.KEPT += 2",
        "del build.KEPT",
    ):
        assert _lines(head + patching) == [4], patching
    for innocent in ("monkeypatch.setattr(json, 'dumps', print)", "one = build.KEPT", "json.dumps = print"):
        assert _lines(head + innocent) == [], innocent


def _lines(code: str) -> list[int]:
    return list(replacing(tuple(ast.walk(ast.parse(code)))))


def replacing(syntax: Sequence[ast.AST]) -> Iterator[int]:
    """The lines that set an attribute of something imported from us, or named by its path."""
    ours = set(_imported(syntax))
    for node in syntax:
        for target in _targets(node):
            if any(_is_ours(part, ours) for part in ast.walk(target)):
                yield node.lineno


def _imported(syntax: Sequence[ast.AST]) -> Iterator[str]:
    for node in syntax:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            for alias in node.names:
                if (module or alias.name).partition(".")[0] in OURS:
                    yield alias.asname or alias.name.partition(".")[0]


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    """What a statement or a call sets an attribute of."""
    if isinstance(node, ast.Call):
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        if name in PATCHING and node.args:
            yield node.args[0]
        return
    targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [getattr(node, "target", None)]
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete):
        yield from (target.value for target in targets if isinstance(target, ast.Attribute))


def _is_ours(node: ast.AST, ours: set[str]) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.partition(".")[0] in OURS
    return isinstance(node, ast.Name) and node.id in ours
