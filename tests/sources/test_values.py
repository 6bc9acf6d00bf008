"""The rules for values that hold for every source."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.sources.values import digest, line, lines, text, unique, url, url_identity

ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.none() | st.text() | st.integers(), max_size=4)
    | st.dictionaries(st.text(), st.text(), max_size=2)
)


@pytest.mark.parametrize(
    ("written", "requested", "identity"),
    [
        (" http://a/b ", "http://a/b", "http://a/b"),
        ("http://a/b c", "http://a/b%20c", "http://a/b+c"),
        ("http://a/b%20c", "http://a/b%20c", "http://a/b+c"),
        ("http://a/b+c", "http://a/b+c", "http://a/b+c"),
        ("http://a/b  c", "http://a/b%20%20c", "http://a/b++c"),
        ("http://a/\n  b", "http://a/%20%20b", "http://a/++b"),
        ("http://a/é#!x", "http://a/é#!x", "http://a/é#!x"),
    ],
)
def test_url(written: str, requested: str, identity: str) -> None:
    assert url(written) == requested
    assert url_identity(requested) == identity


@given(st.lists(st.sampled_from(["http://a/", " ", "%20", "+", "%2", "0", "é", "\n", "\t", "\u00a0"]) | st.text()))
def test_the_identity_that_files_have_their_ids_from_stays(parts: list[str]) -> None:
    written = "".join(parts)
    if requested := url(written):
        assert url_identity(requested) == requested.replace("%20", "+")
        assert url_identity(requested) == url_identity(re.sub(r"[\t\r\n]", "", written))


@pytest.mark.parametrize("nothing", [None, "", " \n", 5, [], {}])
def test_no_url(nothing: Any) -> None:
    assert url(nothing) is None


def test_texts_and_lines() -> None:
    assert text("  a\n b ") == "a\n b"
    assert line("  a\n\u00a0 b ") == "a b"
    scalars: list[Any] = [3, 2.5, True, None, "", " ", [], {}]
    assert [text(value) for value in scalars] == ["3", "2.5"] + [None] * 6
    assert lines("a  b") == ["a b"]
    assert lines(["a", None, "", " b\n", 3, []]) == ["a", "b", "3"]
    nothing: list[Any] = [None, [], {}, "", False]
    assert [lines(value) for value in nothing] == [[]] * 5
    assert unique(["b", "a", "b"]) == ["b", "a"]


@given(ANYTHING)
def test_no_value_raises(value: Any) -> None:
    for found in (text(value), line(value), url(value)):
        assert found is None or (found and found == found.strip())
    assert all(lines(value))


@given(st.text())
def test_cleaning_twice_changes_nothing(written: str) -> None:
    for clean in (text, line, url):
        once = clean(written)
        assert clean(once) == once
    assert len(digest(written)) == 40
