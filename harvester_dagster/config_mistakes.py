"""What is wrong with a configuration, in words that need no knowledge of the validator: the key, what was found, what
was expected, the mend.

Belongs here: one mistake, and the table from the validator's kinds to sentences. Does not belong here: any setting or
rule (`config.py`; `explain/config_check.py` for what has a registry).
"""

import difflib
import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from harvester_dagster.failures import HarvesterError, without_secrets

_LONGEST = 80
_EXPECTED: Mapping[str, str] = {
    "string_type": "a text in quotes",
    "string_unicode": "a text in quotes",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "tuple_type": 'a list in brackets, such as ["one", "two"]',
    "too_short": "a list of {min_length} or more",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "literal_error": "{expected}",
}
"""By the validator's kind of a mistake; `{…}`: what it was compared with."""


class Mistake(NamedTuple):
    """One mistake. `key` is dotted, as the file's tables and keys are."""

    key: str
    wrong: str
    mend: str

    def __str__(self) -> str:
        return without_secrets(f"{self.key}: {self.wrong}" + (f"; {self.mend}" if self.mend else ""))

    def below(self, *parents: object) -> "Mistake":
        """The same, its key taken to be relative to these."""
        return self._replace(key=".".join([*map(str, parents), *filter(None, [self.key])]))


class Unfit(ValueError):
    """Raised in a validator: what is wrong, by keys relative to the value that is validated."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__("; ".join(map(str, mistakes)))
        self.mistakes = mistakes


class ConfigError(HarvesterError):
    """The configuration cannot be used; one line a mistake."""


def refused(name: str, mistakes: Iterable[Mistake]) -> ConfigError:
    """The error that tells all of them, of the file `name`."""
    return ConfigError("\n".join(f"{name}: {mistake}" for mistake in mistakes))


def unfit(found: object, expected: str, mend: str = "") -> Unfit:
    """A value that is not what was expected."""
    return Unfit(Mistake("", f"found {shown(found)}, expected {expected}", mend))


def unknown(key: str, what: str, found: str, known: Iterable[str]) -> Mistake:
    """A name that is none of those that there are."""
    names = list(known)
    close = difflib.get_close_matches(found, names, 1)
    listed = f"there are: {', '.join(names)}" if names else "there is none"
    return Mistake(
        key, f"there is no {what} {shown(found)}", f'did you mean "{close[0]}"? {listed}' if close else listed
    )


def shown(value: object) -> str:
    """A value as the file would have it, cut where it is long."""
    if isinstance(value, dict):
        return "a table"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def mistakes(error: ValidationError, model: type[BaseModel]) -> list[Mistake]:
    """The validator's findings in our words, one a key."""
    by_key: dict[str, Mistake] = {}
    for mistake in _found(error, model):
        by_key.setdefault(mistake.key, mistake)
    return [found for key, found in by_key.items() if not any(other.startswith(f"{key}.") for other in by_key)]


def _found(error: ValidationError, model: type[BaseModel]) -> Iterator[Mistake]:
    for found in error.errors():
        path = [part for part in found["loc"] if part != "[key]"]
        own = found.get("ctx", {}).get("error")
        if isinstance(own, Unfit):
            yield from (mistake.below(*path) for mistake in own.mistakes)
        elif found["type"] == "extra_forbidden":
            yield _no_such_key(path, model)
        elif found["type"] == "missing":
            yield Mistake(_dotted(path), "is missing", "add it")
        else:
            yield _misfit(path, model, found["type"], found.get("ctx", {}), found["input"])


def _dotted(path: Iterable[object]) -> str:
    return ".".join(map(str, path)) or "the file"


def _no_such_key(path: list[Any], model: type[BaseModel]) -> Mistake:
    *parents, name = path
    section = _model_at(model, parents)
    close = difflib.get_close_matches(str(name), section.model_fields, 1)
    return Mistake(_dotted(path), "there is no such key", f'did you mean "{close[0]}"?' if close else "remove it")


def _misfit(path: list[Any], model: type[BaseModel], kind: str, against: Mapping[str, Any], found: object) -> Mistake:
    expected = _EXPECTED.get(kind, "another kind of value").format_map({key: _plain(against[key]) for key in against})
    default = _default(model, path)
    mend = "" if default is None else f"the default is {shown(default)}"
    return Mistake(_dotted(path), f"found {shown(found)}, expected {expected}", mend)


def _plain(value: object) -> str:
    return str(value).replace("'", '"')


def _default(model: type[BaseModel], path: list[Any]) -> object:
    """The default of a key that has one which a file can hold; else None."""
    *parents, name = path
    field = _model_at(model, parents).model_fields.get(str(name))
    default = None if field is None or field.default is PydanticUndefined else field.default
    return list(default) if isinstance(default, tuple) else default if isinstance(default, str | int | float) else None


def _model_at(model: type[BaseModel], path: Iterable[object]) -> type[BaseModel]:
    """The table that a path leads to; names of one's own and places in lists lead no further."""
    for part in path:
        if (field := model.model_fields.get(str(part))) and (inner := _model_in(field.annotation)):
            model = inner
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
