"""The four tasks that normalise products against vocabularies."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from harvester_dagster.config import Config, SetSettings, Tasks
from harvester_dagster.tasks import (
    lookup_consortium_translations,
    lookup_study_vocabulary_parents,
    normalize_disciplines,
    normalize_publisher_year,
)
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task
from harvester_dagster.vocabularies.shipped import vocabularies
from harvester_dagster.vocabularies.trees import Part, Term, Vocabularies

CONSORTIUM = lookup_consortium_translations.TASK
DISCIPLINES = normalize_disciplines.TASK
STUDY = lookup_study_vocabulary_parents.TASK
YEAR = normalize_publisher_year.TASK

PUBLISHING = "http://purl.edustandaard.nl/concept/8f984395-e090-41be-96df-503f53ddaa09"
PARENT_OF_PUBLISHING = "http://purl.edustandaard.nl/concept/6b823085-5534-4d04-a147-6d85b0a1c4ea"
EARTH_SCIENCES = "2adcec22-095d-4937-aed7-48788080460b"
NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


def _context(known: Vocabularies | None = None, now: datetime = NOW, recent_years: int = 4) -> Context:
    """These tasks look at the vocabularies, the settings and the clock; the way out is not theirs."""
    return Context(
        key="edurep:a",
        config=Config(tasks=Tasks(recent_years=recent_years)),
        settings=SetSettings(kind="oai-pmh", url="https://example.org/oai"),
        now=now,
        outside=cast(Any, None),
        objects=cast(Any, None),
        bodies=cast(Any, None),
        vocabularies=known or vocabularies(),
    )


def _material(**values: Any) -> Subject:
    return Subject({"learning_material": values}, {})


def _year(year: object) -> Subject:
    return Subject({"publisher_year": year}, {})


def _run(task: Task, subject: Subject, context: Context | None = None) -> Outcome:
    context = context or _context()
    assert task.condition(subject, context) is None
    ((_, outcome),) = task.run([Item(b"", subject, None, "edurep:a:1")], context)
    return outcome


def _data(task: Task, subject: Subject, context: Context | None = None) -> Mapping[str, Any]:
    outcome = _run(task, subject, context)
    assert outcome.kind == "success"
    assert outcome.data is not None
    return outcome.data


def _renamed(part: str, value: str) -> Vocabularies:
    """What ships, with one term of one part named anew."""
    old = vocabularies().parts[part]
    terms = tuple(term._replace(nl="Anders") if term.value == value else term for term in old.terms)
    return vocabularies().with_parts([old._replace(terms=terms)])


def test_study_terms_come_with_all_their_ancestors_sorted_and_in_two_languages() -> None:
    data = _data(STUDY, _material(study_vocabulary=[PUBLISHING]))
    assert data == {
        "study_vocabulary": {
            "keyword": [PARENT_OF_PUBLISHING, PUBLISHING, "informatievaardigheid"],
            "nl": ["Publiceren en communiceren", "Publiceren (van eindproduct)", "informatievaardigheid"],
            "en": ["Publishing and communication", "Publishing (of finished product)", "information literacy"],
        }
    }


def test_ancestors_that_terms_share_come_once_and_unknown_terms_not_at_all() -> None:
    together = _data(STUDY, _material(study_vocabulary=[PARENT_OF_PUBLISHING, PUBLISHING, "urn:unknown"]))
    assert together == _data(STUDY, _material(study_vocabulary=[PUBLISHING]))


def test_each_discipline_gives_its_root_once_in_their_order() -> None:
    data = _data(DISCIPLINES, _material(disciplines=["kunst_cultuur", EARTH_SCIENCES, "aarde_milieu", "unknown"]))
    assert data == {
        "disciplines_normalized": {
            "keyword": ["kunst_cultuur", "aarde_milieu"],
            "nl": ["Kunst en Cultuur", "Aarde en Milieu"],
            "en": ["Art and Culture", "Earth and environment"],
        }
    }


@pytest.mark.parametrize(
    ("year", "normalized"), [(2024, "2024"), (2021, "2021"), (2020, "older-than"), (1713, "older-than")]
)
def test_a_year_is_itself_or_older(year: int, normalized: str) -> None:
    assert _data(YEAR, _year(year)) == {"publisher_year_normalized": normalized}


def test_a_year_still_to_come_has_no_normalised_one() -> None:
    outcome = _run(YEAR, _year(2027), _context(vocabularies().with_counts({"publisher_year": {"2027": 1}})))
    assert (outcome.kind, outcome.data) == ("empty", {"publisher_year_normalized": None})


def test_the_current_year_is_that_of_the_installations_time_zone() -> None:
    known = vocabularies().with_counts({"publisher_year": {"2027": 1}})
    before, after = (datetime(2026, 12, 31, hour, 30, tzinfo=UTC) for hour in (22, 23))
    assert _run(YEAR, _year(2027), _context(known, before)).data == {"publisher_year_normalized": None}
    assert _run(YEAR, _year(2027), _context(known, after)).data == {"publisher_year_normalized": "2027"}


def test_the_number_of_recent_years_is_a_setting() -> None:
    assert _data(YEAR, _year(2022), _context(recent_years=2)) == {"publisher_year_normalized": "older-than"}


def test_a_known_consortium_has_its_names_and_an_unknown_one_null() -> None:
    assert _data(CONSORTIUM, _material(consortium="Domain Applied Science")) == {
        "consortium": {
            "keyword": "Domain Applied Science",
            "nl": "Domein Applied Science",
            "en": "Applied Science domain",
        }
    }
    assert _data(CONSORTIUM, _material(consortium="New")) == {"consortium": {"keyword": "New", "nl": None, "en": None}}


@pytest.mark.parametrize(
    ("task", "subject", "reason"),
    [
        (STUDY, _material(study_vocabulary=[]), "no terms of a study vocabulary"),
        (STUDY, _material(study_vocabulary=["urn:unknown"]), "none of its terms is in the vocabulary"),
        (STUDY, Subject({}, {}), "no terms of a study vocabulary"),
        (DISCIPLINES, _material(disciplines=None), "no disciplines"),
        (DISCIPLINES, _material(disciplines=["x"]), "none of its disciplines is in the vocabulary"),
        (YEAR, _year(None), "no publisher year"),
        (YEAR, _year(2025), "2025 is not in the vocabulary"),
        (CONSORTIUM, _material(consortium=None), "no consortium"),
        (CONSORTIUM, Subject({"learning_material": None}, {}), "no consortium"),
    ],
)
def test_what_does_not_apply_says_why(task: Task, subject: Subject, reason: str) -> None:
    assert task.condition(subject, _context()) == reason


def test_lookups_for_one_platform_name_it() -> None:
    assert STUDY.platforms == CONSORTIUM.platforms == ("edusources",)
    assert DISCIPLINES.platforms == YEAR.platforms == ()


def _looked_up_anew(task: Task, subjects: Sequence[Subject], changed: Vocabularies) -> list[int]:
    assert task.looks_up is not None
    before, after = _context(), _context(changed)
    return [
        place
        for place, subject in enumerate(subjects)
        if task.looks_up(subject, before) != task.looks_up(subject, after)
    ]


def test_when_a_term_changes_exactly_the_products_that_use_it_are_normalised_again() -> None:
    subjects = [_material(study_vocabulary=terms) for terms in ([PUBLISHING], [PARENT_OF_PUBLISHING], ["urn:a"], [])]
    assert _looked_up_anew(STUDY, subjects, _renamed("information-literacy.csv", PUBLISHING)) == [0]
    assert _looked_up_anew(STUDY, subjects, _renamed("information-literacy.csv", PARENT_OF_PUBLISHING)) == [0, 1]
    new = Part("new", "study_vocabulary", (Term("urn:a", None, "A", "A"),))
    assert _looked_up_anew(STUDY, subjects, vocabularies().with_parts([new])) == [2]

    subjects = [_material(disciplines=values) for values in ([EARTH_SCIENCES], ["aarde_milieu"], ["techniek"])]
    assert _looked_up_anew(DISCIPLINES, subjects, _renamed("disciplines.csv", EARTH_SCIENCES)) == [0]
    assert _looked_up_anew(DISCIPLINES, subjects, _renamed("disciplines.csv", "aarde_milieu")) == [0, 1]

    subjects = [_material(consortium=name) for name in ("HBO Verpleegkunde", "New")]
    assert _looked_up_anew(CONSORTIUM, subjects, _renamed("consortium.csv", "HBO Verpleegkunde")) == [0]


def test_a_newly_counted_year_moves_exactly_the_year_that_it_pushes_out() -> None:
    subjects = [_year(year) for year in (2024, 2022, 2021, 2020, None)]
    changed = vocabularies().with_counts({"publisher_year": {"2025": 7, "2024": 9}})
    assert _looked_up_anew(YEAR, subjects, changed) == [2]


def test_the_recorded_products_disciplines_and_terms_are_known() -> None:
    """As Sharekit's recorded answers have them (docs/sources.md names the fields)."""
    for theme in ("kunst_cultuur", "aarde_milieu", "exact_informatica"):
        assert _data(DISCIPLINES, _material(disciplines=[theme]))["disciplines_normalized"]["keyword"] == [theme]
    assert _data(STUDY, _material(study_vocabulary=[PUBLISHING]))
    assert _data(CONSORTIUM, _material(consortium="Domain Applied Science"))["consortium"]["nl"]
