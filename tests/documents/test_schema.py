"""The published schema: a schema itself, and strict on what consumers rely on."""

from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import pytest

from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config
from harvester_dagster.documents.output import Enriched, product_output
from harvester_dagster.documents.schema import MOST_REASONS

validate = CATALOG.validation("products")


def _output(**changes: Any) -> dict[str, Any]:
    product = Enriched("a:b:c", "a:b", "c", "active", {"title": "T", "language": "nl"}, {}, None, datetime.now(UTC))
    return {**product_output(product, [], CATALOG.making("products", Config())), **changes}


def test_it_is_a_schema_of_draft_2020_12() -> None:
    schema = CATALOG.schema("products")
    assert schema is not None and schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.meta.validate(dict(schema))


def test_the_least_product_keeps_to_it() -> None:
    assert validate(_output()) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"title": None}, "title"),
        ({"title": ""}, "title"),
        ({"srn": "no-srn"}, "srn"),
        ({"state": "lost"}, "state"),
        ({"entity": "files"}, "entity"),
        ({"keywords": ["", "b"]}, "keywords.0"),
        ({"authors": [{"name": "Jan", "email": "none"}]}, "authors.0.email"),
        ({"publisher_date": "yesterday"}, "publisher_date"),
        ({"publisher_year": "2024"}, "publisher_year"),
        ({"publisher_year_normalized": 2024}, "publisher_year_normalized"),
        ({"disciplines_normalized": {"keyword": ["a"]}}, "disciplines_normalized"),
        ({"study_vocabulary": ["urn:a"]}, "study_vocabulary"),
        ({"modified_at": "2026-11-22"}, "modified_at"),
        ({"files": [{"srn": "a:b:c:d"}]}, "files.0"),
        ({"texts": {"nl": {}}}, "texts"),
        ({"suggest_completion": ["één"]}, "suggest_completion.0"),
    ],
)
def test_what_consumers_rely_on_is_demanded_and_the_reason_names_the_place(change: dict[str, Any], where: str) -> None:
    reasons = validate(_output(**change))
    assert any(reason.startswith(where) for reason in reasons), reasons


def test_a_missing_key_is_named() -> None:
    output = _output()
    del output["language"]
    assert validate(output) == ['product: "language" is a required property']


def test_partial_dates_and_further_keys_are_fine() -> None:
    assert validate(_output(publisher_date="2024-05", something_new={"a": 1})) == []


def test_reasons_stay_readable_however_much_is_wrong() -> None:
    reasons = validate(_output(keywords=[None] * 5_000, title="", description=["x" * 5_000]))
    assert 0 < len(reasons) <= MOST_REASONS
    assert max(map(len, reasons)) <= 300
