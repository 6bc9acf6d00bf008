"""A product as the search index gets it: what the search team's client reads, in types that its models take.

Belongs here: the fields that go there and their repair (docs/search-mapping.md has the table). What no client reads
stays out, so that no source can decide by its first document how a server maps a field. Does not belong here: single
values (`tasks/index_values.py`), what tasks publish (their rows), how a server maps it (`product_mapping.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from operator import is_not
from typing import Any

from harvester_dagster.documents.index_form import Note
from harvester_dagster.documents.texts import LANGUAGES, language_of
from harvester_dagster.sources import dates
from harvester_dagster.tasks import index_values

VERSION = 1
"""Raised when the functions here answer differently: outputs are made anew, and the index is built anew."""

FIELDS = frozenset(
    (
        *("srn", "set", "harvest_source", "external_id", "state", "modified_at", "language", "provider"),
        *("title", "subtitle", "description", "keywords", "authors", "publishers", "publisher_date", "publisher_year"),
        *("copyright", "licenses", "doi", "has_parts", "is_part_of", "files", "url", "mime_type"),
        *("technical_type", "technical_types", "material_types", "aggregation_level", "lom_educational_levels"),
        *("studies", "disciplines", "research_object_type", "research_themes"),
        *("texts", "suggest_phrase", "suggest_completion"),
    )
)
"""What the index gets of an output, beside what tasks publish."""

OF_AN_AUTHOR = frozenset(("name", "email", "external_id", "dai", "isni", "orcid", "is_external"))
CLOSED = "ClosedAccess"
"""Of a file of which nobody says who may see it."""

_Rule = Callable[[Any], str | None]
_RULES: tuple[tuple[str, _Rule, str], ...] = (
    ("url", index_values.web_address, "web address"),
    ("modified_at", index_values.moment, "time"),
    ("publisher_date", dates.plain_day, "day"),
    ("doi", index_values.doi, "DOI"),
)


def product(output: Mapping[str, Any], note: Note) -> dict[str, Any]:
    """Those of a product's fields that are others in the index, but for what tasks publish. Never raises for an output
    that keeps to its schema."""
    found: dict[str, Any] = {}
    for name, rule, what in _RULES:
        _keep(found, output, name, rule, what, note)
    found["published_at"] = found["publisher_date"] if "publisher_date" in found else output.get("publisher_date")
    if (shown := language(output["language"])) is not output["language"]:
        found["language"] = shown
    if (provider := output.get("provider")) is not None:
        found["provider"] = index_values.first_name(provider)
    if authors := output["authors"]:
        _list(found, "authors", authors, [_author(author, note) for author in authors])
    if files := output["files"]:
        _list(found, "files", files, [_file(file, note) for file in files])
    _own_title_first(found, output)
    return found


def language(written: str | None) -> str | None:
    """`nl` and `en` wherever texts are filed under them, so that clients find them; others as they are written."""
    filed = language_of(written)
    return filed if filed in LANGUAGES else written


def _keep(found: dict[str, Any], output: Mapping[str, Any], name: str, rule: _Rule, what: str, note: Note) -> None:
    value = output.get(name)
    if value is not None and (kept := rule(value)) != value:
        found[name] = kept
        if kept is None:
            note(f"{name} is left out: {value!r:.200} is no {what}")


def _list(found: dict[str, Any], name: str, before: Sequence[Any], after: Sequence[Any]) -> None:
    """What is None is left out; a list in which nothing differs is stored once."""
    if any(map(is_not, before, after)):
        found[name] = [one for one in after if one is not None]


def _author(author: Mapping[str, Any], note: Note) -> Mapping[str, Any] | None:
    if not author["name"]:
        note("an author is left out: without a name")
        return None
    email = author["email"]
    if email and not index_values.email(email):
        note(f"the e-mail address of {author['name']:.100} is left out: no mail could reach it")
        email = None
    if email == author["email"] and author.keys() <= OF_AN_AUTHOR:
        return author
    return {name: value for name, value in author.items() if name in OF_AN_AUTHOR} | {"email": email}


def _file(file: Mapping[str, Any], note: Note) -> Mapping[str, Any] | None:
    if not index_values.web_address(file["url"]):
        note(f"the file {file['srn']} is left out: {file['url']!r:.200} is no web address")
        return None
    provider, rights = file["provider"], file["access_rights"]
    if rights is None:
        note(f"the file {file['srn']} counts as {CLOSED}: nobody says who may see it")
    elif provider is None or isinstance(provider, str):
        return file
    return {**file, "provider": index_values.first_name(provider), "access_rights": rights or CLOSED}


def _own_title_first(found: dict[str, Any], output: Mapping[str, Any]) -> None:
    """Clients show the first title of the product's language, which is the product's own."""
    texts, filed = output["texts"], language_of(output["language"])
    titles = texts[filed]["titles"]
    if titles and titles[0]["text"] == output["title"]:
        return
    own = {"text": output["title"], "document": output["srn"], "provider": None, "by_machine": False}
    found["texts"] = {**texts, filed: {**texts[filed], "titles": [own, *titles]}}
