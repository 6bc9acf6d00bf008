"""How outputs stand in a search index, and how both forms are kept: what is stored beside an output for the index, and
how the built-in index takes what tasks publish.

An output and its form in the index have most of their bytes in common, so only what differs is stored twice: the JSON
of an output begins with the fields that are others in the index, and those that are the same there follow. Nothing is
decoded on the way into an index.

Belongs here: putting together what an entity's row and its tasks' rows declare. Does not belong here: the declarations
(`indexed_product.py`, the tasks' rows), and reading and sending documents (`search/`).
"""

from collections.abc import Callable, Iterable, Mapping
from operator import is_not
from typing import Any, NamedTuple

import msgspec

from harvester_dagster import canonical
from harvester_dagster.documents.making import Parts
from harvester_dagster.tasks.published import PublishedField

Note = Callable[[str], None]
"""Is told of what is left out of the index, and why."""
Form = Callable[[Mapping[str, Any], Note], dict[str, Any]]
"""Of an output to those of its fields that are others in the index, or that only the index has."""


class Stored(NamedTuple):
    """An output as it is stored. `body` is its JSON, as consumers get it; in the index `head` takes the place of what
    comes before `common_at` (a place in the bytes of `body`, at a comma or the closing brace). `head` is a JSON object
    without its braces; None: the output goes into the index as it is."""

    body: bytes
    head: bytes | None = None
    common_at: int | None = None

    @property
    def hash(self) -> bytes:
        """Another one when either form is another."""
        return canonical.digest(self.body if self.head is None else b"%b\n%b" % (self.head, self.body))


class IndexForm(NamedTuple):
    """`made_with` is another one when an index must be built anew. Of an output the `fields` are in the index (None:
    all), some of them otherwise (`differing`)."""

    made_with: Any
    fields: frozenset[str] | None
    differing: Form

    def of(self, output: Mapping[str, Any]) -> dict[str, Any]:
        """What the index gets of an output."""
        _, common, differing = self._parted(output)
        return {**common, **differing}

    def notes(self, output: Mapping[str, Any]) -> list[str]:
        """What of an output is left out of the index, and why."""
        notes: list[str] = []
        self.differing(output, notes.append)
        return notes

    def stored(self, output: Mapping[str, Any]) -> Stored:
        """Both forms of an output, for the store."""
        own, common, differing = self._parted(output)
        if common and not own:  # so that the common part begins with a comma
            own = dict([common.popitem()])
            differing = {**own, **differing}
        before, rest = canonical.encode(own)[:-1], canonical.encode(common)
        body = before + (b"," + rest[1:] if common else b"}")
        return Stored(body, canonical.encode(differing)[1:-1], len(before))

    def _parted(self, output: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """What only consumers of outputs get, what is the same in both, what only the index gets."""
        differing = self.differing(output, _nobody)
        own, common = {}, {}
        for name, value in output.items():
            if name in differing or (self.fields is not None and name not in self.fields):
                own[name] = value
            else:
                common[name] = value
        return own, common, differing


def stored(output: Mapping[str, Any], form: IndexForm | None) -> Stored:
    """An output as it is stored."""
    return form.stored(output) if form else Stored(canonical.encode(output))


def restored(body: bytes, form: IndexForm | None) -> Stored:
    """An output that was stored without its form in the index, as outputs were before November 2026."""
    return form.stored(msgspec.json.decode(body)) if form else Stored(body)


def index_form(
    own: Form | None, version: int, own_fields: frozenset[str] | None, fields: Iterable[PublishedField], parts: Parts
) -> IndexForm | None:
    """What an entity's own form, of this version and with these fields, and those of its tasks' fields come to; what
    tasks publish is always in the index. None: outputs go there as they are."""
    of_main = [field for field in parts.fields if field.place == "main"]
    of_document = [field for field in (*fields, *of_main) if field.place != "texts"]
    of_parts = [field for field in parts.fields if field.index_form]
    formed = [field for field in of_document if field.index_form]
    if not (own or formed or of_parts):
        return None

    def differing(output: Mapping[str, Any], note: Note) -> dict[str, Any]:
        found = own(output, note) if own else {}
        found.update(_formed(output, formed, note))
        listed = found[parts.listed] if parts.listed in found else output.get(parts.listed)
        if of_parts and listed:
            inside = [_part(part, of_parts, note) for part in listed]
            if any(map(is_not, inside, listed)):
                found[parts.listed] = inside
        return found

    made_with = [version if own else 0, *((one.name, one.version) for one in (*formed, *of_parts))]
    return IndexForm(made_with, own_fields and own_fields | {field.name for field in of_document}, differing)


def _part(part: dict[str, Any], fields: Iterable[PublishedField], note: Note) -> dict[str, Any]:
    found = _formed(part, fields, note)
    return {**part, **found} if found else part


def _formed(output: Mapping[str, Any], fields: Iterable[PublishedField], note: Note) -> dict[str, Any]:
    """Those of the fields that are others in the index."""
    found = {}
    for field in fields:
        value = output.get(field.name)
        if value is not None and field.index_form and (formed := field.index_form(value)) is not value:
            found[field.name] = formed
            if formed is None:
                note(f"{field.name} of {output.get('srn')} is left out: search clients could not read it")
    return found


def _nobody(_note: str) -> None:
    """Listens to no note."""


def properties(own: Mapping[str, Any], fields: Iterable[PublishedField], parts: Parts) -> dict[str, Any]:
    """The properties of an entity's built-in mapping with those that its tasks and its parts' tasks publish."""
    of_main = _properties(field for field in parts.fields if field.place == "main")
    whole = {**own, **_properties(fields), **of_main}
    if listed := own.get(parts.listed):
        whole[parts.listed] = {**listed, "properties": {**listed["properties"], **_properties(parts.fields)}}
    return whole


def _properties(fields: Iterable[PublishedField]) -> dict[str, Any]:
    return {field.name: field.mapping for field in fields if field.mapping is not None}
