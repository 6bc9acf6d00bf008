"""How the built-in index takes a product: the type of every field that is searched, filtered or sorted on.

It is at least what the search team's own mapping is (docs/search-mapping.md), so that their queries find the same in
both. What is not named is kept and returned, not indexed, so that no source can grow the mapping. What tasks publish is
named in their rows. Does not belong here: the analysis that is named here (`search/default_mapping.py`), what an index
gets of a product (`indexed_product.py`).
"""

from collections.abc import Mapping
from typing import Any

from harvester_dagster.documents.texts import KINDS
from harvester_dagster.tasks.published import ANALYZERS, FOLDED, KEYWORD, TERM_NAMES, Mapped, searched

DATES = "strict_date_optional_time||yyyy-MM||epoch_millis"

# One date that is none costs that field, not the document.
DATE: Mapped = {"type": "date", "format": DATES, "ignore_malformed": True}
NAME: Mapped = {"type": "text", "fields": {"keyword": KEYWORD, "folded": FOLDED}}

_KEYWORDS = (
    *("srn", "set", "harvest_source", "external_id", "state", "doi", "url", "mime_type"),
    *("technical_type", "technical_types", "licenses", "access_rights", "publisher_year"),
    *("material_types", "aggregation_level", "lom_educational_levels", "studies", "disciplines"),
    *("research_object_type", "research_themes", "sia_project_id", "has_material", "is_part_of", "has_parts"),
)
_NAMES = ("title", "keywords", "publishers", "parties")
_DATES = ("publisher_date", "published_at", "modified_at")
_OF_A_FILE = ("srn", "url", "hash", "state", "type", "copyright", "mime_type", "access_rights", "language", "provider")
_OF_AN_AUTHOR = ("email", "external_id", "dai", "orcid", "isni")
_TERMS = ("industries", "sectors")
"""Of vocabularies that other platforms have; filters name them."""

# They must be answered; how much they find is for the numbers that plot, since no installation is known here.
QUERIES: tuple[Mapping[str, Any], ...] = tuple(
    {"name": name, "query": query, "minimum_hits": 0}
    for name, query in (
        ("active", {"term": {"state": "active"}}),
        ("with a Dutch text", {"exists": {"field": "texts.nl.titles.text"}}),
        ("with an English text", {"exists": {"field": "texts.en.titles.text"}}),
        ("onderwijs, in Dutch", {"multi_match": {"query": "onderwijs", "fields": ["texts.nl.*.text"]}}),
        ("education, in English", {"multi_match": {"query": "education", "fields": ["texts.en.*.text"]}}),
        ("of the last year", {"range": {"modified_at": {"gte": "now-1y/d"}}}),
    )
)


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"properties": dict(properties)}


def _texts(language: str) -> dict[str, Any]:
    filed = {"text": searched(language), "document": KEYWORD, "provider": KEYWORD, "by_machine": {"type": "boolean"}}
    return _object(dict.fromkeys(KINDS, _object(filed)))


PROPERTIES: Mapping[str, Any] = {
    **dict.fromkeys(_KEYWORDS, KEYWORD),
    **dict.fromkeys(_NAMES, NAME),
    **dict.fromkeys(_DATES, DATE),
    **dict.fromkeys(_TERMS, TERM_NAMES),
    "language": {**KEYWORD, "fields": {"keyword": KEYWORD}},
    "copyright": {"type": "text", "fields": {"keyword": KEYWORD}},
    "provider": {**KEYWORD, "fields": {"filter_search": {"type": "text"}}},
    "subtitle": {"type": "text"},
    "description": {"type": "text"},
    "authors": _object({**dict.fromkeys(_OF_AN_AUTHOR, KEYWORD), "name": NAME}),
    "files": _object({**dict.fromkeys(_OF_A_FILE, KEYWORD), "is_link": {"type": "boolean"}}),
    "metrics": _object({"views": {"type": "integer"}, "stars": _object({"average": {"type": "float"}})}),
    "texts": _object({language: _texts(language) for language in ANALYZERS}),
    "suggest_completion": {"type": "completion"},
    "suggest_phrase": {"type": "text", "analyzer": "trigram"},
}
