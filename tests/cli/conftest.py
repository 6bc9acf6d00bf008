"""A folder of its own for each test of the command line, and an environment that is as before afterwards."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harvester_dagster.cli.main import app

Run = Callable[..., Any]
WORKS = """
[sources.src]
kind = "sharekit"
url = "https://source.example.org/api"
sets = ["one"]

[tasks]
disabled = ["tika"]

[index]
url = "none"

[metastore.library]
url = "http://127.0.0.1:1/solr"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where commands are typed: no configuration, no state. What they put into the environment goes again."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("HARVESTER_", "DAGSTER_")):
            del os.environ[name]
    os.environ["HARVESTER_HOME"] = str(tmp_path / "state")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run() -> Run:
    return lambda *line: CliRunner().invoke(app, list(line))


@pytest.fixture
def works(folder: Path) -> Path:
    """A configuration that is fine."""
    path = folder / "harvester.toml"
    path.write_text(WORKS)
    return path
