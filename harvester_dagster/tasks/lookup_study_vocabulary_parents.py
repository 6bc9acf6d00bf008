"""The terms of study vocabularies with all their ancestors, so that a search for a broad term finds the narrow ones.

Terms that the vocabulary does not know are passed over; a product of which none is known has nothing to look up.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from harvester_dagster.tasks.published import Counted, keywords, terms
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task
from harvester_dagster.vocabularies.trees import columns

FIELD = "study_vocabulary"


def _terms(subject: Subject) -> Sequence[str]:
    material: dict[str, Any] = subject.properties.get("learning_material") or {}
    return material.get("study_vocabulary") or ()


def _condition(subject: Subject, context: Context) -> str | None:
    values = _terms(subject)
    if not values:
        return "no terms of a study vocabulary"
    terms = context.vocabularies.terms(FIELD)
    return None if any(value in terms for value in values) else "none of its terms is in the vocabulary"


def _looks_up(subject: Subject, context: Context) -> str:
    return context.vocabularies.digest_of(FIELD, _terms(subject))


def _run(items: Sequence[Item], context: Context) -> Iterator[tuple[Item, Outcome]]:
    for item in items:
        found = {term for value in _terms(item.subject) for term in context.vocabularies.lineage(FIELD, value)}
        yield item, Outcome("success", {"study_vocabulary": columns(sorted(found))})


TASK = Task(
    name="lookup_study_vocabulary_parents",
    entity="products",
    version=1,
    reads=("$.learning_material.study_vocabulary",),
    condition=_condition,
    looks_up=_looks_up,
    uses_vocabularies=True,
    quick=True,
    run=_run,
    batch=5000,
    platforms=("edusources",),
    summary="The terms of study vocabularies with all their ancestors and names.",
    publishes=(terms("study_vocabulary", "The terms with all their ancestors."),),
    counts=(Counted(FIELD, "study_vocabulary", keywords),),
)
