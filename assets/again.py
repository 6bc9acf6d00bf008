"""What the store cut is done again: the step in its run; where that cannot be, the run.

A killed backend of PostgreSQL, or a restarted one, may end any statement of a run. One of ours raises in its step,
which then asks for itself again. One of Dagster's own, an event that it stores, fails the step and asks nobody: then
the run says that it is to be run again although a step failed, which `dagster.yaml` else denies it. Either goes on
where the other one was, for every step may be repeated. Belongs here: asking. Does not belong here: what it looks like
that the store is away (`store/away.py`). Dagster's pages: https://docs.dagster.io/guides/build/ops/op-retries and
https://docs.dagster.io/deployment/execution/run-retries
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dagster as dg

from assets import names
from harvester_dagster.store.away import is_away

TIMES, SECONDS = 10, 5
"""A step waits for the store half a minute by itself each time."""


@contextmanager
def when_the_store_was_away(seconds: float = SECONDS) -> Iterator[None]:
    """Around what a step does: it is done again, so many seconds later, when the store was away meanwhile."""
    try:
        yield
    except Exception as error:
        if is_away(error):
            raise dg.RetryRequested(TIMES, seconds) from error
        raise


@dg.failure_hook(name=names.RUN_AGAIN)
def run_again(context: dg.HookContext) -> None:
    """A step failed: its run is run again when the store was away, and not when the step itself is to blame."""
    wanted = str(is_cut(context)).lower()
    for _ in range(TIMES):
        with suppress(Exception):  # the store, once more
            context.instance.add_run_tags(context.run_id, {names.RUN_AGAIN_TAG: wanted})
            return


def is_cut(context: dg.HookContext) -> bool:
    """Whether the store cut the step that failed."""
    error = context.op_exception
    return error is not None and is_away(error)
