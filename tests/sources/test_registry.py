"""The registry: what it names is documented where people look for it."""

import re
from pathlib import Path

import pytest

from harvester_dagster.sources.registry import KINDS

ROOT = Path(__file__).parents[2]
EXAMPLE, SOURCES = (ROOT / name for name in ("harvester.example.toml", "docs/sources.md"))


@pytest.mark.parametrize("name", [name for kind in KINDS.values() for name in kind.formats])
def test_a_metadata_format_is_documented(name: str) -> None:
    (listed,) = re.findall(r"^format = .*# (.*): which mapping", EXAMPLE.read_text("utf-8"), re.MULTILINE)
    assert f'"{name}"' in listed
    assert re.search(rf'^## .*\(`format = "{name}"`\)$', SOURCES.read_text("utf-8"), re.MULTILINE)
