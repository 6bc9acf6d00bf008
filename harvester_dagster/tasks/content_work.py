"""Work on a file's body: fetched once per URL, worked on once per digest, whatever the validator says.

Belongs here: the loop that the content tasks share: threads, fetching, the memory of what was made of a body, and
how a raised failure becomes an outcome. Everything made of a body lives under `{folder}/{task}-{version}/{digest}/`;
its `outcome.json` is written last, so a killed run repeats at most the bodies it was at.
Does not belong here: what is done with a body.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from harvester_dagster.outside.failures import PermanentError, TransientError
from harvester_dagster.tasks.task import Context, Item, Outcome

if TYPE_CHECKING:
    from harvester_dagster.outside.bodies import Body

ATTEMPTS = 3
"""Runs in which a document may take too long or kill what reads it, before that is its outcome."""


def each(
    items: Sequence[Item], context: Context, work: Callable[[Item], Outcome], threads: int
) -> Iterator[tuple[Item, Outcome]]:
    """Work on every item in threads; yield outcomes as they come, a raised failure as its kind says."""
    with ThreadPoolExecutor(threads, thread_name_prefix="content") as pool:
        waiting = {pool.submit(work, item): item for item in items}
        try:
            for done in as_completed(waiting):
                error = done.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield waiting[done], done.result() if error is None else outcome_of(error, context)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def outcome_of(error: Exception, context: Context) -> Outcome:
    if isinstance(error, TransientError):
        wait = error.retry_after
        return Outcome("retry", reason=str(error), due_at=context.now + timedelta(seconds=wait) if wait else None)
    if isinstance(error, PermanentError):
        return Outcome("failure", reason=str(error))
    return Outcome("retry", reason=f"{type(error).__name__}: {error}")


def body_of(item: Item, context: Context) -> "Body":
    """The body behind the item's URL as `check_url` knows it. Raises OutsideError."""
    checked = item.subject.results.get("check_url")
    validator = (checked.data or {}).get("validator") if checked else None
    return context.bodies.get(str(item.subject.properties["url"]), validator)


def once(body: "Body", folder: str, context: Context, work: Callable[[str], Outcome]) -> Outcome:
    """The remembered outcome of this body's content, else the work's; `work` gets the prefix for its objects."""
    prefix = f"{folder}/{body.digest}/"
    remembered = _recall(prefix, context)
    if remembered is not None:
        return remembered
    outcome = work(prefix)
    if outcome.kind != "retry":
        context.objects.put(prefix + "outcome.json", msgspec.json.encode(outcome))
    return outcome


def gave_up(item: Item, reason: str) -> Outcome:
    """Transient for some runs, then the document's own fault."""
    attempts = item.previous.attempts if item.previous and item.previous.kind == "retry" else 0
    return Outcome("retry" if attempts + 1 < ATTEMPTS else "failure", reason=reason)


def _recall(prefix: str, context: Context) -> Outcome | None:
    key = prefix + "outcome.json"
    if not context.objects.exists(key):
        return None
    return msgspec.json.decode(context.objects.get(key), type=Outcome)
