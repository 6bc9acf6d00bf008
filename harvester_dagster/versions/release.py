"""The release: day work made into outputs, a version prepared, promoted, and what is left over cleaned up.

Belongs here: the order of these steps and what a person should know afterwards. The index is brought up between
preparing and promoting (`search/`), by an asset of its own.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from psycopg import Connection

from harvester_dagster import nights
from harvester_dagster.harvesting import attempts, production, sets, steps
from harvester_dagster.installation import Installation
from harvester_dagster.search import swap
from harvester_dagster.store.database import Busy
from harvester_dagster.versions import retention, versions
from harvester_dagster.versions.versions import Version
from harvester_dagster.vocabularies import counting

Standing = Literal["fresh", "on fallback", "stale", "missing", "retired"]
STALE_AFTER = timedelta(hours=36)


class Released(NamedTuple):
    """What a release came to; `said` in a sentence. `version` is the current one, promoted by it or not."""

    said: str
    version: Version | None
    generations: list[tuple[str, int]]
    cleaned: retention.Cleaned


class SetStanding(NamedTuple):
    """How a set stands in what is published."""

    key: str
    standing: Standing
    generation: int
    harvested_at: datetime | None
    reason: str


def finish_day_work(installation: Installation, progress: Callable[[str], None] = lambda _: None) -> list[str]:
    """Make dirty documents into outputs, in every set that has any and that nobody harvests; the keys."""
    with installation.pool.connection() as connection:
        waiting = [
            state.key
            for state in sets.all_sets(connection)
            if state.retired_at is None
            and state.accepted_gen
            and (production.stale(connection, installation.config, state) or _was_cut(connection, state))
        ]
    done = []
    for key in waiting:
        try:
            if steps.finish_day_work(installation, key, progress):
                done.append(key)
        except Busy as error:
            progress(str(error))
    return done


def _was_cut(connection: Connection[Any], state: sets.SetState) -> bool:
    """Whether day work of the set was begun and not brought to its end."""
    begun = attempts.last(connection, state.set_id, states=attempts.OPEN)
    return begun is not None and begun.mode == "derive"


def prepare(
    installation: Installation,
    *,
    run_id: str | None = None,
    night_id: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Version | None:
    """Finish day work, then prepare a version; None: nothing has moved since the current one."""
    finish_day_work(installation, progress)
    return versions.prepare(installation, run_id=run_id, night_id=night_id)


def release(
    installation: Installation,
    *,
    by_hand: bool,
    run_id: str | None = None,
    night_id: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Released:
    """Promote what the sets have accepted, count its values, clean up. By hand it ends the hold of a rollback.

    Raises NotPromotable when its index is wanted and not there.
    """
    with installation.pool.connection() as connection:
        held = versions.hold(connection)
        if held and by_hand:
            versions.end_hold(connection)
            held = None
    said = f"held: {held}; `harvester release` goes on" if held else "no set has moved: the current version stays"
    version = None if held else prepare(installation, run_id=run_id, night_id=night_id, progress=progress)
    if version:
        published = swap.publish(installation, version)
        said = f"version {version.version_id} is current"
        said += f"; the index is behind: {published.behind}" if published.behind else ""
    counting.count(installation)
    cleaned = retention.clean_up(installation)
    with installation.pool.connection() as connection:
        current = versions.current(connection)
        names = {state.set_id: state.key for state in sets.all_sets(connection)}
    generations = [(names[set_id], gen) for set_id, gen in (current.generations if current else {}).items()]
    return Released(said, current, generations, cleaned)


def standings(installation: Installation) -> list[SetStanding]:
    """Every set: fresh, on fallback, stale or missing."""
    now = installation.clock()
    found = []
    with installation.pool.connection() as connection:
        left_behind = nights.left_behind(connection)
        for state in sets.all_sets(connection):
            newest = attempts.last(connection, state.set_id, harvests_only=True)
            standing, reason = _standing(state, newest, left_behind.get(state.key), now)
            if state.withdrawn_at is None:
                found.append(SetStanding(state.key, standing, state.accepted_gen, state.watermark, reason))
    return found


def _standing(
    state: sets.SetState, newest: attempts.Attempt | None, left_behind: str | None, now: datetime
) -> tuple[Standing, str]:
    if state.retired_at is not None:
        return "retired", "gone from the configuration; published until `harvester set withdraw`"
    kept: Standing = "on fallback" if state.accepted_gen else "missing"
    if newest and newest.state in ("rejected", "failed"):
        return kept, newest.reason
    if left_behind:
        return kept, left_behind
    if state.watermark is None:
        return "missing", "never harvested successfully"
    if now - state.watermark > STALE_AFTER:
        return "stale", f"last accepted harvest {state.watermark:%Y-%m-%d %H:%M}"
    return "fresh", ""
