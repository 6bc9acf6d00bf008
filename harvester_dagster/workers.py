"""Further processes for pure functions that take long: extracting records, making outputs.

A function gets the `World` and what is given to it, and its result goes back to the caller, who alone writes: a worker
that outlives a killed parent can do no harm. Work runs here until it has taken half a second; then workers start beside
it, and take it over when they are ready. Belongs here: where a function runs. Does not belong here: any such function.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar, get_type_hints

import msgspec

from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config

if TYPE_CHECKING:
    from concurrent.futures import Future

    from loky import ProcessPoolExecutor

START_AFTER = 0.5
"""Seconds of work; starting takes a worker about as long."""
IDLE_SECONDS = 60
MOST = 4
Given = TypeVar("Given")
Made = TypeVar("Made")


class World(NamedTuple):
    """What every function may read."""

    catalog: Catalog
    config: Config


class Workers:
    """The processes of one installation, started when there is work for them. Threads may share it."""

    def __init__(self, catalog: Catalog, config: Config) -> None:
        self.count = min(len(os.sched_getaffinity(0)), MOST)
        self._world = World(catalog, config)
        self._spent = 0.0
        self._changing = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._warm: Future[None] | None = None

    def run(self, function: Callable[[World, Given], Made], given: Given) -> Made:
        """The function's result, from wherever it runs. Its annotations say how what it takes and gives is written
        (MessagePack: a third of the time of pickling thousands of small tuples)."""
        pool = self._pool
        if pool and self._warm and self._warm.done():
            try:
                written: Future[bytes] = pool.submit(_run, function, msgspec.msgpack.encode(given))
                made: Made = _made(function).decode(written.result())
                return made
            except BrokenExecutor:  # a worker was killed: what it had is done here, and new ones are started
                self._give_up(pool)
        began = time.thread_time()
        made = function(self._world, given)
        with self._changing:
            self._spent += time.thread_time() - began
            if self._spent > START_AFTER and self._pool is None:
                self._start()
        return made

    def prepare(self) -> None:
        """Much work is coming."""
        with self._changing:
            if self._pool is None:
                self._start()

    def _give_up(self, broken: "ProcessPoolExecutor") -> None:
        with self._changing:
            if self._pool is broken:
                self._pool, self._spent = None, 0.0

    def close(self) -> None:
        with self._changing:
            if self._pool:
                self._pool.shutdown(wait=True, kill_workers=True)
                self._pool = None

    def _start(self) -> None:
        # Unlike the standard library's, its workers do not import the main module (all of Dagster, in a run) and get
        # a catalog that holds functions without a name.
        from loky import ProcessPoolExecutor

        self._pool = ProcessPoolExecutor(self.count, timeout=IDLE_SECONDS, initializer=_begin, initargs=(self._world,))
        self._warm = self._pool.submit(_ready)


_worlds: list[World] = []


def _begin(world: World) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this process
    _worlds.append(world)


def _ready() -> None:
    """A worker that answers has imported all that it needs."""


def _run(function: Callable[[World, Given], Made], written: bytes) -> bytes:
    from harvester_dagster.harvesting.garbage import rarely_collected

    with rarely_collected():
        return msgspec.msgpack.encode(function(_worlds[0], _given(function).decode(written)))


@cache
def _given(function: Callable[[World, Given], Made]) -> msgspec.msgpack.Decoder[Given]:
    _, given, _ = get_type_hints(function).values()
    return msgspec.msgpack.Decoder(given)


@cache
def _made(function: Callable[[World, Given], Made]) -> msgspec.msgpack.Decoder[Made]:
    return msgspec.msgpack.Decoder(get_type_hints(function)["return"])
