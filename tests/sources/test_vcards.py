"""Names on vCards: as a library reads them, and the forms in which they arrive inside XML, which none reads."""

from pathlib import Path
from time import perf_counter

import pytest
import vobject
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from harvester_dagster.sources.vcards import names

WRITTEN = st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" ;,\\:.")).map(
    lambda text: " ".join(text.split())
)


def card(*properties: str, newline: str = "\n") -> str:
    return newline.join(("BEGIN:VCARD", "VERSION:3.0", *properties, "END:VCARD"))


def recorded(recordings: Path) -> list[str]:
    return [
        element.text or ""
        for page in sorted((recordings / "edurep").iterdir())
        for element in etree.parse(page).iter("{http://www.imsglobal.org/xsd/imsmd_v1p2}vcard")
    ]


def by_library(text: str) -> str | None:
    try:
        return str(vobject.readOne(text).fn.value)
    except (vobject.base.ParseError, AttributeError, StopIteration):
        return None


def test_twenty_of_26_recorded_cards_need_trimming_and_all_are_read(recordings: Path) -> None:
    cards = recorded(recordings)
    assert len(cards) == 26
    assert sum(by_library(text) is None for text in cards) == 20
    trimmed = ["\n".join(line.strip() for line in text.strip().splitlines()) for text in cards]
    assert [names(text) for text in cards] == [(by_library(text),) for text in trimmed]
    assert (None,) not in [names(text) for text in cards]


@given(WRITTEN.filter(bool), st.integers(20, 90), st.sampled_from(["\n", "\r\n"]))
def test_a_name_is_what_a_library_wrote_and_reads_however_it_folds(name: str, width: int, newline: str) -> None:
    written = vobject.vCard()
    written.add("n")
    written.add("fn").value = name
    text = written.serialize(lineLength=width).replace("\r\n", newline)
    expected = by_library(text)
    assert names(text) == (" ".join(expected.split()) or None if expected else None,)


@given(WRITTEN, WRITTEN, WRITTEN)
def test_the_parts_of_a_name_where_there_is_none_in_full(family: str, given_name: str, more: str) -> None:
    written = vobject.vCard()
    written.add("fn").value = ""
    written.add("n").value = vobject.vcard.Name(family=family, given=given_name, additional=more, prefix="dr.")
    assert names(written.serialize()) == (" ".join(f"{given_name} {more} {family}".split()) or None,)


@given(st.lists(WRITTEN, max_size=3))
def test_any_number_of_cards_in_one_text(given_names: list[str]) -> None:
    cards = []
    for name in given_names:
        one = vobject.vCard()
        one.add("n")
        one.add("fn").value = name
        cards.append(one.serialize())
    assert names("\n".join(cards)) == tuple(name or None for name in given_names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (card("FN:shap\n ing", "N:x"), "shaping"),
        (card("FN:shap\n\ting", "N:x"), "shaping"),
        (card("FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Zo=C3=AB V=C3=A9rdier"), "Zoë Vérdier"),
        (card("FN;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:Zo=C3=AB V=\n=C3=A9rdier"), "Zoë Vérdier"),
        (card("FN;QUOTED-PRINTABLE:Zo=EB"), "Zoë"),
        (card("FN;ENCODING=b:Wm/Dqw=="), "Zoë"),
        ("BEGIN:VCARD\nVERSION:2.1\nFN:Ann\n  Bo\nEND:VCARD", "Ann Bo"),
        ("begin:vcard\nitem1.fn;CHARSET=UTF-8:Ann\\, Bo\nend:vcard", "Ann, Bo"),
        (card('FN;LABEL="a:b;c":Ann'), "Ann"),
        (card("FN:", "N:Bo;Ann;van;dr.;MSc"), "Ann van Bo"),
        (card("N:;;;;", "ORG:Press\\; Books;A department"), "Press; Books"),
        (card("FN: ", "FN:Ann"), "Ann"),
        (card("  FN:Ann", "  N:Ann;;;;"), "Ann"),
        ("  BEGIN:VCARD\n    VERSION:3.0\n    FN:shap\n     ing\n    N:x\n  END:VCARD", "shaping"),
        ("BEGIN:VCARD - VERSION:3.0 -\n  FN: Ann Bo, MSc\n  END:VCARD", "Ann Bo, MSc"),
        ("BEGIN:VCARD VERSION:3.0 FN:Ann Bo N:Bo;Ann EMAIL;TYPE=x:a@b END:VCARD", "Ann Bo"),
        ("BEGIN:VCARD\\nVERSION:3.0\\nFN:Ann Bo\\nEND:VCARD", "Ann Bo"),
        ("BEGIN:VCARD\nFN:cut off", "cut off"),
        ("BEGIN:VCARD\nEND:VCARD", None),
        ("BEGIN:VCARD\nFN:\nEND:VCARD", None),
    ],
)
def test_forms_in_which_cards_arrive(text: str, expected: str | None) -> None:
    assert names(text) == (expected,)


@pytest.mark.parametrize("text", ["", "FN:A", "Ann Bo", "END:VCARD"])
def test_what_is_no_card_has_no_name(text: str) -> None:
    assert names(text) == ()


PIECES = ["BEGIN:VCARD", "END:VCARD", "FN", ":", ";", "=", "\n", " ", '"', "\\", "N:"]


@given(st.lists(st.sampled_from(PIECES) | st.text()))
def test_any_text_gives_names_or_nothing(parts: list[str]) -> None:
    assert all(name is None or name == " ".join(name.split()) for name in names("".join(parts)))


@pytest.mark.parametrize("part", [*PIECES, "FN;", ' "', "\\;", "\n ", " - ", ";=", 'FN;"', "=\n", "X-a."])
def test_no_text_takes_long(part: str) -> None:
    started = perf_counter()
    names("BEGIN:VCARD" + part * 200_000)
    names("BEGIN:VCARD\nFN;ENCODING=QUOTED-PRINTABLE:" + part * 200_000)
    assert perf_counter() - started < 5
