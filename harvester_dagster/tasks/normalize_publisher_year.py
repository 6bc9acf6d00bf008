"""The year of a product as consumers filter by it: a recent year itself, `older-than`, or null.

The rule is the vocabulary's (`vocabularies/publisher_year.py`). The answer is part of the fingerprint, so that a newly
counted year re-runs exactly the products whose answer moves; all answers are due on New Year's Day, when "recent" may.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from harvester_dagster.tasks.task import Context, Item, Outcome, OutcomeKind, Subject, Task
from harvester_dagster.vocabularies import publisher_year


def _this_year(context: Context) -> int:
    return context.now.astimezone(context.config.zone).year


def _answer(subject: Subject, context: Context) -> str | None:
    year = subject.properties.get("publisher_year")
    return publisher_year.root(context.vocabularies, year, _this_year(context), context.config.tasks.recent_years)


def _condition(subject: Subject, context: Context) -> str | None:
    year = subject.properties.get("publisher_year")
    if year is None:
        return "no publisher year"
    return None if publisher_year.is_known(context.vocabularies, year) else f"{year} is not in the vocabulary"


def _run(items: Sequence[Item], context: Context) -> Iterator[tuple[Item, Outcome]]:
    due_at = datetime(_this_year(context) + 1, 1, 1, tzinfo=context.config.zone).astimezone(UTC)
    for item in items:
        root = _answer(item.subject, context)
        data = {"publisher_year_normalized": root}
        kind: OutcomeKind = "success" if root else "empty"
        yield item, Outcome(kind, data, "" if root else "the year is still to come", due_at)


TASK = Task(
    name="normalize_publisher_year",
    entity="products",
    version=1,
    reads=("$.publisher_year",),
    condition=_condition,
    looks_up=_answer,
    run=_run,
    batch=5000,
    summary="The year of publication as one of the most recent years, or older-than.",
)
