"""What a search team's client asks of documents and of an index, written down anew: models that refuse what its models
refuse (`probes.json` has what these answered), and the fields that its queries name.

Like the client's, they are built on pydantic; unknown fields are ignored, and one refused document is a broken page.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, EmailStr, Field, HttpUrl, ValidationError, model_validator

LANGUAGES = ("nl", "en", "unk")
State = Literal["active", "inactive", "deleted", "skipped"]


class Kind(Enum):
    PRODUCTS = "products"


class Video(BaseModel):
    duration: timedelta
    embed_url: HttpUrl


class Previews(BaseModel):
    full_size: HttpUrl
    preview: HttpUrl
    preview_small: HttpUrl


class Organization(BaseModel):
    name: str | None = None
    external_id: str | None = None
    slug: str | None = None
    ror: str | None = None


class File(BaseModel):
    srn: str
    hash: str
    access_rights: str
    state: State = "active"
    is_link: bool = False
    priority: int = 0
    url: HttpUrl | None = None
    type: str | None = None
    title: str | None = None
    copyright: str | None = None
    mime_type: str | None = None
    video: Video | None = None
    previews: Previews | None = None


class Author(BaseModel):
    name: str
    email: EmailStr | None = None
    external_id: str | None = None
    dai: str | None = None
    isni: str | None = None
    orcid: str | None = None
    is_external: bool | None = None


def _keyword(value: Any) -> Any:
    """Of an object of terms its keywords; one that is empty has none."""
    return value["keyword"] if isinstance(value, Mapping) and value else value


def _keywords(value: Any) -> Any:
    return [] if value == {} else _checked(value)


def _one_keyword(value: Any) -> Any:
    return None if value == {} else _checked(value)


def _checked(value: Any) -> Any:
    try:
        return _keyword(value)
    except KeyError:
        raise ValueError("terms without their keywords") from None


Terms = Annotated[list[str], BeforeValidator(_keywords)]


class Product(BaseModel):
    """As a hit is shown: texts replace the product's own title, subtitle and description."""

    entity: Annotated[Kind, Field(strict=True)] = Kind.PRODUCTS
    srn: str
    set: str
    external_id: str
    harvest_source: str
    state: State = "active"
    provider: Organization | str | None = None
    published_at: datetime | date | None = Field(None, validation_alias="publisher_date")
    modified_at: datetime | None = None
    url: HttpUrl | None = None
    title: str | None = None
    subtitle: str | None = None
    description: str | None = None
    language: str | None = None
    copyright: str | None = None
    licenses: list[str] = []
    video: Video | None = None
    previews: Previews | None = None
    files: list[File] = []
    authors: list[Author] = []
    has_parts: list[str] = []
    is_part_of: list[str] = []
    keywords: list[str] = []
    doi: str | None = None
    publishers: list[str] = []
    technical_type: str | None = None
    technical_types: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _show_texts(cls, data: dict[str, Any]) -> dict[str, Any]:
        if not (texts := data.get("texts")):
            return data
        language = data.get("language")
        kinds = texts[language if language in ("nl", "en") else "unk"]
        shown = {
            name: kinds[kind][0]["text"] if kinds[kind] else None
            for name, kind in (("title", "titles"), ("subtitle", "subtitles"), ("description", "descriptions"))
        }
        return {**data, **shown}


class LearningMaterial(Product):
    disciplines_normalized: Terms = []
    study_vocabulary: Terms = []
    consortium: Annotated[str | None, BeforeValidator(_one_keyword)] = None
    lom_educational_levels: list[str] = []
    material_types: list[str] = []
    aggregation_level: str | None = None


class ResearchProduct(Product):
    sia_project_id: str | None = None
    research_object_type: str | None = None
    research_themes: list[str] = []
    projects: list[str] = []

    @model_validator(mode="after")
    def _say_nothing_twice(self) -> "ResearchProduct":
        if self.subtitle:
            if self.title is None:
                raise ValueError("a subtitle without a title")
            if self.subtitle in self.title:
                self.subtitle = None
        return self


MODELS: dict[str, type[Product]] = {"learning_material": LearningMaterial, "research_product": ResearchProduct}
MODEL_OF = {"edusources": LearningMaterial, "mbodata": LearningMaterial, "publinova": ResearchProduct}


def refused(model: type[Product], document: Mapping[str, Any]) -> str:
    """Why the model refuses a document, or ""."""
    try:
        model.model_validate(document)
    except (ValidationError, KeyError) as error:
        return str(error)
    return ""


_WEIGHTS = {"titles": 5, "subtitles": 5, "contents": 3, "descriptions": 3}
_TEXTS = [
    field
    for language in LANGUAGES
    for kind, weight in _WEIGHTS.items()
    for text in (f"texts.{language}.{kind}.text",)
    for field in (f"{text}^{weight}", f"{text}.analyzed", f"{text}.folded^{weight}")
]
_TERMS = [
    f"{terms}.{language}{part}^2"
    for terms in ("consortium", "study_vocabulary", "disciplines_normalized", "industries", "sectors")
    for language in ("nl", "en")
    for part in ("", ".analyzed", ".folded")
]
_MATERIAL = [*_TEXTS, "keywords^4", "keywords.folded^4", "authors.name.folded^2", "publishers^2", "publishers.folded^2"]
SEARCHED: Mapping[str, Sequence[str]] = {
    "edusources": [*_MATERIAL, *_TERMS],
    "mbodata": [*_MATERIAL, *_TERMS],
    "publinova": [
        *_TEXTS,
        *(
            "keywords^4",
            "keywords.folded^4",
            "authors.name.folded^2",
            "parties.name.folded^2",
            "projects.name.folded^2",
        ),
        *("publisher_year^3", "provider.filter_search"),
    ],
}
"""Fields and weights of a search for words, by platform."""

_FILTERS = (
    *(
        "publisher_year_normalized",
        "authors.name.keyword",
        "language.keyword",
        "language",
        "copyright.keyword",
        "licenses",
    ),
    *("publishers.keyword", "technical_type", "technical_types", "publisher_year", "provider"),
)
_OF_MATERIAL = (
    *("study_vocabulary.keyword", "disciplines_normalized.keyword", "lom_educational_levels", "consortium.keyword"),
    *("material_types", "aggregation_level"),
)
FILTERS: Mapping[str, Sequence[str]] = {
    "edusources": (*_FILTERS, *_OF_MATERIAL),
    "mbodata": (*_FILTERS, *_OF_MATERIAL, "harvest_source", "industries.keyword", "sectors.keyword", "access_rights"),
    "publinova": (*_FILTERS, "research_object_type", "research_themes", "has_material"),
}
"""Fields that are filtered, counted and sorted on, by platform."""

RANGES = ("published_at", "modified_at", "publisher_date", "metrics.stars.average")
HIGHLIGHTED = tuple(
    [f"texts.{language}.contents.text" for language in LANGUAGES]
    + [f"texts.{language}.description.text" for language in LANGUAGES]
)
LIKE = tuple(f"texts.{language}.{kind}.text" for kind in ("titles", "descriptions") for language in LANGUAGES)
IN_NO_MAPPING = frozenset(
    ("parties.name.folded", "projects.name.folded", *(f"texts.{language}.description.text" for language in LANGUAGES))
)
"""Names that the client asks and that exist in its own mapping neither."""
