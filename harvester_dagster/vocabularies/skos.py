"""SKOS as JSON-LD: concepts with `skos:broader` and `skos:prefLabel` by language, as terms.

Compact (`skos:broader`) and expanded (full IRI) keys are read; contexts are never fetched, which is why this is not
left to a JSON-LD library: a document from outside would choose the addresses. Unreadable input raises SkosError.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from harvester_dagster.failures import HarvesterError
from harvester_dagster.vocabularies.trees import Part, Term

FIELD = "study_vocabulary"
_SKOS = ("skos:", "http://www.w3.org/2004/02/skos/core#", "https://www.w3.org/2004/02/skos/core#")

_MEND = "it must be SKOS as JSON-LD: look at the address in vocabularies.skos"


class SkosError(HarvesterError):
    """The bytes are no SKOS in JSON-LD, or hold no concept."""


def part(name: str, content: bytes, field: str = FIELD) -> Part:
    """The concepts of one scheme, in the order of the file; a concept with several parents is there for each. Raises
    SkosError."""
    try:
        document = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SkosError(f"{name}: not JSON ({error})", _MEND) from None
    terms = tuple(_terms(document))
    if not terms:
        raise SkosError(f"{name}: no skos:Concept with an @id in it", _MEND)
    return Part(name, field, terms)


def _terms(document: Any) -> Iterator[Term]:
    graph = document.get("@graph", document) if isinstance(document, dict) else document
    for node in _list(graph):
        if not isinstance(node, dict) or not isinstance(node.get("@id"), str):
            continue
        if not any(kind in [f"{prefix}Concept" for prefix in _SKOS] for kind in _list(node.get("@type"))):
            continue
        value = node["@id"]
        names = dict(_labels(_skos(node, "prefLabel")))
        nl = names.get("nl") or names.get("en") or next(iter(names.values()), value)
        parents: list[str | None] = list(_references(_skos(node, "broader")))
        for parent in parents or [None]:
            yield Term(value, parent, nl, names.get("en") or nl)


def _skos(node: dict[str, Any], name: str) -> list[Any]:
    return [value for prefix in _SKOS for value in _list(node.get(prefix + name))]


def _labels(values: list[Any]) -> Iterator[tuple[str, str]]:
    for value in values:
        if isinstance(value, str) and value.strip():
            yield "", value.strip()
        elif isinstance(value, dict) and isinstance(value.get("@value"), str) and value["@value"].strip():
            yield str(value.get("@language") or "").partition("-")[0].lower(), value["@value"].strip()


def _references(values: list[Any]) -> Iterator[str]:
    for value in values:
        reference = value.get("@id") if isinstance(value, dict) else value
        if isinstance(reference, str) and reference:
            yield reference


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
