"""The shape of a product's and a file's properties (docs/sources.md), whatever the source.

Belongs here: every property with its default, and what follows for files from their product (identity, order, state).
Does not belong here: what a source calls things (its format's module), the cleaning of single values (`values.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from harvester_dagster.sources.source import Document, State
from harvester_dagster.sources.values import digest, url_identity, year


class File(NamedTuple):
    """One URL of a product as its source lists it."""

    url: str
    is_link: bool
    mime_type: str | None
    access_rights: str
    copyright: str | None
    title: str | None = None
    etag: str | None = None
    priority: int = 0


class Standing(NamedTuple):
    """Whether a product is for this platform, and if not, why."""

    state: State = "active"
    reason: str = ""


ACTIVE = Standing()


def person(
    name: str | None,
    *,
    email: str | None = None,
    external_id: str | None = None,
    dai: str | None = None,
    orcid: str | None = None,
    isni: str | None = None,
    is_external: bool = False,
) -> dict[str, Any]:
    return {
        "name": name,
        "email": email,
        "external_id": external_id,
        "dai": dai,
        "orcid": orcid,
        "isni": isni,
        "is_external": is_external,
    }


def provider(name: str | None, external_id: str | None = None) -> dict[str, Any]:
    return {"ror": None, "external_id": external_id, "slug": None, "name": name}


def organizations(of_provider: Mapping[str, Any], type_: str = "unknown") -> dict[str, Any]:
    return {"root": {**of_provider, "type": type_}, "departments": [], "associates": []}


def learning_material(
    *,
    material_types: Sequence[str] = (),
    aggregation_level: str | None = None,
    lom_educational_levels: Sequence[str] = (),
    studies: Sequence[str] = (),
    study_vocabulary: Sequence[str] = (),
    disciplines: Sequence[str] = (),
    consortium: str | None = None,
) -> dict[str, Any]:
    return {
        "material_types": material_types or ["unknown"],
        "aggregation_level": aggregation_level,
        "lom_educational_levels": lom_educational_levels or [],
        "studies": studies or [],
        "study_vocabulary": study_vocabulary or [],
        "disciplines": disciplines or [],
        "consortium": consortium,
    }


def research_product(research_object_type: str | None = None, research_themes: Sequence[str] = ()) -> dict[str, Any]:
    return {"research_object_type": research_object_type, "research_themes": research_themes or [], "parties": []}


def _file(product: Mapping[str, Any], standing: Standing, identity: str, file: File) -> Document:
    key = digest(identity)
    external_id = f"{product['external_id']}:{key}"
    properties = {
        "external_id": external_id,
        "state": standing.state,
        "language": product["language"],
        "url": file.url,
        "hash": file.etag or key,
        "mime_type": file.mime_type,
        "title": file.title,
        "copyright": file.copyright or product["copyright"],
        "access_rights": file.access_rights,
        "product_id": product["external_id"],
        "is_link": file.is_link,
        "provider": product["provider"],
        "priority": file.priority,
    }
    reason = f"its product: {standing.reason}" if standing.reason else ""
    return Document("files", external_id, standing.state, properties, reason)


def documents(
    external_id: str,
    standing: Standing,
    files: Iterable[File],
    *,
    provider: Mapping[str, Any],
    organizations: Mapping[str, Any],
    learning_material: Mapping[str, Any],
    research_product: Mapping[str, Any],
    title: str | None = None,
    subtitle: str | None = None,
    description: str | None = None,
    language: str | None = None,
    keywords: Sequence[str] = (),
    copyright: str | None = None,
    copyright_description: str | None = None,
    authors: Sequence[Mapping[str, Any]] = (),
    publishers: Sequence[str] = (),
    publisher_date: str | None = None,
    technical_type: str | None = None,
    doi: str | None = None,
    is_part_of: Sequence[str] = (),
    has_parts: Sequence[str] = (),
) -> tuple[Document, ...]:
    """A product and its files. The same URL twice is one file, the first; files share their product's state."""
    kept: dict[str, File] = {}
    for file in files:
        kept.setdefault(url_identity(file.url), file)
    product = {
        "external_id": external_id,
        "state": standing.state,
        "doi": doi,
        "files": [file.url for file in kept.values()],
        "title": title,
        "subtitle": subtitle,
        "description": description,
        "language": language,
        "keywords": keywords or [],
        "copyright": copyright,
        "copyright_description": copyright_description,
        "authors": authors or [],
        "provider": provider,
        "organizations": organizations,
        "publishers": publishers or [],
        "publisher_date": publisher_date,
        "publisher_year": year(publisher_date),
        "technical_type": technical_type,
        "is_part_of": is_part_of or [],
        "has_parts": has_parts or [],
        "learning_material": learning_material,
        "research_product": research_product,
    }
    return (
        Document("products", external_id, standing.state, product, standing.reason),
        *(_file(product, standing, identity, file) for identity, file in kept.items()),
    )
