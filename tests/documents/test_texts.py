"""Cutting and folding of texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.documents.texts import completions, shortened


def test_a_text_just_below_a_million_characters_is_kept() -> None:
    text = "a" * 999_999
    assert shortened(text) == text


def test_a_text_of_a_million_characters_is_cut_to_its_first_ten_thousand_words() -> None:
    cut = shortened("word\n" * 200_000)
    assert cut.split() == ["word"] * 10_000


def test_a_million_characters_without_a_space_do_not_come_back() -> None:
    assert len(shortened("a" * 3_000_000)) < 1_000_000


@pytest.mark.parametrize(
    ("word", "letters"),
    [("Één", "Een"), ("straße", "strasse"), ("Smørrebrød", "Smorrebrod"), ("Łódź", "Lodz"), ("d'accord,", "daccord")],
)
def test_completions_are_folded_to_ascii_letters(word: str, letters: str) -> None:
    assert completions(word, None) == [letters]


def test_what_has_no_letter_is_left_out_and_a_word_comes_once() -> None:
    assert completions("a 1 … b", "a b 2026 c") == ["a", "b", "c"]


def test_of_the_text_the_first_thousand_words_count() -> None:
    words = [f"{first}{second}{third}" for first in "abcdefghijk" for second in "abcdefghij" for third in "abcdefghij"]
    assert completions(None, " ".join(words)) == words[:1000]


@given(st.text(), st.text())
def test_completions_are_ascii_letters_whatever_comes(title: str, text: str) -> None:
    for word in completions(title, text):
        assert word.isascii()
        assert word.isalpha()
