"""Dates in the notations of catalogues and people."""

import re
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.sources import dates
from tests.sources.test_values import ANYTHING

PLAIN = {
    "2017": "2017-01-01",
    "2017-05": "2017-05-01",
    "2017-5-3": "2017-05-03",
    " 2017-12-11T12:52:09.123Z ": "2017-12-11",
    "2020-09-21T13:09:34.0Z": "2020-09-21",
    "2017-12-11 12:52": "2017-12-11",
}
OTHERWISE = {
    "19980312": "1998-03-12", "199803": "1998-03-01", "19980312T101112Z": "1998-03-12", "20121102101112": "2012-11-02",
    "[2004?]": "2004-01-01", "[2004]": "2004-01-01", "2004?": "2004-01-01", "2004~": "2004-01-01",
    "c2004": "2004-01-01", "©2004": "2004-01-01", "cop. 2004": "2004-01-01", "p2004": "2004-01-01",
    "(c) 2004": "2004-01-01", "ca. 1998": "1998-01-01", "c. 1998": "1998-01-01", "[ca. 1998]": "1998-01-01",
    "circa 1998": "1998-01-01", "omstreeks 1998": "1998-01-01", "±1998": "1998-01-01",
    "1998-2001": "1998-01-01", "1998/2001": "1998-01-01", "1998\u20132001": "1998-01-01", "1998-99": "1998-01-01",
    "1998/99": "1998-01-01", "1998-": "1998-01-01", "2001-02-03/2002-03-04": "2001-02-03", "1998 or 1999": "1998-01-01",
    "between 1998 and 2001": "1998-01-01", "1998 [i.e. 1999]": "1998-01-01", "1998, c1997": "1998-01-01",
    "2 november 2012": "2012-11-02", "2 nov. 2012": "2012-11-02", "Nov 2012": "2012-11-01",
    "1 maart 2020": "2020-03-01",
    "juli/augustus 1998": "1998-07-01", "12-15 maart 1998": "1998-03-12", "12 mrt - 3 april 1998": "1998-03-12",
    "November 2, 2012": "2012-11-02", "2nd of November 2012": "2012-11-02", "2012-Nov-02": "2012-11-02",
    "02-Nov-2012": "2012-11-02", "Fri, 02 Nov 2012 10:00:00 GMT": "2012-11-02", "maart 2020.": "2020-03-01",
    "Fri Nov 02 10:11:12 CET 2012": "2012-11-02", "vrijdag 2 november 2012": "2012-11-02",
    "02-11-2012": "2012-11-02", "2/11/2012": "2012-11-02", "2.11.2012": "2012-11-02", "11/22/2012": "2012-11-22",
    "11/2012": "2012-11-01", "2017/05/03": "2017-05-03",
    "2004-21": "2004-01-01", "2004-00-00": "2004-01-01", "2004-05-00": "2004-05-01", "2004-00": "2004-01-01",
}  # fmt: skip
NONE = [
    "2017-02-30", "0000-01-01", "0000", "9999-12-31", "17", "spring 2017", "in press", "", None, [], True, "201X",
    "20--", "[19--]", "199u", "199-", "s.a.", "z.j.", "n.d.", "19th century", "99/99/2012", "201803123", "-2004",
]  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), [*PLAIN.items(), (2017, "2017-01-01")])
def test_a_plain_date(written: Any, expected: str) -> None:
    notes: list[str] = []
    assert dates.day(written) == dates.first([None, written], "it", notes) == expected
    assert notes == []


@pytest.mark.parametrize(("written", "expected"), OTHERWISE.items())
def test_a_date_that_is_written_otherwise_keeps_its_text_in_a_note(written: str, expected: str) -> None:
    notes: list[str] = []
    assert dates.first([written], "the date", notes) == expected
    assert len(notes) == 1 and written in notes[0] and "the date" in notes[0]


@pytest.mark.parametrize("written", NONE)
def test_what_is_no_date(written: Any) -> None:
    notes: list[str] = []
    assert dates.first([written], "the date", notes) is None
    assert len(notes) == (isinstance(written, str) and bool(written))


SHAPES = ["19", "98", "2004", "-", "/", ".", " ", "[", "?", "ca.", "c", "nov", "maart", "T", "00", "th", ",", "of"]


@given(ANYTHING | st.lists(st.sampled_from(SHAPES)).map("".join))
def test_anything_gives_a_day_or_nothing_and_a_day_is_itself(value: Any) -> None:
    found = dates.read(value)
    if found:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.day)
        assert dates.read(found.day) == (found.day, True)


@given(st.dates(), st.sampled_from(["{0:%Y-%m-%d}", "{0:%Y%m%d}", "{0:%d-%m-%Y}", "{0:%d %B %Y}", "{0:%B %d, %Y}"]))
def test_every_day_is_read_in_the_common_notations(day: Any, notation: str) -> None:
    if 1000 <= day.year < 9999:
        assert dates.day(notation.format(day)) == day.isoformat()


@pytest.mark.parametrize("part", SHAPES)
def test_no_text_takes_long(part: str) -> None:
    started = perf_counter()
    dates.day("1998" + part * 200_000)
    dates.day(part * 200_000)
    assert perf_counter() - started < 2
