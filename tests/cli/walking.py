"""Every command of the command line, found by walking it, so that a new one is there by itself.

Belongs here: what there is, and arguments for it by their names. Does not belong here: what a command should say.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import typer

from harvester_dagster.cli.main import app

GIVEN: Mapping[str, str] = {
    "key": "src:one",
    "sets": "src:one",
    "srn": "src:one:x",
    "task": "check_url",
    "old": "1",
    "new": "2",
    "mode": "full",
    "identifier": "x",
    "values": '{"title": "x"}',
    "url": "http://127.0.0.1:1/",
    "text": "Ada Example",
}
"""What a command is given for its arguments, by their names: they are well-formed."""

UNKNOWN: Mapping[str, str] = {
    "key": "src:none",
    "sets": "src:none",
    "srn": "src:one:none",
    "task": "no_task",
    "old": "998",
    "new": "999",
    "version": "999",
    "endpoint": "nowhere",
    "lie": "nonsense",
    "kind": "no-kind",
    "without": "no_rule",
}
"""What there is none of."""


class Command(NamedTuple):
    """A command, and its parameters by their names."""

    words: tuple[str, ...]
    parameters: Mapping[str, Any]
    help: str

    @property
    def name(self) -> str:
        return " ".join(self.words)

    def line(self, **given: str) -> list[str]:
        """What is typed: its words, its arguments, and those options that are named."""
        asked = {name: each for name, each in self.parameters.items() if name in given or each.required}
        typed: list[str] = []
        for name, parameter in asked.items():
            value = given.get(name) or GIVEN[name]
            is_option = parameter.param_type_name == "option"
            typed += [parameter.opts[0], value] if is_option else [value]
        return [*self.words, *typed]


def commands() -> list[Command]:
    return list(_below(typer.main.get_command(app), ()))


def groups() -> dict[str, str]:
    """The help of each group, by its words."""
    return {name: found.help or "" for name, found in _groups(typer.main.get_command(app), ())}


def _below(found: Any, words: tuple[str, ...]) -> Iterator[Command]:
    if not hasattr(found, "commands"):
        parameters = {each.name: each for each in found.params if each.name != "help"}
        yield Command(words, parameters, found.help or "")
        return
    for word, each in found.commands.items():
        yield from _below(each, (*words, word))


def _groups(found: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if hasattr(found, "commands"):
        yield " ".join(words), found
        for word, each in found.commands.items():
            yield from _groups(each, (*words, word))
