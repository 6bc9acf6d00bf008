"""A document as consumers see it: properties, overwrites, derivatives and files made into one output.

Belongs here: the pure functions that assemble it, and nothing is assembled later on the way out. What an output looks
like is published in `output.schema.json` (`schema.py`). Does not belong here: when an output is produced, and storage.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from harvester_dagster.config import Config, Output, Tasks
from harvester_dagster.documents.texts import Text, by_language, completions, full_texts
from harvester_dagster.tasks.access_policy import media_type
from harvester_dagster.tasks.task import Result
from harvester_dagster.vocabularies.shipped import technical_types

VERSION = 1
"""Raised when the functions here answer differently: every output is produced anew."""

NESTED = ("learning_material", "research_product")
"""Groups of properties that are lifted to the top level."""

PICTURE_TASKS = ("pdf_preview", "image_preview", "video_preview")
PICTURES = ("full_size", "preview", "preview_small")
VIDEO = ("duration", "embed_url", "description", "definition", "license")

GONE = (404, 410)
"""Statuses by which a server says that there is nothing any more."""

_EMAIL = re.compile(r"[^@\s<>()\[\],;:\"\\]+@[^@\s.]+(\.[^@\s.]+)+")


class Enriched(NamedTuple):
    """A document with what its tasks found: what outputs are made from."""

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


def product_output(product: Enriched, files: Iterable[Enriched], config: Config) -> dict[str, Any]:
    """A product with its files merged. Files that are not active, or not found, are left out."""
    properties = overlaid(product.properties, product.overwrite)
    shown = in_order(properties, [file for file in files if is_shown(file, config.tasks)])
    embedded = [embed(file, config.output) for file in shown]
    _name_untitled(embedded)
    main = embedded[0] if embedded else {}
    output = _start(product, "products", properties)
    for group in NESTED:
        output.update(output.pop(group, None) or {})
    output.update(_normalised(product.results))
    output["authors"] = [_author(author, config.output) for author in properties.get("authors") or ()]
    output["files"] = embedded
    for field in ("url", "mime_type", "previews", "video"):
        output[field] = main.get(field)
    output["technical_type"] = properties.get("technical_type") or main.get("type")
    taken_over = main.get("copyright") if config.output.copyright_from_main_file else None
    output["copyright"] = properties.get("copyright") or taken_over or "yes"
    output["licenses"] = [file["copyright"] for file in embedded if file["copyright"]]
    output["technical_types"] = [file["type"] for file in embedded]
    texts = [*_product_texts(product.srn, properties), *(text for file in shown for text in _file_texts(file))]
    output["texts"] = by_language(texts)
    first = next((text.text for text in texts if text.kind == "contents"), None)
    output["suggest_phrase"] = first
    output["suggest_completion"] = completions(properties.get("title"), first)
    return output


def file_output(file: Enriched, config: Config) -> dict[str, Any]:
    """A file by itself. One that is not found is inactive: for consumers it is gone."""
    properties = overlaid(file.properties, file.overwrite)
    output = _start(file, "files", properties)
    output.update(embed(file, config.output))
    if file.state == "active" and not is_shown(file, config.tasks):
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


def is_shown(file: Enriched, settings: Tasks) -> bool:
    return file.state == "active" and not is_hidden(file.results.get("check_url"), settings)


def is_hidden(checked: Result | None, settings: Tasks) -> bool:
    """Whether a file counts as *not found*: at once when its server says that it is gone, for any other failure only
    when there was one on enough days in a row; a file that was not checked yet is shown."""
    if checked is None or checked.kind == "success":
        return False
    data = checked.data or {}
    return data.get("status") in GONE or int(data.get("strikes") or 0) >= settings.dead_after_nights


def in_order(properties: Mapping[str, Any], files: Sequence[Enriched]) -> list[Enriched]:
    """By priority, highest first, then as the product names them."""
    if len(files) < 2:
        return list(files)
    places = {_identity(url): place for place, url in reversed(list(enumerate(properties.get("files") or ())))}
    last = len(places)
    return sorted(
        files,
        key=lambda file: (
            -(file.properties.get("priority") or 0),
            places.get(_identity(file.properties.get("url") or ""), last),
        ),
    )


@lru_cache(maxsize=1_000)
def technical_type(mime_type: str | None) -> str:
    """By the table that ships, else by the main type, else `unknown`."""
    bare = (mime_type or "").partition(";")[0].strip().lower()
    known = technical_types().get(bare)
    if known:
        return known
    main = bare.partition("/")[0]
    return main if main in ("video", "image", "audio") else "unknown"


def embed(file: Enriched, settings: Output) -> dict[str, Any]:
    """A file as products show it: never with its text."""
    properties = overlaid(file.properties, file.overwrite) if file.overwrite else file.properties
    mime_type = media_type(properties) or None
    embedded = {
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
    }
    if results := file.results:
        for task in PICTURE_TASKS:
            if data := _found(results, task):
                embedded["previews"] = {size: data.get(size) for size in PICTURES}
                break
        if data := _found(results, "youtube_api"):
            embedded["video"] = {name: data.get(name) for name in VIDEO}
    return embedded


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


def _normalised(results: Mapping[str, Result]) -> dict[str, Any]:
    years = _found(results, "normalize_publisher_year")
    return {
        "study_vocabulary": _found(results, "lookup_study_vocabulary_parents").get("study_vocabulary") or {},
        "disciplines_normalized": _found(results, "normalize_disciplines").get("disciplines_normalized") or {},
        "consortium": _found(results, "lookup_consortium_translations").get("consortium") or {},
        "publisher_year_normalized": years.get("publisher_year_normalized"),
    }


def _found(results: Mapping[str, Result], task: str) -> Mapping[str, Any]:
    """What a task found; nothing unless it succeeded."""
    result = results.get(task)
    return result.data or {} if result and result.kind == "success" else {}


def _author(author: Mapping[str, Any], settings: Output) -> dict[str, Any]:
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


def _file_texts(file: Enriched) -> Iterator[Text]:
    properties = overlaid(file.properties, file.overwrite)
    language, provider = properties.get("language"), _provider(properties)
    if title := properties.get("title"):
        yield Text("titles", language, title, file.srn, provider)
    for text, detected in full_texts(_found(file.results, "tika")):
        yield Text("contents", language or detected, text, file.srn, provider)


def _provider(properties: Mapping[str, Any]) -> str | None:
    provider = properties.get("provider")
    return provider.get("name") if isinstance(provider, Mapping) else provider


def _identity(url: str) -> str:
    return url.strip().replace(" ", "+").replace("%20", "+")


@lru_cache(maxsize=1_000)
def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
