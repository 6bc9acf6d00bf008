"""SKOS in JSON-LD, as Edustandaard writes it and as others may."""

import json
from typing import Any

import pytest

from harvester_dagster.vocabularies import skos
from harvester_dagster.vocabularies.trees import Term


def _part(*nodes: dict[str, Any]) -> tuple[Term, ...]:
    return skos.part("test", json.dumps({"@graph": list(nodes)}).encode()).terms


def _concept(value: str = "urn:a", **more: Any) -> dict[str, Any]:
    return {"@id": value, "@type": ["skos:Concept"], **{f"skos:{name}": found for name, found in more.items()}}


def _label(text: str, language: str) -> dict[str, str]:
    return {"@value": text, "@language": language}


def test_a_concept_has_its_broader_one_as_parent_and_its_labels_as_names() -> None:
    labels = [_label("Boom", "nl"), _label("Tree", "en")]
    assert _part(_concept(broader={"@id": "urn:b"}, prefLabel=labels)) == (Term("urn:a", "urn:b", "Boom", "Tree"),)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (_label("Boom", "nl"), ("Boom", "Boom")),
        (_label("Tree", "en"), ("Tree", "Tree")),
        (_label("Boom", "nl-NL"), ("Boom", "Boom")),
        ([_label("Baum", "de")], ("Baum", "Baum")),
        ("Boom", ("Boom", "Boom")),
        ([_label("  ", "nl"), _label("Tree", "en")], ("Tree", "Tree")),
        (None, ("urn:a", "urn:a")),
    ],
)
def test_a_missing_english_name_falls_back_to_the_dutch_one_and_any_name_beats_none(
    labels: Any, names: tuple[str, str]
) -> None:
    (term,) = _part(_concept(prefLabel=labels))
    assert (term.nl, term.en) == names


def test_expanded_json_ld_reads_the_same() -> None:
    core = "http://www.w3.org/2004/02/skos/core#"
    node = {
        "@id": "urn:a",
        "@type": [f"{core}Concept"],
        f"{core}broader": [{"@id": "urn:b"}],
        f"{core}prefLabel": [_label("Boom", "nl")],
    }
    part = skos.part("test", json.dumps([node]).encode())
    assert part.terms == (Term("urn:a", "urn:b", "Boom", "Boom"),)


def test_what_is_no_concept_is_passed_over() -> None:
    scheme = {"@id": "urn:scheme", "@type": ["skos:ConceptScheme"], "skos:prefLabel": "Scheme"}
    odd: list[Any] = [scheme, "text", 5, {"@type": "skos:Concept"}, {"@id": 7, "@type": "skos:Concept"}]
    assert [term.value for term in _part(*odd, _concept())] == ["urn:a"]


def test_a_concept_with_two_broader_ones_is_seen_twice_so_that_it_can_be_reported() -> None:
    terms = _part(_concept(broader=[{"@id": "urn:b"}, "urn:c"]))
    assert [term.parent for term in terms] == ["urn:b", "urn:c"]


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"@graph": []}', b"null", b"\xff\xfe", b"[" * 100_000])
def test_unreadable_bytes_are_an_error_that_names_the_vocabulary(content: bytes) -> None:
    with pytest.raises(skos.SkosError, match="vaktherapie"):
        skos.part("vaktherapie", content)
