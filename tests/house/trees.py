"""The code of this project as syntax, each file parsed and walked once for all tests of a process."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def tree(path: Path) -> ast.Module:
    """A file of ours, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All of a file's syntax, in no order: twice as fast as `ast.walk`, which looks up each field by its name."""
    found: list[ast.AST] = [tree(path)]
    for node in found:  # it grows
        for value in vars(node).values():
            if isinstance(value, list):
                found.extend(part for part in value if isinstance(part, ast.AST))
            elif isinstance(value, ast.AST):
                found.append(value)
    return tuple(found)
