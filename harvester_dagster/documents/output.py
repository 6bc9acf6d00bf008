"""A document as consumers see it: properties, overwrites, derivatives and files made into one output.

Belongs here: the pure functions that assemble it, and nothing is assembled later on the way out. What an output looks
like is published in `output.schema.json` (`schema.py`), what tasks add to it stands in their rows (`making.py`). Does
not belong here: when an output is produced, and storage.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from harvester_dagster.config import Output
from harvester_dagster.documents.making import Making
from harvester_dagster.documents.texts import Text, by_language, completions, shortened
from harvester_dagster.sources.values import url_identity
from harvester_dagster.tasks.access_policy import media_type
from harvester_dagster.tasks.task import Result
from harvester_dagster.vocabularies.shipped import technical_types

VERSION = 2
"""Raised when the functions here answer differently: every output is produced anew."""

NESTED = ("learning_material", "research_product")
"""Groups of properties that are lifted to the top level."""

_EMAIL = re.compile(r"[^@\s<>()\[\],;:\"\\]+@[^@\s.]+(\.[^@\s.]+)+")


class Enriched(NamedTuple):
    """A document with what its tasks found: what outputs are made from. `results` are by the task's name."""

    srn: str
    set: str
    """The set's key, `source:set`."""
    external_id: str
    state: str
    properties: Mapping[str, Any]
    results: Mapping[str, Result] = {}
    overwrite: Mapping[str, Any] | None = None
    modified_at: datetime | None = None
    """When the present properties were accepted."""
    source_modified_at: str | None = None


def product_output(product: Enriched, files: Iterable[Enriched], making: Making) -> dict[str, Any]:
    """A product with its files merged into it. Files that are not active, or not found, are left out."""
    assert making.parts, "products own files"
    of_files, settings = making.parts, making.config.output
    properties = overlaid(product.properties, product.overwrite)
    shown = in_order(properties, [file for file in files if is_shown(file, of_files)])
    embedded = [embed(file, of_files) for file in shown]
    _name_untitled(embedded)
    main = embedded[0] if embedded else {}
    output = _start(product, making.entity, properties)
    for group in NESTED:
        output.update(_lifted(output.pop(group, None) or {}, product.overwrite))
    output.update(making.fields(product.srn, product.results))
    output["authors"] = [published_author(author, settings) for author in properties.get("authors") or ()]
    output["files"] = embedded
    for field in ("url", "mime_type", *of_files.of_main):
        output[field] = main.get(field)
    output["technical_type"] = properties.get("technical_type") or main.get("type")
    taken_over = main.get("copyright") if settings.copyright_from_main_file else None
    output["copyright"] = properties.get("copyright") or taken_over or "yes"
    output["licenses"] = [file["copyright"] for file in embedded if file["copyright"]]
    output["technical_types"] = [file["type"] for file in embedded]
    texts = [*_product_texts(product.srn, properties), *_found_texts(product, properties, making)]
    texts += [text for file in shown for text in _file_texts(file, of_files)]
    output["texts"] = by_language(texts)
    first = next((text.text for text in texts if text.kind == "contents"), None)
    output["suggest_phrase"] = first
    output["suggest_completion"] = completions(properties.get("title"), first)
    return output


def file_output(file: Enriched, _parts: Iterable[Enriched], making: Making) -> dict[str, Any]:
    """A file as an output of its own. One that is not found is inactive: for consumers it is gone."""
    properties = overlaid(file.properties, file.overwrite)
    output = _start(file, making.entity, properties)
    output.update(embed(file, making))
    if file.state == "active" and not is_shown(file, making):
        output["state"] = "inactive"
    return output


def overlaid(properties: Mapping[str, Any], overwrite: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The source's values with the operator's over them; inside an object only the named values are replaced."""
    if not overwrite:
        return properties
    merged = dict(properties)
    for name, value in overwrite.items():
        known = merged.get(name)
        merged[name] = overlaid(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def _lifted(group: Mapping[str, Any], overwrite: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A group's values for the top level, where an operator's that were written there stay."""
    return {name: value for name, value in group.items() if name not in overwrite} if overwrite else group


def is_shown(file: Enriched, making: Making) -> bool:
    """Whether consumers see the file: it is active, and its URL was not found to be gone; `making` is that of files."""
    return file.state == "active" and not making.hides(file.results)


def _priority(properties: Mapping[str, Any]) -> float:
    """What is no number is none: overwrites of old were not looked at."""
    found = properties.get("priority")
    return found if isinstance(found, int | float) else 0


def in_order(properties: Mapping[str, Any], files: Sequence[Enriched]) -> list[Enriched]:
    """Files by priority, the highest first, then in the order in which the product names them."""
    if len(files) < 2:
        return list(files)
    places = {url_identity(url): place for place, url in reversed(list(enumerate(properties.get("files") or ())))}
    last = len(places)
    return sorted(
        files,
        key=lambda file: (
            -_priority(overlaid(file.properties, file.overwrite)),
            places.get(url_identity(file.properties.get("url") or ""), last),
        ),
    )


@lru_cache(maxsize=1_000)
def technical_type(mime_type: str | None) -> str:
    """The technical type of a MIME type: by the table that ships, else its main type where that says enough, else
    `unknown`."""
    bare = (mime_type or "").partition(";")[0].strip().lower()
    known = technical_types().get(bare)
    if known:
        return known
    main = bare.partition("/")[0]
    return main if main in ("video", "image", "audio") else "unknown"


def embed(file: Enriched, making: Making) -> dict[str, Any]:
    """A file as products show it, never with its text; `making` is that of files."""
    properties = overlaid(file.properties, file.overwrite) if file.overwrite else file.properties
    mime_type = media_type(properties) or None
    return {
        "srn": file.srn,
        "url": properties.get("url"),
        "hash": properties.get("hash"),
        "state": file.state,
        "title": properties.get("title"),
        "type": technical_type(mime_type),
        "is_link": bool(properties.get("is_link")),
        "copyright": properties.get("copyright"),
        "mime_type": mime_type,
        "access_rights": properties.get("access_rights"),
        "priority": properties.get("priority") or 0,
        "language": properties.get("language"),
        "provider": properties.get("provider"),
        **making.fields(file.srn, file.results),
    }


def _start(document: Enriched, entity: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **properties,
        "srn": document.srn,
        "set": document.set,
        "harvest_source": document.set.partition(":")[2],
        "entity": entity,
        "external_id": document.external_id,
        "state": document.state,
        "modified_at": _time(document.modified_at),
        "source_modified_at": document.source_modified_at,
        "overwrite": bool(document.overwrite),
    }


def published_author(author: Mapping[str, Any], settings: Output) -> dict[str, Any]:
    """An author as everybody may see it: without the e-mail address, where addresses are not published."""
    email = author.get("email")
    public = settings.author_emails and isinstance(email, str) and _EMAIL.fullmatch(email)
    return {**author, "email": email if public else None}


def _name_untitled(files: list[dict[str, Any]]) -> None:
    """`URL n` for the nth link, `Attachment n` for the nth file, where the source gives no title."""
    count = {True: 0, False: 0}
    for file in files:
        count[file["is_link"]] += 1
        if not file["title"]:
            file["title"] = f"{'URL' if file['is_link'] else 'Attachment'} {count[file['is_link']]}"


def _product_texts(srn: str, properties: Mapping[str, Any]) -> Iterator[Text]:
    language, provider = properties.get("language"), _provider(properties)
    for kind, name in (("titles", "title"), ("subtitles", "subtitle"), ("descriptions", "description")):
        if text := properties.get(name):
            yield Text(kind, language, text, srn, provider)


def _file_texts(file: Enriched, making: Making) -> Iterator[Text]:
    properties = overlaid(file.properties, file.overwrite)
    if title := properties.get("title"):
        yield Text("titles", properties.get("language"), title, file.srn, _provider(properties))
    yield from _found_texts(file, properties, making)


def _found_texts(document: Enriched, properties: Mapping[str, Any], making: Making) -> list[Text]:
    """What tasks found to read in a document, cut to a bearable length."""
    if not (found := making.texts(document.results)):
        return []
    language, provider = properties.get("language"), _provider(properties)
    return [
        Text(kind, language or detected, cut, document.srn, provider)
        for kind, text, detected in found
        if (cut := shortened(text))
    ]


def _provider(properties: Mapping[str, Any]) -> str | None:
    provider = properties.get("provider")
    return provider.get("name") if isinstance(provider, Mapping) else provider


@lru_cache(maxsize=1_000)
def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
