"""In whose name a run does what somebody has asked for, and that the audit tells where it came to nothing.

Belongs here: the one frame of such ops. Who asked is in the row that whoever launched the run has written; it names the
run. Does not belong here: what is done.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.publication.audit import Doer
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
