"""The built-in settings and mappings of an index, for installations whose search team brings none of its own.

Belongs here: analysis by language and the type of every field that is searched, filtered or sorted on; what is not
named is stored and returned, not indexed, so that no source can grow the mapping. Does not belong here: building
indices, and queries.
"""

from collections.abc import Mapping
from typing import Any

from harvester_dagster.config import Index
from harvester_dagster.documents.texts import KINDS

ANALYZERS: Mapping[str, str] = {"nl": "custom_dutch", "en": "english", "unk": "standard"}
"""Analyzer by the language of a text; `english` and `standard` are the server's own."""

DATES = "strict_date_optional_time||yyyy-MM||yyyy"

# A keyword of more than 32,766 bytes makes the server refuse the whole document: 8,191 characters of 4 bytes.
KEYWORD: Mapping[str, Any] = {"type": "keyword", "ignore_above": 8191}
# One date that is none costs that field, not the document.
DATE: Mapping[str, Any] = {"type": "date", "format": DATES, "ignore_malformed": True}
NAME: Mapping[str, Any] = {
    "type": "text",
    "fields": {"keyword": KEYWORD, "folded": {"type": "text", "analyzer": "folding"}},
}

# Names of Dutch universities whose endings the stemmer would take for inflections.
UNSTEMMED = ("avans", "fontys", "hanze", "saxion", "windesheim", "zuyd")

_KEYWORDS = (
    *("srn", "set", "harvest_source", "entity", "external_id", "state", "language", "doi", "url", "mime_type"),
    *("technical_type", "technical_types", "licenses", "copyright", "publisher_year_normalized"),
    *("material_types", "aggregation_level", "lom_educational_levels", "studies", "disciplines"),
    *("research_object_type", "research_themes", "is_part_of", "has_parts"),
)
_NAMES = ("title", "keywords", "publishers")
_DATES = ("publisher_date", "published_at", "modified_at", "source_modified_at")
_TERMS = ("study_vocabulary", "disciplines_normalized", "consortium")
_OF_A_FILE = ("srn", "url", "hash", "state", "type", "copyright", "mime_type", "access_rights", "language")
_OF_AN_AUTHOR = ("external_id", "dai", "orcid", "isni")
_OF_AN_ORGANIZATION = ("ror", "external_id", "slug", "name", "type")

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


def definition(entity: str, index: Index) -> dict[str, Any] | None:
    """`{settings, mappings, queries}` of an entity's index; None: the entity has no index."""
    if entity != "products":
        return None
    return {"settings": settings(index), "mappings": product_mappings(), "queries": QUERIES}


def settings(index: Index) -> dict[str, Any]:
    filters: dict[str, Any] = {
        "dutch_stop": {"type": "stop", "stopwords": "_dutch_"},
        "dutch_keywords": {"type": "keyword_marker", "keywords": list(UNSTEMMED)},
        "dutch_stemmer": {"type": "stemmer", "language": "dutch"},
        "word_shingles": {"type": "shingle", "min_shingle_size": 2, "max_shingle_size": 3},
    }
    dutch = ["lowercase", "dutch_stop", "dutch_keywords", "dutch_stemmer"]
    if index.nl_decompound_word_list:
        filters["dutch_decompounder"] = {
            "type": "dictionary_decompounder",
            "word_list_path": index.nl_decompound_word_list,
        }
        dutch.insert(2, "dutch_decompounder")
    return {
        "index": {"number_of_shards": index.shards, "number_of_replicas": index.replicas},
        "analysis": {
            "filter": filters,
            "analyzer": {
                "custom_dutch": _analyzer(*dutch),
                "folding": _analyzer("lowercase", "asciifolding"),
                "trigram": _analyzer("lowercase", "word_shingles"),
            },
        },
    }


def product_mappings() -> dict[str, Any]:
    return {
        "dynamic": False,
        "properties": {
            **dict.fromkeys(_KEYWORDS, KEYWORD),
            **dict.fromkeys(_NAMES, NAME),
            **dict.fromkeys(_DATES, DATE),
            **dict.fromkeys(_TERMS, _object({"keyword": KEYWORD, "nl": KEYWORD, "en": KEYWORD})),
            "overwrite": {"type": "boolean"},
            "publisher_year": {"type": "integer", "ignore_malformed": True},
            "subtitle": {"type": "text"},
            "description": {"type": "text"},
            "authors": _object({**dict.fromkeys(_OF_AN_AUTHOR, KEYWORD), "name": NAME}),
            "provider": _object(dict.fromkeys(_OF_AN_ORGANIZATION, KEYWORD)),
            "organizations": _object(
                dict.fromkeys(
                    ("root", "departments", "associates"), _object(dict.fromkeys(_OF_AN_ORGANIZATION, KEYWORD))
                )
            ),
            "files": _object({**dict.fromkeys(_OF_A_FILE, KEYWORD), "is_link": {"type": "boolean"}}),
            "texts": _object({language: _texts(analyzer) for language, analyzer in ANALYZERS.items()}),
            "suggest_completion": {"type": "completion"},
            "suggest_phrase": {"type": "text", "fields": {"trigram": {"type": "text", "analyzer": "trigram"}}},
        },
    }


def _analyzer(*filters: str) -> dict[str, Any]:
    return {"type": "custom", "tokenizer": "standard", "filter": list(filters)}


def _texts(analyzer: str) -> dict[str, Any]:
    text = {
        "type": "text",
        "analyzer": analyzer,
        "fields": {
            "analyzed": {"type": "text", "analyzer": analyzer},
            "folded": {"type": "text", "analyzer": "folding"},
        },
    }
    filed = _object({"text": text, "document": KEYWORD, "provider": KEYWORD, "by_machine": {"type": "boolean"}})
    return _object(dict.fromkeys(KINDS, filed))


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"properties": dict(properties)}
