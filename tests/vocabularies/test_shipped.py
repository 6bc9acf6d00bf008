"""What ships: complete, sound, and the two origins of a term in their order of precedence."""

from harvester_dagster.vocabularies.shipped import technical_types, vocabularies

PUBLISHING = "http://purl.edustandaard.nl/concept/8f984395-e090-41be-96df-503f53ddaa09"
DATA_CLEANING = "http://purl.edustandaard.nl/concept/6c213a95-a56d-4173-8e29-bd785f77d61d"


def test_every_tree_and_scheme_is_there_and_sound() -> None:
    shipped = vocabularies()
    assert len(shipped.terms("disciplines")) == 411
    assert len(shipped.tree("disciplines")) == 11
    assert len(shipped.terms("disciplines_normalized")) == 11
    assert len(shipped.terms("publisher_year")) == 30
    assert len(shipped.terms("consortium")) == 3
    # 173 + 32 + 389 concepts of three schemes, and the 33 curated terms that cover the fourth one.
    assert len(shipped.terms("study_vocabulary")) == 173 + 32 + 389 + 33
    assert shipped.findings == ()


def test_a_curated_term_brings_its_english_name_and_its_root() -> None:
    lineage = list(vocabularies().lineage("study_vocabulary", PUBLISHING))
    assert [term.en for term in lineage] == [
        "Publishing (of finished product)",
        "Publishing and communication",
        "information literacy",
    ]


def test_a_scheme_without_english_names_shows_the_dutch_ones() -> None:
    term = vocabularies().get("study_vocabulary", DATA_CLEANING)
    assert term is not None
    assert (term.nl, term.en) == ("Data Cleaning with R", "Data Cleaning with R")


def test_roots_of_disciplines_are_the_normalised_ones() -> None:
    shipped = vocabularies()
    roots = {shipped.root("disciplines", value) for value in shipped.terms("disciplines")}
    assert {root.value for root in roots if root} == set(shipped.terms("disciplines_normalized"))


def test_technical_types_are_all_there() -> None:
    assert len(technical_types()) == 69
    assert technical_types()["application/x-activprimary3"] == "app"
