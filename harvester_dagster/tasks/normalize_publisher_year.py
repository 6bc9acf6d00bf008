"""The year of a product as consumers filter by it: a recent year itself, `older-than`, or null.

The rule is the vocabulary's (`vocabularies/publisher_year.py`). The answer is part of the fingerprint, so that a new
calendar year or a newly counted one re-runs exactly the products whose answer moves.
"""

from collections.abc import Iterator, Sequence

from harvester_dagster.tasks.published import KEYWORD, Counted, PublishedField
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task
from harvester_dagster.vocabularies import publisher_year


def _answer(subject: Subject, context: Context) -> str | None:
    this_year = context.now.astimezone(context.config.zone).year
    year = subject.properties.get("publisher_year")
    return publisher_year.root(context.vocabularies, year, this_year, context.config.tasks.recent_years)


def _condition(subject: Subject, context: Context) -> str | None:
    year = subject.properties.get("publisher_year")
    if year is None:
        return "no publisher year"
    return None if publisher_year.is_known(context.vocabularies, year) else f"{year} is not in the vocabulary"


def _run(items: Sequence[Item], context: Context) -> Iterator[tuple[Item, Outcome]]:
    for item in items:
        root = _answer(item.subject, context)
        data = {"publisher_year_normalized": root}
        yield item, Outcome("success", data) if root else Outcome("empty", data, "the year is still to come")


PUBLISHED = PublishedField(
    "publisher_year_normalized",
    {
        "description": "A recent year itself, or `older-than`; "
        "null when the year is not in the vocabulary or still to come.",
        "type": ["string", "null"],
        "pattern": "^([1-9][0-9]{0,3}|older-than)$",
    },
    mapping=KEYWORD,
)

TASK = Task(
    name="normalize_publisher_year",
    entity="products",
    version=1,
    reads=("$.publisher_year",),
    condition=_condition,
    looks_up=_answer,
    uses_vocabularies=True,
    quick=True,
    run=_run,
    batch=5000,
    summary="The year of publication as one of the most recent years, or older-than.",
    news="publication years became known: the release before counted them",
    publishes=(PUBLISHED,),
    counts=(
        Counted(publisher_year.FIELD, "publisher_year", lambda year: (str(year),)),
        Counted(publisher_year.FIELD, PUBLISHED.name, lambda root: (root,) if root == publisher_year.OLDER else ()),
    ),
)
