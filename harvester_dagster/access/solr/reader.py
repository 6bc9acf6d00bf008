"""Reading a collection: one cursor, and patience.

Belongs here: the walk over `id desc`, its patience with a Solr that restarts, and how many pages may be read ahead. A
cursor cannot be shared, so there is one reader. Does not belong here: what is done with a page.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import tenacity

from harvester_dagster.access.decide.solr_document import SolrPage
from harvester_dagster.access.solr.collection import PATIENCE, Solr
from harvester_dagster.failures import TransientError
from harvester_dagster.outside.http import seconds_asked_for
from harvester_dagster.processes.read_ahead import Stopped, read_ahead

PAGES_AHEAD = 2
"""One that is there and one that is asked for, while one is worked on."""
_GROWING = tenacity.wait_exponential(multiplier=0.5, max=15)
_Answered = TypeVar("_Answered")


def patiently(
    ask: Callable[[], _Answered], stop: threading.Event | None = None, patience: float = PATIENCE
) -> _Answered:
    """Ask until there is an answer, for `patience` seconds at most, with growing pauses (longer when Solr asks for it).

    Raises Stopped as soon as the stop is set, TransientError when the patience is at an end, other errors at once.
    """

    def rest(seconds: float) -> None:
        if (stop or threading.Event()).wait(seconds):
            raise Stopped

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        wait=_pause,
        stop=tenacity.stop_before_delay(patience),
        sleep=rest,
        reraise=True,
    )(ask)


def _pause(state: tenacity.RetryCallState) -> float:
    return max(seconds_asked_for(state), _GROWING(state) * random.uniform(0.8, 1.2))


def walk(
    solr: Solr,
    filters: Sequence[str],
    cursor: str,
    rows: int,
    stop: threading.Event | None = None,
) -> Iterator[tuple[SolrPage, str]]:
    """Each page with documents, and the cursor behind it, from `cursor` ("*" is the beginning) to the end of the
    collection or a stop. Raises OutsideError, Stopped."""
    while stop is None or not stop.is_set():
        page = patiently(partial(solr.select, filters, cursor, rows), stop, solr.patience)
        if page.documents:
            yield page, page.next_cursor
        if page.next_cursor == cursor or not page.next_cursor:
            return
        cursor = page.next_cursor


def interruptible(ask: Callable[[], _Answered], stop: threading.Event, patience: float = PATIENCE) -> _Answered:
    """Ask in a thread of its own, which is left behind at a stop. Raises Stopped, or what `patiently` raised."""

    def answers() -> Iterator[_Answered]:
        yield patiently(ask, stop, patience)

    with read_ahead(answers(), stop=stop) as asked:
        return next(asked)
