"""Recent years, older ones, and those that are neither."""

from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.vocabularies import publisher_year
from harvester_dagster.vocabularies.publisher_year import OLDER, root, terms
from harvester_dagster.vocabularies.shipped import vocabularies
from harvester_dagster.vocabularies.trees import Vocabularies


def _counted(*years: int) -> Vocabularies:
    return vocabularies().with_counts({"publisher_year": {str(year): 1 for year in years}})


def test_the_four_latest_known_years_are_recent_and_those_before_are_older() -> None:
    roots = {year: root(vocabularies(), year, 2026, 4) for year in (2024, 2021, 2020, 1713)}
    assert roots == {2024: "2024", 2021: "2021", 2020: OLDER, 1713: OLDER}


def test_a_year_that_is_not_known_has_no_root() -> None:
    assert root(vocabularies(), 2025, 2026, 4) is None
    assert root(vocabularies(), 1714, 2026, 4) is None
    assert root(vocabularies(), None, 2026, 4) is None
    assert not publisher_year.is_known(vocabularies(), 2025)


def test_a_year_that_was_counted_is_known_and_pushes_the_recent_ones_on() -> None:
    assert root(_counted(2025), 2025, 2026, 4) == "2025"
    assert root(_counted(2025), 2021, 2026, 4) == OLDER
    assert root(_counted(1714), 1714, 2026, 4) == OLDER


def test_a_year_after_the_current_one_is_neither_recent_nor_older() -> None:
    assert root(_counted(2027), 2027, 2026, 4) is None
    assert root(_counted(2027), 2021, 2026, 4) == "2021"
    assert root(_counted(2027), 2027, 2027, 4) == "2027"


def test_the_number_of_recent_years_is_a_setting() -> None:
    assert root(vocabularies(), 2023, 2026, 1) == OLDER
    assert root(vocabularies(), 2020, 2026, 5) == "2020"


def test_the_tree_names_the_older_ones_after_the_last_recent_year() -> None:
    tree = terms(_counted(2025, 2027), 2026, 4)
    assert [term.value for term in tree[:5]] == ["2025", "2024", "2023", "2022", OLDER]
    assert (tree[4].nl, tree[4].en) == ("Ouder dan 2022", "Older than 2022")
    assert tree[5].parent == OLDER
    assert "2027" not in {term.value for term in tree}


def test_what_no_year_can_be_is_never_known() -> None:
    odd = vocabularies().with_counts({"publisher_year": {"older-than": 3, "20201": 1, "": 1, "0": 1, "x" * 10_000: 1}})
    assert root(odd, 20201, 2026, 4) is None
    assert root(odd, "older-than", 2026, 4) is None


@given(st.sets(st.integers(1, 2040)), st.integers(1990, 2040), st.integers(1, 8))
def test_recent_years_are_the_latest_known_up_to_now(years: set[int], this_year: int, recent: int) -> None:
    counted = _counted(*years)
    known = years | {int(value) for value in vocabularies().terms("publisher_year") if value.isdigit()}
    latest = sorted((year for year in known if year <= this_year), reverse=True)[:recent]
    for year in range(1700, 2041):
        expected = None if year not in known or year > this_year else str(year) if year in latest else OLDER
        assert root(counted, year, this_year, recent) == expected
