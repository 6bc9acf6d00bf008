"""What a person may type or write is documented: commands and options, keys of the configuration, errors."""

import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harvester_dagster
from harvester_dagster import config, failures
from harvester_dagster.config import Config, Section, Source
from tests.cli.walking import commands, groups

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "harvester.example.toml"
NEVER_SEEN = {
    "Stopped",  # ends a reader's thread
    "Undecodable",  # becomes Solr's OutsideError
    "UnreadableError",
    "NothingToSeeError",
    "GoneError",
    "TooSlowError",  # become the outcome of a task
    "ApiError",
    "OaiError",  # answers of the sample server
    "ApiProblem",  # an answer of the API
    "Unfit",  # becomes ConfigError
}
"""Exceptions that end inside the program."""


def test_every_command_and_option_says_what_it_does() -> None:
    assert [name for name, text in groups().items() if not text] == []
    found = commands()
    assert [command.name for command in found if not command.help] == []
    silent = [(command.name, name) for command in found for name, each in command.parameters.items() if not each.help]
    assert silent == []


@pytest.mark.service
def test_the_page_of_commands_is_that_of_the_program(tmp_path: Path) -> None:
    line = "typer harvester_dagster.cli.main utils docs --name harvester --title Commands --output docs/commands.md"
    made = tmp_path / "commands.md"
    argv = [*line.split()[:-1], str(made)]
    subprocess.run([Path(sys.executable).with_name(argv[0]), *argv[1:]], check=True, capture_output=True)
    current = (ROOT / "docs" / "commands.md").read_text()
    assert made.read_text() == current, f"commands have changed: .venv/bin/{line}"


def _keys(model: type[Section], table: dict[str, Any], name: str = "") -> Iterator[str]:
    """The keys of the model that a table of the example lacks."""
    for key, field in model.model_fields.items():
        if key not in table:
            yield f"{name}{key}"
            continue
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from _keys(inner, table[key], f"{name}{key}.")


def test_every_key_is_in_the_example_with_its_default() -> None:
    raw = tomllib.loads(EXAMPLE.read_text())
    assert list(_keys(Config, raw)) == []
    parsed, default = config.load(EXAMPLE), Config()
    examples: Any = {"sources": True, "metastore": True, "web": {"tokens"}}
    assert parsed.model_dump(exclude=examples) == default.model_dump(exclude=examples)


def test_every_key_of_the_tables_that_have_names_is_in_the_example() -> None:
    raw = tomllib.loads(EXAMPLE.read_text())
    sources = {key for source in raw["sources"].values() for key in source}
    of_sets = {key for source in raw["sources"].values() for own in source.get("set", {}).values() for key in own}
    assert set(Source.model_fields) - sources - of_sets == set()
    assert set(config.Metastore.model_fields) - {key for one in raw["metastore"].values() for key in one} == set()
    tokens = raw["web"]["tokens"].values()
    assert set(config.NamedToken.model_fields) - {key for one in tokens for key in one} == set()
    assert "{ name = " in EXAMPLE.read_text() and "url = " in EXAMPLE.read_text(), "of vocabularies.skos"


def _errors() -> set[type[BaseException]]:
    for module in pkgutil.walk_packages(harvester_dagster.__path__, "harvester_dagster."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return {found for found in _below(Exception) if found.__module__.startswith("harvester_dagster.")}


def _below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for found in kind.__subclasses__():
        yield found
        yield from _below(found)


def test_every_error_has_the_one_root_and_stands_in_its_tree() -> None:
    errors = {found.__name__: found for found in _errors()}
    assert {name for name, found in errors.items() if not issubclass(found, failures.HarvesterError)} == NEVER_SEEN
    drawn = set(re.findall(r"\w+", (failures.__doc__ or "").partition("Everything else")[0]))
    assert errors.keys() - NEVER_SEEN - drawn == set()


def test_the_errors_of_libraries_are_there() -> None:
    for name in failures.FOREIGN:
        module, _, kind = name.rpartition(".")
        found = getattr(importlib.import_module(module), kind)
        assert f"{found.__module__}.{found.__qualname__}" == name
