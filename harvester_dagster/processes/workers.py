"""Further processes for pure functions that take long: extracting records, making outputs.

A function gets the world that the workers were made with, and what is given to it, and its result goes back to the
caller, who alone writes: a worker that outlives a killed parent can do no harm. Work runs here until it has taken half
a second; then workers start beside it, and take it over when they are ready. Belongs here: where a function runs. Does
not belong here: any such function, and what the world is.

Why not a library's pool (measured): the standard library's workers import the main module, which in a run is all of
Dagster; loky's take twice as long to start, and 30 µs of the processors' time to be handed a product.
"""

import fcntl
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from queue import SimpleQueue
from typing import IO, Any, TypeVar, get_type_hints

import cloudpickle
import msgspec

from harvester_dagster.processes.cycle_collection import rarely_collected

START_AFTER = 0.5
"""Seconds of work; starting takes about as long."""
MOST = 4
CLOSING_SECONDS = 10
PIPE_BYTES = 1024 * 1024
"""The most that Linux gives anybody; of the usual 64 KB, two processes wait for each other sixteen times as often."""
_LENGTH = 8
Given = TypeVar("Given")
Made = TypeVar("Made")
Pipes = tuple[int, int]
"""A worker's ends of its two pipes: it reads what is asked from one and writes its answers to the other."""


class Workers:
    """Processes that are started when there is work for them. One object serves all threads.

    `world` is what every function may read: pickled once into each process (by cloudpickle, so that it may hold
    functions without a name), never changed. They start after so many seconds of work.
    """

    def __init__(self, world: Any, start_after: float = START_AFTER) -> None:
        self.start_after = start_after
        self.count = min(len(os.sched_getaffinity(0)), MOST)
        self._world = world
        self._spent = 0.0
        self._changing = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._workers: set[_Worker] = set()
        self._ready = 0
        self._places: SimpleQueue[_Worker | None] = SimpleQueue()
        """Where work may go now. None, while no worker is ready, is here: threads of one process would only take the
        interpreter from each other."""
        self._places.put(None)

    def run(self, function: Callable[[Any, Given], Made], given: Given) -> Made:
        """The function's result, from wherever it runs; what it raises is raised here.

        It must be importable by its name, take the world and one value, and annotate that value and its result: they
        travel as MessagePack, in a third of the time of pickling thousands of small tuples.
        """
        place = self._places.get()
        try:
            if place is None:
                return self._here(function, given)
            written = place.ask(pickle.dumps(function), msgspec.msgpack.encode(given))
        finally:
            self._give_back(place)
        if not written:  # the worker was killed, or the function raises, which it does here again
            return self._here(function, given)
        made: Made = _made(function).decode(written)
        return made

    def _here(self, function: Callable[[Any, Given], Made], given: Given) -> Made:
        began = time.thread_time()
        made = function(self._world, given)
        self._spent += time.thread_time() - began
        if self._spent > self.start_after:
            self.prepare()
        return made

    def prepare(self) -> None:
        """Start the workers that are missing, because much work is coming; does not wait until they are ready."""
        with self._changing:
            missing = self.count - len(self._workers)
            if self.count == 1 or not missing:
                return
            try:
                process, started = _started(self._world, missing)
            except OSError:  # this machine has no room for them: it goes on without
                self._spent = 0.0
                return
            self._processes = [*(one for one in self._processes if one.poll() is None), process]
            self._workers.update(started)
        for worker in started:
            threading.Thread(target=self._welcome, args=(worker,), daemon=True).start()

    def _welcome(self, worker: "_Worker") -> None:
        """Give it a place when it has imported all that it needs."""
        worker.answer()
        with self._changing:
            if worker.lost:
                self._lose(worker)
            else:
                self._ready += 1
                self._places.put(worker)

    def _give_back(self, place: "_Worker | None") -> None:
        """A place is free again. Work comes back here when the last worker is lost, and leaves when there is one."""
        with self._changing:
            if place and not place.lost:
                self._places.put(place)
                return
            if place:
                self._lose(place)
                self._ready -= 1
            if not self._ready:
                self._places.put(None)

    def _lose(self, worker: "_Worker") -> None:
        self._workers.discard(worker)
        self._spent = 0.0  # so much work again before new ones start

    def close(self) -> None:
        """Let the workers finish what they do, for 10 seconds at most, and end."""
        workers = list(self._workers)
        for worker in workers:
            worker.dismiss()
        for process in self._processes:
            try:
                process.wait(CLOSING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for worker in workers:
            worker.close()


class _Worker:
    """A process that does what one caller at a time asks of it."""

    def __init__(self, asked: int, answers: int) -> None:
        self.lost = False
        self._asked, self._answers = os.fdopen(asked, "wb"), os.fdopen(answers, "rb")

    def ask(self, *asked: bytes) -> bytes | None:
        """The answer; empty when the function raises, None when the process is lost."""
        self.lost = True  # until it has answered: whatever ends this call before, nobody may read that answer as his
        try:
            for one in asked:
                _write(self._asked, one)
        except OSError:
            return None
        return self.answer()

    def answer(self) -> bytes | None:
        written = _read(self._answers)
        self.lost = written is None
        return written

    def dismiss(self) -> None:
        """It ends when it has done what it is at."""
        with suppress(OSError):
            self._asked.close()

    def close(self) -> None:
        self._answers.close()


def _started(world: Any, count: int) -> tuple["subprocess.Popen[bytes]", list[_Worker]]:
    """Workers that are starting, and the first one's process, which forks the others when it has imported all."""
    asked, answers = [os.pipe() for _ in range(count)], [os.pipe() for _ in range(count)]
    for reader, _ in (*asked, *answers):
        with suppress(AttributeError, OSError):  # other systems have no such setting
            fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    theirs: list[Pipes] = [(asked[number][0], answers[number][1]) for number in range(count)]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {__name__} import serve; serve({theirs})"],
        stdin=subprocess.PIPE,
        pass_fds=[end for ends in theirs for end in ends],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))},
    )
    for end in (end for ends in theirs for end in ends):
        os.close(end)
    assert process.stdin
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(cloudpickle.dumps(world))  # its catalog may hold functions without a name
    return process, [_Worker(asked[number][1], answers[number][0]) for number in range(count)]


def serve(pipes: Sequence[Pipes]) -> None:
    """The whole life of workers, from the first one's process on: each ends when its parent has ended or dismisses
    it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends these processes
    world = pickle.load(sys.stdin.buffer)
    mine = pipes[0]
    for own in pipes[1:]:
        if os.fork() == 0:
            mine = own
            break
    for end in (end for ends in pipes if ends != mine for end in ends):
        os.close(end)
    with suppress(BrokenPipeError), os.fdopen(mine[0], "rb") as asked, os.fdopen(mine[1], "wb") as answers:
        _work(world, asked, answers)
    with suppress(ChildProcessError):
        while mine == pipes[0]:
            os.wait()


def _work(world: Any, asked: IO[bytes], answers: IO[bytes]) -> None:
    _write(answers, b"")  # ready
    with rarely_collected():
        while (function := _read(asked)) and (given := _read(asked)):
            _write(answers, _answer(world, pickle.loads(function), given))


def _answer(world: Any, function: Callable[[Any, Any], Any], given: bytes) -> bytes:
    try:
        return msgspec.msgpack.encode(function(world, _given(function).decode(given)))
    except Exception:  # it is raised where the work was asked for
        return b""


def _write(stream: IO[bytes], content: bytes) -> None:
    stream.write(len(content).to_bytes(_LENGTH))
    stream.write(content)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes | None:
    """None at the end of the stream, also amid something."""
    head = stream.read(_LENGTH)
    if len(head) < _LENGTH:
        return None
    length = int.from_bytes(head)
    content = stream.read(length)
    return content if len(content) == length else None


@cache
def _given(function: Callable[[Any, Given], Made]) -> msgspec.msgpack.Decoder[Given]:
    _, given, _ = get_type_hints(function).values()
    return msgspec.msgpack.Decoder(given)


@cache
def _made(function: Callable[[Any, Given], Made]) -> msgspec.msgpack.Decoder[Made]:
    return msgspec.msgpack.Decoder(get_type_hints(function)["return"])
