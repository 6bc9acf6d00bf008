"""In whose name a run does what somebody has asked for, and that the audit tells how it ended.

Belongs here: the one frame of such ops. Who asked is in the row that whoever launched the run has written; it names the
run. Does not belong here: what is done.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.publication.audit import Doer
from harvester_dagster.sets.steps import SetOutcome
from harvester_dagster.store.away import is_away


@contextmanager
def by_run(
    harvester: Installation, run_id: str, act: str, subject: str, *, is_repeated: bool = False
) -> Iterator[None]:
    """What is done in the block, the run does; what fails in it leaves a row that says so. `is_repeated`: but not that
    the store was away, after which its step is done again (`again.py`)."""
    with (
        audit.acting(Doer("dagster", f"run {run_id}")),
        audit.trying(harvester.pool, act, subject, harvester.clock, lambda error: is_repeated and is_away(error)),
    ):
        yield


def harvest_ended(harvester: Installation, run_id: str, key: str, outcome: SetOutcome) -> None:
    """That the harvest of a set has ended which somebody has asked for on a page, and what came of it."""
    state = outcome.attempt.state if outcome.attempt else ""
    _tell_of_harvest(
        harvester,
        run_id,
        key,
        "failed" if state == "failed" else "done",
        {"generation": outcome.generation, "state": state, "reason": outcome.reason},
    )


def harvest_failed(harvester: Installation, run_id: str, key: str, why: str) -> None:
    """That the run of such a harvest came to nothing."""
    _tell_of_harvest(harvester, run_id, key, "failed", {"reason": why})


def _tell_of_harvest(
    harvester: Installation, run_id: str, key: str, outcome: audit.Outcome, came: Mapping[str, Any]
) -> None:
    with harvester.pool.connection() as connection:
        if not audit.was_asked_for(connection, "harvest", key, run_id):
            return
    told = {name: value for name, value in came.items() if value}
    with audit.acting(Doer("dagster", f"run {run_id}")):
        audit.told_of_run(harvester.pool, "harvest", key, harvester.clock(), run_id, outcome, **told)
