"""How every set stands in what is published: fresh, on fallback, stale, missing, retired.

Belongs here: the words and the rule, for the release's check, `status` and alerts alike.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from psycopg import Connection

from harvester_dagster.installation import Installation
from harvester_dagster.releases import nights
from harvester_dagster.sets import attempts, sets

Standing = Literal["fresh", "on fallback", "stale", "missing", "retired"]
STALE_AFTER = timedelta(hours=36)


class SetStanding(NamedTuple):
    """How a set stands in what is published."""

    key: str
    standing: Standing
    generation: int
    reason: str


def standings(installation: Installation) -> list[SetStanding]:
    """Every set: fresh, on fallback, stale or missing."""
    with installation.pool.connection() as connection:
        return standings_beside(installation, connection, attempts.newest_harvests(connection))


def standings_beside(
    installation: Installation, connection: Connection[Any], newest: Mapping[int, attempts.Attempt]
) -> list[SetStanding]:
    """The same, by whoever has read the newest harvests."""
    found = []
    left_behind, now = nights.left_behind(connection), installation.clock().astimezone(installation.config.zone)
    for state in sets.all_sets(connection):
        standing, reason = _standing(state, newest.get(state.set_id), left_behind.get(state.key), now)
        if state.withdrawn_at is None:
            found.append(SetStanding(state.key, standing, state.accepted_gen, reason))
    return found


def _standing(
    state: sets.SetState, newest: attempts.Attempt | None, left_behind: str | None, now: datetime
) -> tuple[Standing, str]:
    """`now` in the zone in which people are told times."""
    if state.retired_at is not None:
        return "retired", "gone from the configuration; published until `harvester set withdraw`"
    kept: Standing = "on fallback" if state.accepted_gen else "missing"
    if newest and newest.state in ("rejected", "superseded", "failed"):  # what superseded it moved no watermark
        return kept, newest.reason
    if left_behind:
        return kept, left_behind
    if state.watermark is None:
        return "missing", "never harvested successfully"
    if now - state.watermark > STALE_AFTER:
        return "stale", f"last accepted harvest {state.watermark.astimezone(now.tzinfo):%Y-%m-%d %H:%M}"
    return "fresh", ""
