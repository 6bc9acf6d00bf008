"""Work on a file's body: fetched once per URL, worked on once per digest, whatever the validator says.

Belongs here: the loop that the content tasks share: threads, fetching, the memory of what was made of a body, and
how a raised failure becomes an outcome. Everything that a task made of a body lives in a folder of its own
(`keys.derived`); its `outcome.json` is written last, so a killed run repeats at most the bodies it was at. It is a
note: one that a power cut broke says nothing, and its body is worked on again.
Does not belong here: what is done with a body.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from queue import SimpleQueue
from typing import TYPE_CHECKING

import msgspec

from harvester_dagster.failures import PermanentError, TransientError
from harvester_dagster.store import keys
from harvester_dagster.store.away import is_away
from harvester_dagster.tasks.task import Context, Item, Outcome, Task

if TYPE_CHECKING:
    from harvester_dagster.outside.bodies import Body, Known

ATTEMPTS = 3
"""Runs in which a document may take too long or kill what reads it, before that is its outcome."""


def each(
    items: Sequence[Item], context: Context, work: Callable[[Item], Outcome], threads: int
) -> Iterator[tuple[Item, Outcome]]:
    """Work on every item in threads; yield outcomes as they come. What the work raises becomes an outcome
    (`outcome_of`)."""
    waiting = deque(items)
    done: SimpleQueue[tuple[Item, Outcome | BaseException]] = SimpleQueue()

    def work_on() -> None:
        while True:
            try:
                item = waiting.popleft()
            except IndexError:
                return
            done.put((item, _ending(item, work, context)))

    with ThreadPoolExecutor(threads, thread_name_prefix="content") as pool:
        try:
            for _ in range(min(threads, len(items))):
                pool.submit(work_on)
            for _ in items:
                item, ending = done.get()
                if isinstance(ending, BaseException):
                    raise ending
                yield item, ending
        finally:
            waiting.clear()
            pool.shutdown(wait=False)


def _ending(item: Item, work: Callable[[Item], Outcome], context: Context) -> Outcome | BaseException:
    try:
        return work(item)
    except Exception as error:
        return error if is_away(error) else outcome_of(error, context)
    except BaseException as error:
        return error


def outcome_of(error: Exception, context: Context) -> Outcome:
    """The outcome that a raised failure is: `retry` for a transient one (not before its `retry_after`) and for what
    nobody expected, `failure` for a permanent one."""
    if isinstance(error, TransientError):
        wait = error.retry_after
        return Outcome("retry", reason=str(error), due_at=context.now + timedelta(seconds=wait) if wait else None)
    if isinstance(error, PermanentError):
        return Outcome("failure", reason=str(error))
    return Outcome("retry", reason=f"{type(error).__name__}: {error}")


def body_of(item: Item, context: Context, known: "Known | None" = None) -> "Body":
    """The body behind the item's URL as `check_url` knows it; `known` is what `known_bodies` found for its batch.
    Raises OutsideError."""
    return context.bodies.get(*_place(item), known or {})


def known_bodies(items: Sequence[Item], context: Context) -> "Known":
    """What is known of the items' bodies, asked once for all: a statement per file costs more than many a file."""
    return context.bodies.known([_place(item) for item in items])


def _place(item: Item) -> tuple[str, str | None]:
    checked = item.subject.results.get("check_url")
    validator = (checked.data or {}).get("validator") if checked else None
    return str(item.subject.properties["url"]), validator


def once(body: "Body", task: Task, context: Context, work: Callable[[str], Outcome]) -> Outcome:
    """The remembered outcome of this task for this body's content, else the work's, which is then remembered unless it
    is `retry`. `work` gets the prefix of the keys for its objects."""
    made_by = keys.maker(task.name, task.version)
    prefix, before = keys.derived(body.digest, made_by), keys.derived_before(body.digest, made_by)
    remembered = _recall(prefix, context) or (_recall(before, context) if before else None)
    if remembered is not None:
        return remembered
    outcome = work(prefix)
    if outcome.kind != "retry":
        context.objects.note(prefix + "outcome.json", msgspec.json.encode(outcome))
    return outcome


def gave_up(item: Item, reason: str) -> Outcome:
    """The outcome for work that took too long or killed its process: `retry` in two runs, then the document's own
    `failure`."""
    attempts = item.previous.attempts if item.previous and item.previous.kind == "retry" else 0
    return Outcome("retry" if attempts + 1 < ATTEMPTS else "failure", reason=reason)


def _recall(prefix: str, context: Context) -> Outcome | None:
    try:
        return msgspec.json.decode(context.objects.get(prefix + "outcome.json"), type=Outcome)
    except msgspec.DecodeError:
        return None
    except PermanentError as error:
        if error.code != "no-object":
            raise
        return None
