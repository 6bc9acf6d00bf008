"""The disciplines of a product as the few roots that consumers filter by.

A discipline that the vocabulary does not know is passed over; a product of which none is known has nothing to
normalise. Roots come in the order of the disciplines, each once.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from harvester_dagster.tasks.published import Counted, keywords, terms
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task
from harvester_dagster.vocabularies.trees import columns

FIELD = "disciplines"


def _disciplines(subject: Subject) -> Sequence[str]:
    material: dict[str, Any] = subject.properties.get("learning_material") or {}
    return material.get("disciplines") or ()


def _condition(subject: Subject, context: Context) -> str | None:
    disciplines = _disciplines(subject)
    if not disciplines:
        return "no disciplines"
    terms = context.vocabularies.terms(FIELD)
    return None if any(value in terms for value in disciplines) else "none of its disciplines is in the vocabulary"


def _looks_up(subject: Subject, context: Context) -> str:
    return context.vocabularies.digest_of(FIELD, _disciplines(subject))


def _run(items: Sequence[Item], context: Context) -> Iterator[tuple[Item, Outcome]]:
    for item in items:
        roots = (context.vocabularies.root(FIELD, value) for value in _disciplines(item.subject))
        data = columns(dict.fromkeys(root for root in roots if root))
        yield item, Outcome("success", {"disciplines_normalized": data})


TASK = Task(
    name="normalize_disciplines",
    entity="products",
    version=1,
    reads=("$.learning_material.disciplines",),
    condition=_condition,
    looks_up=_looks_up,
    uses_vocabularies=True,
    quick=True,
    run=_run,
    batch=5000,
    summary="Each discipline's root, with its names.",
    publishes=(terms("disciplines_normalized", "The roots of the disciplines."),),
    counts=(Counted(FIELD, "disciplines", set), Counted("disciplines_normalized", "disciplines_normalized", keywords)),
)
