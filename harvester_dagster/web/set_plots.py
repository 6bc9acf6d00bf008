"""The plots of a set: what its harvests brought and took, beside what was usual when each came.

Belongs here: harvests as columns that `static/plots.js` draws. Does not belong here: what is usual
(`explain/night_report.py`), the table beside the plots, which says the same without a script.
"""

from collections.abc import Sequence
from typing import Any

from harvester_dagster.explain.night_report import Harvest, Usual

CHANGES = ("new", "changed", "deleted", "gone")
"""Of a tally: what a harvest would change of what is published."""


def columns(harvests: Sequence[Harvest], usually: Sequence[Usual | None], zone: str) -> dict[str, Any]:
    """The columns, oldest first, times in seconds since 1970; null where there is none. `zone`: for the axis."""
    rows = sorted(zip(harvests, usually, strict=False), key=lambda row: row[0].started_at)
    return {
        "zone": zone,
        "at": [harvest.started_at.timestamp() for harvest, _ in rows],
        "state": [harvest.state for harvest, _ in rows],
        "records": {
            "records": [harvest.records if harvest.tally else None for harvest, _ in rows],
            "usual": [usual.records if usual else None for _, usual in rows],
        },
        "changes": {name: [_count(harvest, name) for harvest, _ in rows] for name in CHANGES},
        "seconds": {
            "seconds": [round(harvest.seconds, 1) if harvest.ended_at else None for harvest, _ in rows],
            "usual": [round(usual.seconds, 1) if usual else None for _, usual in rows],
        },
    }


def _count(harvest: Harvest, name: str) -> int | None:
    return harvest.tally.get(name, 0) if harvest.tally else None
