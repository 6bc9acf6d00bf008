"""The built-in definition of an index, for installations whose search team brings none of its own.

Belongs here: analysis by language, and putting together what the catalogue's rows say of an entity and of what its
tasks publish. What no row names is stored and returned, not indexed, so that no source can grow the mapping. Does not
belong here: the type of a field (`documents/product_mapping.py`, the tasks' rows), building indices, and queries.
"""

from collections.abc import Mapping
from typing import Any

from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Index

# Names of Dutch universities whose endings the stemmer would take for inflections, and a word of care that it would
# take for another one.
UNSTEMMED = ("avans", "fontys", "hanze", "saxion", "windesheim", "zuyd", "palliatieve")
SYNONYMS = ("palliatie, palliatieve",)
DUTCH = "custom_dutch"
CUTTING = "dutch_dictionary_decompound"
"""Analyzer of what is searched for in Dutch, where a word list is named: it cuts compounds, and does not stem."""


def definition(catalog: Catalog, entity: str, index: Index) -> dict[str, Any] | None:
    """`{settings, mappings, queries}` of an entity's index; None: the entity has no index."""
    properties = catalog.mapping(entity)
    if properties is None:
        return None
    if index.nl_decompound_word_list:
        properties = _cutting(properties)
    mappings = {"dynamic": False, "properties": properties}
    return {"settings": settings(index), "mappings": mappings, "queries": catalog.entity(entity).queries}


def settings(index: Index) -> dict[str, Any]:
    """Shards, replicas and analysis, by `[index]` of the configuration."""
    filters: dict[str, Any] = {
        "dutch_stop": {"type": "stop", "stopwords": "_dutch_"},
        "dutch_keywords": {"type": "keyword_marker", "keywords": list(UNSTEMMED)},
        "dutch_stemmer": {"type": "stemmer", "language": "dutch"},
        "word_shingles": {"type": "shingle", "min_shingle_size": 2, "max_shingle_size": 3},
    }
    analyzers = {
        DUTCH: _analyzer("lowercase", "dutch_stop", "dutch_keywords", "dutch_stemmer"),
        "folding": _analyzer("lowercase", "asciifolding"),
        "trigram": _analyzer("lowercase", "word_shingles"),
    }
    if index.nl_decompound_word_list:
        filters["dutch_synonym"] = {"type": "synonym_graph", "synonyms": list(SYNONYMS)}
        filters["dutch_decompounder"] = {
            "type": "dictionary_decompounder",
            "word_list_path": index.nl_decompound_word_list,
            "only_longest_match": True,
            "min_word_size": 8,
            "min_subword_size": 5,
        }
        analyzers[CUTTING] = _analyzer("lowercase", "dutch_stop", "dutch_synonym", "dutch_decompounder")
    return {
        "index": {"number_of_shards": index.shards, "number_of_replicas": index.replicas},
        "analysis": {"filter": filters, "analyzer": analyzers},
    }


def _cutting(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The same mapping, in which what is searched for in Dutch is cut."""
    return {
        name: _cutting(part) if isinstance(part, Mapping) else CUTTING if (name, part) == _SEARCHED_IN_DUTCH else part
        for name, part in mapping.items()
    }


_SEARCHED_IN_DUTCH = ("search_analyzer", DUTCH)


def _analyzer(*filters: str) -> dict[str, Any]:
    return {"type": "custom", "tokenizer": "standard", "filter": list(filters)}
