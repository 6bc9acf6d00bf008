"""The house: every room has its floor, a name stands once, and each module opens with its contract."""

import ast
import re
import tomllib
from collections import defaultdict
from pathlib import Path

from tests.house.trees import ROOT, tree

DOMAIN = ROOT / "harvester_dagster"
PACKAGES = ("harvester_dagster", "assets", "resources", "sensors")
SHOWING = ("cli",)
"""Its files are named after what they put on show, as those of `assets/` are: there a second name helps."""


def _modules() -> list[Path]:
    return [path for path in DOMAIN.rglob("*.py") if path.name != "__init__.py" and "versions" not in path.parts]


def test_every_room_has_its_floor() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in contracts["contracts"] if contract["type"] == "layers")
    rooms = {path.stem for path in DOMAIN.glob("[!_]*.py")} | {
        path.parent.name for path in DOMAIN.glob("*/__init__.py")
    }
    assert {f"harvester_dagster.{room}" for room in rooms} | {"assets", "resources", "sensors"} == set(layers)


def test_no_exception_from_a_contract_is_a_pattern() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    assert not [
        line for contract in contracts["contracts"] for line in contract.get("ignore_imports", ()) if "*" in line
    ]


def test_no_two_modules_have_one_name() -> None:
    by_name = defaultdict(list)
    for path in _modules():
        if path.relative_to(DOMAIN).parts[0] not in SHOWING and path.name != "__main__.py":
            by_name[path.name].append(path.relative_to(ROOT))
    assert {name: paths for name, paths in by_name.items() if len(paths) > 1} == {}


def test_no_two_public_classes_have_one_name() -> None:
    by_name = defaultdict(list)
    for path in _modules():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                by_name[node.name].append(path.relative_to(ROOT))
    assert {name: paths for name, paths in by_name.items() if len(paths) > 1} == {}


def test_every_module_opens_with_its_contract() -> None:
    outer = [path for folder in ("assets", "resources", "sensors") for path in (ROOT / folder).glob("[!_]*.py")]
    assert [path for path in [*_modules(), *outer] if not ast.get_docstring(tree(path))] == []


def test_every_file_that_is_named_is_there() -> None:
    """In docstrings and comments below the name's own folder or the root's rooms, in documents from the root."""
    python = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    places = {
        str(path.relative_to(root)) for path in python for root in (ROOT, DOMAIN, path.parent) if root in path.parents
    }
    named = {
        (path.relative_to(ROOT), name)
        for path in [*python, *(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]
        for name in re.findall(r"`([a-z_/]+\.py)`", path.read_text(encoding="utf-8"))
    }
    assert {(path, name) for path, name in named if name not in places and not (ROOT / name).exists()} == set()
