"""The search for the best concurrency, against servers whose best is known."""

import threading
from collections.abc import Callable

import pytest

from harvester_dagster.access.runs.run_rows import Best
from harvester_dagster.access.solr.write_rate import BATCHES, WriteRate
from harvester_dagster.failures import TransientError


def found(rate: Callable[[int, int], float], limit: int, windows: int = 120, start: Best | None = None) -> WriteRate:
    """Let a server with this rate (writers, batch) answer for a while."""
    now = 0.0
    pace = WriteRate(limit, start, clock=lambda: now)
    for _ in range(windows * 20):
        batch = pace.batch
        now += batch / rate(pace.writers, batch)
        with pace.turn(threading.Event()) as turn:
            turn.done(batch)
        assert 1 <= pace.writers <= limit
    return pace


def test_it_goes_up_while_that_is_better() -> None:
    best = found(lambda writers, batch: 1000.0 * writers * (1 if batch >= 1000 else 0.5), 4).best
    assert best is not None and best.writers == 4 and best.batch >= 1000


def test_it_stays_low_where_more_makes_it_worse() -> None:
    pace = found(lambda writers, batch: 5000.0 / writers**2, 8)
    assert pace.best is not None and (pace.best.writers, pace.writers) == (1, 1)


def test_large_batches_are_found_where_they_win() -> None:
    best = found(lambda writers, batch: 8000.0 * batch / (batch + 1000), 1).best
    assert best is not None and best.batch == BATCHES[-1]


def test_overload_slows_down_at_once() -> None:
    pace = WriteRate(8, Best(8, 2000, 1.0))
    with pytest.raises(TransientError), pace.turn(threading.Event()):
        raise TransientError("status-503", "overloaded")
    assert (pace.writers, pace.batch, pace.overloads) == (4, 1000, 1)


def test_it_begins_where_it_was_best_before() -> None:
    pace = WriteRate(4, Best(3, 2000, 1.0))
    assert (pace.writers, pace.batch) == (3, 2000)
    assert WriteRate(2, Best(3, 2000, 1.0)).writers == 2
