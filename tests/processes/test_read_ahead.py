"""Reading ahead: the same items in the same order, bounded, and nothing left running."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.processes.read_ahead import Stopped, read_ahead

SECONDS = 5.0


def _await(condition: threading.Event) -> None:
    assert condition.wait(SECONDS)


def _still_reading() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


class _Watched:
    """Numbers from 1 to `most`; it knows how many were begun, who made them, and when it was closed."""

    def __init__(self, most: int) -> None:
        self.most, self.begun = most, 0
        self.threads: set[str] = set()
        self.closed = threading.Event()

    def __call__(self) -> Iterator[int]:
        try:
            while self.begun < self.most:
                self.begun += 1
                self.threads.add(threading.current_thread().name)
                yield self.begun
        finally:
            self.closed.set()


@given(st.lists(st.integers() | st.none()), st.integers(1, 4))
def test_the_same_items_in_the_same_order(items: list[int | None], count: int) -> None:
    with read_ahead(iter(items), count=count) as read:
        assert list(read) == items
        assert list(read) == []


@pytest.mark.parametrize("count", [1, 3])
def test_no_more_than_the_count_are_ahead(count: int) -> None:
    numbers = _Watched(100)
    with read_ahead(numbers(), count=count) as read:
        for taken, number in enumerate(read, 1):
            assert number == taken
            deadline = time.monotonic() + SECONDS
            while numbers.begun < min(taken + count, 100) and time.monotonic() < deadline:
                time.sleep(0.001)
            assert numbers.begun == min(taken + count, 100)
    assert numbers.threads == {"read-ahead"}


def test_what_making_an_item_raises_comes_in_its_place() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("no second one")

    with read_ahead(broken()) as read:
        assert next(read) == 1
        with pytest.raises(LookupError, match="no second one"):
            next(read)
    assert _still_reading() == []


def test_it_goes_through_more_than_one_of_them() -> None:
    def doubled(numbers: Iterator[int]) -> Iterator[int]:
        for number in numbers:
            if number == 3:
                raise ArithmeticError("three")
            yield number * 2

    with read_ahead(iter([1, 2, 3, 4])) as numbers, read_ahead(doubled(numbers)) as read:
        assert [next(read), next(read)] == [2, 4]
        with pytest.raises(ArithmeticError, match="three"):
            next(read)
    assert _still_reading() == []


def test_leaving_early_ends_the_thread_and_closes_the_generator_there() -> None:
    numbers = _Watched(100)
    with pytest.raises(KeyError), read_ahead(numbers(), count=2) as read:
        assert next(read) == 1
        raise KeyError
    assert numbers.closed.is_set()
    assert _still_reading() == []
    assert numbers.begun <= 3


def test_leaving_early_waits_for_the_item_in_the_making() -> None:
    begun, finished = threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        begun.set()
        time.sleep(0.1)
        finished.set()
        yield 1

    with read_ahead(slow()):
        _await(begun)
    assert finished.is_set()


def test_a_stop_frees_the_reader_of_an_iterator_that_hangs() -> None:
    stop, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    def hanging() -> Iterator[int]:
        try:
            yield 1
            let_go.wait()
            yield 2
        finally:
            ended.set()

    with read_ahead(hanging(), stop=stop) as read:
        assert next(read) == 1
        threading.Timer(0.05, stop.set).start()
        with pytest.raises(Stopped):
            next(read)
    assert not ended.is_set()
    let_go.set()
    _await(ended)


def test_what_is_there_already_is_read_after_a_stop() -> None:
    stop, first_is_there = threading.Event(), threading.Event()

    def numbers() -> Iterator[int]:
        yield 1
        first_is_there.set()
        yield 2

    with read_ahead(numbers(), count=2, stop=stop) as read:
        _await(first_is_there)
        stop.set()
        assert next(read) == 1
