"""The built-in mapping is at least what a search client's queries need, whatever the platform."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Index
from harvester_dagster.search.default_mapping import definition
from tests.search.client import FILTERS, HIGHLIGHTED, IN_NO_MAPPING, LANGUAGES, LIKE, RANGES, SEARCHED

KINDS = ("titles", "subtitles", "descriptions", "contents", "transcriptions")
ANALYZERS = {"nl": "custom_dutch", "en": "english", "unk": "standard"}


def flat(properties: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each field and sub-field by its full name."""
    for name, field in properties.items():
        if "type" in field:
            yield above + name, {key: value for key, value in field.items() if key != "fields"}
        yield from flat({**field.get("properties", {}), **field.get("fields", {})}, f"{above}{name}.")


def fields(index: Index | None = None) -> dict[str, Mapping[str, Any]]:
    made = definition(CATALOG, "products", index or Index())
    assert made is not None
    return dict(flat(made["mappings"]["properties"]))


def analyzer(field: Mapping[str, Any]) -> str:
    return str(field.get("analyzer", "standard"))


@pytest.mark.parametrize("platform", SEARCHED)
def test_what_is_searched_is_text(platform: str) -> None:
    there = fields()
    for name in {one.partition("^")[0] for one in SEARCHED[platform]} - IN_NO_MAPPING:
        assert there[name]["type"] == ("keyword" if name == "publisher_year" else "text"), name
        if name.endswith(".folded"):
            assert analyzer(there[name]) == "folding", name


@pytest.mark.parametrize("platform", FILTERS)
def test_what_is_filtered_and_counted_is_a_keyword(platform: str) -> None:
    assert {name: fields()[name]["type"] for name in FILTERS[platform]} == dict.fromkeys(FILTERS[platform], "keyword")


@pytest.mark.parametrize("name", RANGES)
def test_what_has_a_range_is_a_date_or_a_number(name: str) -> None:
    found = fields()[name]
    assert found["type"] == ("float" if name.startswith("metrics") else "date")
    if found["type"] == "date":
        assert set(found["format"].split("||")) == {"strict_date_optional_time", "yyyy-MM", "epoch_millis"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_there_word_by_word_and_stemmed(language: str) -> None:
    there = fields()
    for kind in KINDS:
        text = f"texts.{language}.{kind}.text"
        assert analyzer(there[text]) == "standard"
        assert analyzer(there[f"{text}.analyzed"]) == ANALYZERS[language]
    assert {*LIKE, *HIGHLIGHTED} - IN_NO_MAPPING <= {name for name, one in there.items() if analyzer(one) == "standard"}


def test_phrases_and_words_to_complete() -> None:
    assert (fields()["suggest_phrase"]["type"], analyzer(fields()["suggest_phrase"])) == ("text", "trigram")
    assert fields()["suggest_completion"]["type"] == "completion"


def test_a_word_list_cuts_what_is_searched_for_in_dutch_and_nothing_that_is_stored() -> None:
    plain, cutting = fields(), fields(Index(nl_decompound_word_list="words.txt"))
    differing = {name for name in plain if plain[name] != cutting[name]}
    of_terms = ("study_vocabulary", "disciplines_normalized", "consortium", "industries", "sectors")
    assert differing == {
        *(f"texts.nl.{kind}.text.analyzed" for kind in KINDS),
        *(f"{terms}.nl.analyzed" for terms in of_terms),
    }
    for name in differing:
        assert cutting[name] == {**plain[name], "search_analyzer": "dutch_dictionary_decompound"}


def test_every_keyword_is_bounded() -> None:
    """One of more than 32,766 bytes would make the server refuse its document."""
    assert all(one.get("ignore_above", 10**6) <= 8191 for one in fields().values() if one["type"] == "keyword")
