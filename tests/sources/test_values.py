"""The rules for values that hold for every source."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.sources.values import day, digest, licence, line, lines, text, unique, url, url_identity

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
    ("written", "expected"),
    [
        ("2017", "2017-01-01"),
        ("2017-05", "2017-05-01"),
        ("2017-5-3", "2017-05-03"),
        (" 2017-12-11T12:52:09.123Z ", "2017-12-11"),
        ("2020-09-21T13:09:34.0Z", "2020-09-21"),
        ("2017-12-11 12:52", "2017-12-11"),
        (2017, "2017-01-01"),
        ("2017-02-30", None),
        ("0000-01-01", None),
        ("2017/05/03", None),
        ("20170503", None),
        ("17", None),
        ("spring 2017", None),
        ("", None),
        (None, None),
        ([], None),
        (True, None),
    ],
)
def test_day(written: Any, expected: str | None) -> None:
    assert day(written) == expected


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


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("http://creativecommons.org/licenses/by/3.0", "cc-by-30"),
        ("See https://creativecommons.org/licenses/by-sa/2.5/nl/deed.en for details", "cc-by-sa-25"),
        ("https://creativecommons.org/licenses/by-nc", "cc-by-nc"),
        ("https://creativecommons.org/publicdomain/zero/1.0/legalcode", "cc0-10"),
        ("https://creativecommons.org/", None),
        ("public domain mark", "pdm-10"),
        ("Not in the public domain", None),
        ("CC0", "cc0"),
        ("CC BY-NC-ND 4.0", "cc-by-nc-nd-40"),
        ("cc_by_sa", "cc-by-sa"),
        ("byebye", None),
        ("accessible by all", None),
        ("", None),
        (None, None),
    ],
)
def test_licence(written: str | None, expected: str | None) -> None:
    assert licence(written) == expected


@given(ANYTHING)
def test_no_value_raises(value: Any) -> None:
    for found in (text(value), line(value), url(value)):
        assert found is None or (found and found == found.strip())
    assert all(lines(value))
    assert day(value) is None or len(day(value) or "") == 10
    licence(value if isinstance(value, str) else None)


@given(st.text())
def test_cleaning_twice_changes_nothing(written: str) -> None:
    for clean in (text, line, url):
        once = clean(written)
        assert clean(once) == once
    assert len(digest(written)) == 40
