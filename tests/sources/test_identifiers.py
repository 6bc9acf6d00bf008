"""Web addresses and DOIs in texts."""

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.sources.identifiers import addresses, doi


@pytest.mark.parametrize(
    ("written", "expected", "noted"),
    [
        ("http://a/b", ["http://a/b"], False),
        (" https://a/b?x=http://c/d#e ", ["https://a/b?x=http://c/d#e"], False),
        ("http://web.example.org/2010/http://a/b", ["http://web.example.org/2010/http://a/b"], False),
        ("http://a/wiki/Water_(stof)", ["http://a/wiki/Water_(stof)"], False),
        ("http://a/my file.pdf", ["http://a/my%20file.pdf"], False),
        ("ftp://a/b", ["ftp://a/b"], False),
        ("http://example.org/c.pdf (full text)", ["http://example.org/c.pdf"], True),
        ("URL: http://example.org/d.pdf", ["http://example.org/d.pdf"], True),
        ("URL:http://example.org/d.pdf", ["http://example.org/d.pdf"], True),
        ("http://example.org/d full text", ["http://example.org/d"], True),
        ("http://example.org/d.pdf see also the site", ["http://example.org/d.pdf"], True),
        ('<a href="http://a/b.pdf">pdf</a>', ["http://a/b.pdf"], True),
        ("<http://example.org/d>", ["http://example.org/d"], True),
        ("Available at http://example.org/d.", ["http://example.org/d"], True),
        ("http://a/1; http://a/2", ["http://a/1", "http://a/2"], True),
        ("http://a/1 http://a/2", ["http://a/1", "http://a/2"], True),
        ("pdf (http://a/1), page (http://a/2)", ["http://a/1", "http://a/2"], True),
        ("see the library", [], False),
        ("urn:isbn:90", [], False),
        ("http://", [], False),
        ("", [], False),
        (None, [], False),
    ],
)
def test_addresses(written: str | None, expected: list[str], noted: bool) -> None:
    notes: list[str] = []
    assert addresses(written, notes) == expected
    assert bool(notes) is noted


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("10.1234/a", "10.1234/a"),
        ("doi:10.1234/a", "10.1234/a"),
        ("DOI: 10.1234/A", "10.1234/A"),
        ("info:doi/10.1234/a", "10.1234/a"),
        ("https://doi.org/10.1234/a", "10.1234/a"),
        ("http://dx.doi.org/10.1234/a", "10.1234/a"),
        ("https://doi.org/10.1234/a (publisher version)", "10.1234/a"),
        ("10.1016/ j .rser", "10.1016/j.rser"),
        ("10.1016/s0(98)3", "10.1016/s0(98)3"),
        ("https://example.org/10.1234/a", None),
        ("10.1234", None),
        ("", None),
        (None, None),
    ],
)
def test_doi(written: str | None, expected: str | None) -> None:
    assert doi(written) == expected


PIECES = [
    "http://",
    "https://",
    "a",
    ".",
    "/",
    " ",
    "(",
    ")",
    "]",
    ";",
    ".pdf",
    "10.1234/",
    "full text",
    "\n",
    "ftp://",
    "é",
]


@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_text_gives_addresses_that_stay_what_they_are(written: str) -> None:
    addresses(written, [])
    for address in addresses(" ".join(written.split()), []):
        assert addresses(address, []) == [address]
    found = doi(written)
    assert found is None or doi(found) == found


@pytest.mark.parametrize("part", PIECES)
def test_no_text_takes_long(part: str) -> None:
    started = perf_counter()
    for written in (part * 200_000, "http://a/" + part * 200_000):
        addresses(written, [])
        doi(written)
    assert perf_counter() - started < 3
