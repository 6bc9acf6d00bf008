"""The plots of a set: what its harvests brought and took, beside what was usual when each came.

Belongs here: harvests as columns that `static/plots.js` draws. Does not belong here: what is usual
(`explain/night_report.py`), the table beside the plots, which says the same without a script.
"""

from collections.abc import Callable, Sequence
from typing import Any

from harvester_dagster.explain.night_report import CHANGES, Harvest, Usual


def columns(harvests: Sequence[Harvest], usually: Sequence[Usual | None], zone: str) -> dict[str, Any]:
    """The columns, oldest first, times in seconds since 1970; null where there is none. `zone`: for the axis. What
    differs by mode is a line for each, beside what was usual in it: a delta among full harvests is no dip."""
    rows = sorted(zip(harvests, usually, strict=False), key=lambda row: row[0].started_at)
    modes = sorted({harvest.mode for harvest, _ in rows})
    return {
        "zone": zone,
        "at": [harvest.started_at.timestamp() for harvest, _ in rows],
        "state": [harvest.state for harvest, _ in rows],
        "modes": modes,
        "records": _by_mode(
            rows, modes, lambda one: one.records if one.tally else None, lambda usual: round(usual.records, 1)
        ),
        "changes": _by_mode(
            rows, modes, lambda one: one.changes if one.tally else None, lambda usual: round(usual.changes, 1)
        ),
        "kinds": {name: [_count(harvest, name) for harvest, _ in rows] for name in CHANGES},
        "seconds": _by_mode(
            rows,
            modes,
            lambda one: round(one.seconds, 1) if one.ended_at else None,
            lambda usual: round(usual.seconds, 1),
        ),
    }


def _by_mode(
    rows: Sequence[tuple[Harvest, Usual | None]],
    modes: Sequence[str],
    number: Callable[[Harvest], float | None],
    usually: Callable[[Usual], float],
) -> dict[str, dict[str, list[float | None]]]:
    return {
        mode: {
            "number": [number(harvest) if harvest.mode == mode else None for harvest, _ in rows],
            "usual": [usually(usual) if usual and harvest.mode == mode else None for harvest, usual in rows],
        }
        for mode in modes
    }


def _count(harvest: Harvest, name: str) -> int | None:
    return harvest.tally.get(name, 0) if harvest.tally else None
