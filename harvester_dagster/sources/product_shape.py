"""The shape of a product's and a file's properties (docs/sources.md), whatever the source.

Belongs here: every property with its default, and what follows for files from their product (identity, order, state).
Does not belong here: what a source calls things (its format's module), the cleaning of single values (`values.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harvester_dagster.sources.kind import Document, State
from harvester_dagster.sources.values import digest, url_identity, year


class File(NamedTuple):
    """One URL of a product as its source lists it, cleaned by `values.url`. `access_rights` is OpenAccess,
    RestrictedAccess or ClosedAccess; the highest `priority` comes first."""

    url: str
    is_link: bool
    mime_type: str | None
    access_rights: str
    copyright: str | None
    title: str | None = None
    etag: str | None = None
    priority: int = 0


class RecordStanding(NamedTuple):
    """Whether a product is for this platform, and if not, why."""

    state: State = "active"
    reason: str = ""


ACTIVE = RecordStanding()


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
    """An author. What a source does not say is null; `is_external`: the source marks the author as somebody from
    elsewhere."""
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
    """Who offers a product, by name and by its id at the source."""
    return {"ror": None, "external_id": external_id, "slug": None, "name": name}


def organizations(of_provider: Mapping[str, Any], type_: str = "unknown") -> dict[str, Any]:
    """The institutions behind a product: the provider as their root. `type_` is what the source calls its kind."""
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
    """What only learning materials have. Levels, studies and disciplines are as the source writes them; the terms of
    `study_vocabulary` are URLs of concepts. Without a type of material it is `unknown`."""
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
    """What only research output has, as the source writes it."""
    return {"research_object_type": research_object_type, "research_themes": research_themes or [], "parties": []}


@dataclass(slots=True)
class Product:
    """What a source says of one product, cleaned; `documents` gives it the shape that consumers know.

    Texts are trimmed and never empty, URLs are as `values.url` gives them; what a source does not say keeps its
    default.
    """

    external_id: str
    standing: RecordStanding
    files: Iterable[File]
    """In the order in which the source lists them; gone through once."""
    provider: Mapping[str, Any]
    """Who offers it, as `provider` makes it."""
    organizations: Mapping[str, Any]
    """As `organizations` makes them."""
    learning_material: Mapping[str, Any]
    """As `learning_material` makes it."""
    research_product: Mapping[str, Any]
    """As `research_product` makes it."""
    title: str | None = None
    subtitle: str | None = None
    description: str | None = None
    """May have more than one line."""
    language: str | None = None
    """A code of ISO 639-1 where the source knows it, else what it writes."""
    keywords: Sequence[str] = ()
    copyright: str | None = None
    """A licence code as `values.licence` gives it, `yes`, or what the source writes; files without one take it over."""
    copyright_description: str | None = None
    """The licence in the source's own words."""
    authors: Sequence[Mapping[str, Any]] = ()
    """As `person` makes them, in the source's order."""
    publishers: Sequence[str] = ()
    publisher_date: str | None = None
    """`YYYY-MM-DD`; the year of publication is taken from it."""
    technical_type: str | None = None
    doi: str | None = None
    """As the source writes it; from Dublin Core, where it may be any identifier, bare (`10.…`)."""
    is_part_of: Sequence[str] = ()
    """External ids of products."""
    has_parts: Sequence[str] = ()
    """External ids of products."""

    def documents(self) -> tuple[Document, ...]:
        """The product, then its files. The same URL twice is one file, the first; files share the product's state."""
        kept: dict[str, File] = {}
        for file in self.files:
            kept.setdefault(url_identity(file.url), file)
        standing = self.standing
        properties = {
            "external_id": self.external_id,
            "state": standing.state,
            "doi": self.doi,
            "files": [file.url for file in kept.values()],
            "title": self.title,
            "subtitle": self.subtitle,
            "description": self.description,
            "language": self.language,
            "keywords": self.keywords or [],
            "copyright": self.copyright,
            "copyright_description": self.copyright_description,
            "authors": self.authors or [],
            "provider": self.provider,
            "organizations": self.organizations,
            "publishers": self.publishers or [],
            "publisher_date": self.publisher_date,
            "publisher_year": year(self.publisher_date),
            "technical_type": self.technical_type,
            "is_part_of": self.is_part_of or [],
            "has_parts": self.has_parts or [],
            "learning_material": self.learning_material,
            "research_product": self.research_product,
        }
        return (
            Document("products", self.external_id, standing.state, properties, standing.reason),
            *(self._file(identity, file) for identity, file in kept.items()),
        )

    def _file(self, identity: str, file: File) -> Document:
        key, standing = digest(identity), self.standing
        external_id = f"{self.external_id}:{key}"
        properties = {
            "external_id": external_id,
            "state": standing.state,
            "language": self.language,
            "url": file.url,
            "hash": file.etag or key,
            "mime_type": file.mime_type,
            "title": file.title,
            "copyright": file.copyright or self.copyright,
            "access_rights": file.access_rights,
            "product_id": self.external_id,
            "is_link": file.is_link,
            "provider": self.provider,
            "priority": file.priority,
        }
        reason = f"its product: {standing.reason}" if standing.reason else ""
        return Document("files", external_id, standing.state, properties, reason)
