"""Values of JSON as pages show them."""

import pytest

from harvester_dagster.web.shown_values import apart, counted, plain

LONG = "x" * 100


@pytest.mark.parametrize(
    ("value", "said"),
    [("a b", "a b"), (None, "null"), (True, "true"), (["é"], '["é"]'), ({"a": None}, '{"a":null}'), ("", "")],
)
def test_a_text_is_shown_as_it_is_and_anything_else_as_json(value: object, said: str) -> None:
    assert plain(value) == said


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("a", "b", ("a", "b")),
        (None, ["b"], (None, '["b"]')),
        ("a", None, ("a", None)),
        (f"{LONG}a", f"{LONG}b", (f"… {LONG[:40]}a", f"… {LONG[:40]}b")),
        (LONG, f"{LONG}b", (f"… {LONG[:40]}", f"… {LONG[:40]}b")),
        ([LONG, 1], [LONG, 2], (f'… {"x" * 38}",1]', f'… {"x" * 38}",2]')),
    ],
)
def test_two_long_values_are_shown_from_where_they_differ(before: object, after: object, shown: object) -> None:
    assert apart(before, after) == shown


def test_one_is_not_many() -> None:
    assert [counted(number, "result") for number in (0, 1, 2_000)] == [
        "0 results",
        "1 result",
        "2,000 results",
    ]
    assert counted(1, "document is", "documents are") == "1 document is"
    assert counted(2, "document is", "documents are") == "2 documents are"
