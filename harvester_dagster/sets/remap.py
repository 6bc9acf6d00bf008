"""`harvester set remap`: a set extracted anew from its stored pages, with the present mapping, its source not asked.

An attempt of mode `remap` that goes through the same steps as a harvest and is judged like one: a rejected one waits
for `harvester accept`. It moves no watermark, so that the next harvest asks for what it would have asked for.
Belongs here: when that can be done, and the order of the steps.
"""

import shlex
import uuid
from collections.abc import Callable

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.sets import attempts, fetch, replay, steps
from harvester_dagster.sets.attempts import Window
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.sets.replay import Coverage
from harvester_dagster.sets.sets import SetState, find
from harvester_dagster.sets.steps import SetOutcome


class NothingToRemap(HarvesterError):
    """A set cannot be extracted from its stored pages; the message says why, and what to do."""


def plan(installation: Installation, key: str) -> Coverage:
    """What would be read anew. Raises NothingToRemap, UnknownSet."""
    with installation.pool.connection() as connection:
        state = find(connection, key)
        if key not in installation.config.sets:
            raise NothingToRemap(f"{key} is retired", "it stays published as it is")
        if attempts.waiting(connection, state.set_id):
            raise NothingToRemap(
                f"{key}: a rejected candidate waits",
                f"see `harvester accept {shlex.quote(key)} --dry-run`, then accept or dismiss it",
            )
    found = replay.coverage(installation, state)
    if found.missing:
        raise _uncovered(state, fetch.mapping_version(installation, key), found)
    return found


def remap(installation: Installation, key: str, progress: Callable[[str], None] = lambda _: None) -> SetOutcome:
    """Extract a set from its stored pages, run its tasks, judge what comes of it. Raises NothingToRemap, UnknownSet;
    NotOpen when another run of the set took its place meanwhile."""
    run_id = f"remap {uuid.uuid4()}"
    _begin(installation, key, run_id, progress)
    steps.documents(installation, key, run_id=run_id, progress=progress)
    for rows in installation.catalog.passes:
        steps.tasks(installation, key, rows, run_id=run_id, progress=progress)
    steps.outputs(installation, key, run_id=run_id, progress=progress)
    return steps.conclude(installation, key, run_id=run_id, progress=progress)


def _begin(installation: Installation, key: str, run_id: str, progress: Callable[[str], None]) -> None:
    with lock_set(installation, key) as locked:
        found = plan(installation, key)
        with locked.connection() as connection:
            attempt = attempts.open_attempt(
                connection,
                locked,
                Window("remap", None, "asked for: stored pages are read anew", replays=True),
                mapping_version=fetch.mapping_version(installation, key),
                run_id=run_id,
            )
            connection.execute(
                "UPDATE attempt SET state = 'fetched', pages = %s, fetched_at = %s WHERE attempt_id = %s",
                (found.pages, installation.clock(), attempt.attempt_id),
            )
    progress(f"{key}: {found.pages:,} stored pages of {len(found.attempts)} harvests are read anew")


def _uncovered(state: SetState, mapping_version: str, found: Coverage) -> NothingToRemap:
    is_full = state.watermark is None or state.mapping_version != mapping_version
    then = (
        "its next harvest is full"
        if is_full
        else f"`harvester harvest {shlex.quote(state.key)} --full` asks its source for all"
    )
    return NothingToRemap(
        f"{state.key}: the stored pages do not cover the set ({found.missing}), so nothing was read anew", then
    )
