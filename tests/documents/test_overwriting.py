"""What a person may overwrite of an output: the schema's own fields, but for those that are fixed."""

from typing import Any

import pytest

from harvester_dagster.catalog import CATALOG
from harvester_dagster.documents import overwriting


@pytest.mark.parametrize(
    ("entity", "values"),
    [
        ("products", {"title": "Bos", "subtitle": None, "keywords": ["a"], "publisher_year": 2026}),
        ("products", {"disciplines": ["techniek"], "research_themes": [], "technical_type": "document"}),
        ("products", {"authors": [{"name": "Ada"}], "organizations": {"root": {"name": "A"}}}),
        ("files", {"title": "Syllabus", "copyright": "cc-by-40", "priority": 3, "mime_type": None, "is_link": True}),
    ],
)
def test_taken(entity: str, values: dict[str, Any]) -> None:
    assert CATALOG.not_overwritable(entity, values) == []


@pytest.mark.parametrize(
    ("entity", "values", "said"),
    [
        ("products", {"title": None}, 'title: null is not of type "string"'),
        ("products", {"title": ""}, "title:"),
        ("products", {"keywords": "a"}, 'keywords: "a" is not of type "array"'),
        ("products", {"authors": [{"name": "A"}, {}]}, 'authors.1: "name" is a required property'),
        ("products", {"publisher_year": "2026"}, "publisher_year:"),
        ("products", {"publisher_date": "soon"}, "publisher_date:"),
        ("products", {"learning_material": {}}, "learning_material: a product has no such field; known are: title,"),
        (
            "products",
            {"study_vocabulary": {}},
            "study_vocabulary: it cannot be overwritten, it is what the task lookup_",
        ),
        ("products", {"previews": None}, "previews: it cannot be overwritten, it is what the task"),
        ("files", {"priority": 1.5}, "priority:"),
        ("files", {"subtitle": "a"}, "subtitle: a file has no such field; known are:"),
        ("files", {"url": "https://elsewhere.example/"}, "url: it cannot be overwritten, it says which document"),
        ("files", {"type": "video"}, "type: it cannot be overwritten, it follows from mime_type"),
    ],
)
def test_refused_by_name(entity: str, values: dict[str, Any], said: str) -> None:
    (reason,) = CATALOG.not_overwritable(entity, {"language": "nl", **values})
    assert reason.startswith(said)


@pytest.mark.parametrize("entity", ["products", "files"])
def test_what_is_fixed_is_refused_each_by_its_name(entity: str) -> None:
    fixed = CATALOG.entity(entity).fixed
    assert {"srn", "state", "set", "provider"} <= set(overwriting.FIXED) <= set(fixed)
    found = CATALOG.not_overwritable(entity, dict.fromkeys(fixed, "x"))
    assert [reason.partition(":")[0] for reason in found] == list(fixed)


def test_of_an_entity_without_a_schema_every_other_field_may_be_given() -> None:
    assert overwriting.reasons({"color": 1, "srn": "x"}, None, overwriting.FIXED, "thing") == [
        "srn: it cannot be overwritten, it says which document this is"
    ]
