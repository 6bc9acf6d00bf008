"""What a candidate would change, in figures: what a person sees before it is accepted.

Belongs here: the figures, from what was counted. Does not belong here: counting (`differences.py`), remembering what
was shown (`looked_at.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

from psycopg import Connection

from harvester_dagster.sets.differences import DifferenceFigures, Kind


class Figures(NamedTuple):
    """Of a staged candidate. `proposed` and `accepted`: documents that consumers would see and do see, by entity;
    then how many of them differ. `digest`: over which, and what they say, so that as many others are not the same."""

    attempt_id: int
    proposed: Mapping[str, int]
    accepted: Mapping[str, int]
    added: int
    changed: int
    removed: int
    digest: str

    def __str__(self) -> str:
        counts = ", ".join(
            f"{n:,} {entity} after {self.accepted.get(entity, 0):,}"
            for entity, n in sorted(self.proposed.items(), reverse=True)
        )
        return f"{counts}; {self.added:,} added, {self.changed:,} changed, {self.removed:,} removed"


def of(
    attempt_id: int, proposed: Mapping[str, int], accepted: Mapping[str, int], differs: DifferenceFigures
) -> Figures:
    """Those of an attempt."""
    added, changed, removed = (
        sum(of_entity.get(kind, 0) for of_entity in differs.counts.values()) for kind in get_args(Kind)
    )
    return Figures(attempt_id, proposed, accepted, added, changed, removed, differs.digest)


def kept(connection: Connection[Any], attempt_ids: Sequence[int]) -> dict[int, Figures]:
    """Those that were counted when an attempt was rejected, or looked at since, by its number."""
    rows = connection.execute(
        "SELECT attempt_id, figures FROM attempt WHERE attempt_id = ANY (%s) AND figures IS NOT NULL",
        (list(attempt_ids),),
    )
    return {attempt_id: Figures(**figures) for attempt_id, figures in rows}
