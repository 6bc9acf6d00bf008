"""The consortium behind a product, with its names.

A consortium that the vocabulary does not know keeps null names: it may become known, which re-runs its products only.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from harvester_dagster.tasks.published import TERM_NAMES, Counted, PublishedField
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task

FIELD = "consortium"


def _consortium(subject: Subject) -> str | None:
    material: dict[str, Any] = subject.properties.get("learning_material") or {}
    return material.get("consortium") or None


def _condition(subject: Subject, _context: Context) -> str | None:
    return None if _consortium(subject) else "no consortium"


def _looks_up(subject: Subject, context: Context) -> str:
    return context.vocabularies.digest_of(FIELD, [_consortium(subject) or ""])


def _run(items: Sequence[Item], context: Context) -> Iterator[tuple[Item, Outcome]]:
    for item in items:
        keyword = _consortium(item.subject)
        term = context.vocabularies.get(FIELD, keyword) if keyword else None
        names = {"nl": term.nl, "en": term.en} if term else {"nl": None, "en": None}
        yield item, Outcome("success", {"consortium": {"keyword": keyword, **names}})


def _keyword(consortium: dict[str, Any]) -> Sequence[str]:
    keyword = consortium.get("keyword")
    return (keyword,) if keyword else ()


PUBLISHED = PublishedField(
    "consortium",
    {
        "description": "`{}` when there is none; names are null when unknown.",
        "type": "object",
        "properties": {
            "keyword": {"type": "string"},
            "nl": {"$ref": "#/$defs/text"},
            "en": {"$ref": "#/$defs/text"},
        },
        "additionalProperties": False,
        "dependentRequired": {"keyword": ["nl", "en"], "nl": ["keyword"], "en": ["keyword"]},
    },
    default={},
    mapping=TERM_NAMES,
)

TASK = Task(
    name="lookup_consortium_translations",
    entity="products",
    version=1,
    reads=("$.learning_material.consortium",),
    condition=_condition,
    looks_up=_looks_up,
    uses_vocabularies=True,
    quick=True,
    run=_run,
    batch=5000,
    platforms=("edusources",),
    summary="The names of the product's consortium in Dutch and English.",
    publishes=(PUBLISHED,),
    counts=(Counted(FIELD, "consortium", _keyword),),
)
