"""Our own processes beside the services: the Dagster webserver, the daemon, whatever a command runs while it runs.

Belongs here: a child from start to end, with its log, with everything that it started; starting it anew when it has
died. Ctrl-C, a failure and a kill of ours all end it. Does not belong here: servers that commands share (`sharing.py`).

The number of a process that was collected may be another's tomorrow, and so may that of its group: what a dead child
left is ended, or remembered one by one, at the moment in which its death is seen.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from harvester_dagster.failures import HarvesterError
from harvester_dagster.services.sharing import log_tail, open_log
from harvester_dagster.services.spawn import end, kill_group, spawn

PAUSE = 5.0
"""Seconds between two starts of a child that dies."""


class ChildFailed(HarvesterError):
    """A child ended, or was not ready in time; the message ends with the last lines of its log."""


@contextlib.contextmanager
def child(
    name: str,
    argv: Sequence[str],
    state: Path,
    *,
    env: Mapping[str, str] | None = None,
    ready: Callable[[], bool] = lambda: True,
    timeout: float = 60,
    patience: float = 15,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends; its output is in `state/logs/NAME.log`, `env` is added to ours.

    It must be `ready` within `timeout` seconds; at the end it has `patience` seconds to stop before it is killed with
    all that it started. Call it in a thread that outlives the block: the child gets SIGTERM when that thread ends.
    Raises ChildFailed.
    """
    log = open_log(state.absolute(), name)
    with log.open("ab") as output:
        process = spawn(argv, output, env={**os.environ, **(env or {})})
    try:
        _wait_until_ready(process, name, log, ready, timeout)
        yield process
    finally:
        _end_with_descendants(process, patience)


class Kept:
    """A child that is started anew when it has died, until the block ends. Threads of its starts must outlive it.

    `prepare` is done before each start. `spares`: what it started outlives it, until the block ends.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        state: Path,
        *,
        prepare: Callable[[], object] = lambda: None,
        spares: bool = False,
    ) -> None:
        self._name, self._argv, self._state = name, argv, state
        self._prepare, self._spares = prepare, spares
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = 0.0
        self._left: list[psutil.Process] = []

    def start(self, ready: Callable[[], bool] = lambda: True, timeout: float = 60) -> None:
        """Start it, and wait until it is ready, where it was not started before. Raises ChildFailed."""
        if self._process is None:
            self._start(ready, timeout)

    def ensure(self) -> bool:
        """Start it where it does not run, some seconds after its last start at the earliest; nobody waits until it is
        ready. Whether it was started now. That a machine without memory or handles cannot start it anew is told on
        stderr only."""
        if self._process is None:
            self._start()
            return True
        if self._process.returncode is None and self._process.poll() is not None:
            self._bury(self._process)
        if self._process.returncode is None or time.monotonic() < self._begun + PAUSE:
            return False
        try:
            self._start()
        except OSError as error:
            print(f"{self._name} could not be started anew: {error}", file=sys.stderr, flush=True)
            return False
        return True

    def _start(self, ready: Callable[[], bool] = lambda: True, timeout: float = 60) -> None:
        self._stack.close()
        self._prepare()
        self._begun = time.monotonic()
        self._process = self._stack.enter_context(
            child(self._name, self._argv, self._state, ready=ready, timeout=timeout)
        )

    def _bury(self, dead: subprocess.Popen[bytes]) -> None:
        if self._spares:
            self._left = [each for each in (*self._left, *_members(dead.pid)) if each.is_running()]
        else:
            kill_group(dead)

    def __enter__(self) -> "Kept":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        _kill([*self._left, *(below for each in self._left for below in _descendants(each))])


def check_alive(process: subprocess.Popen[bytes], name: str, state: Path) -> None:
    """Raise ChildFailed when a child of that name has ended by itself."""
    if process.poll() is not None:
        kill_group(process)
        log = state.absolute() / "logs" / f"{name}.log"
        raise ChildFailed(f"{name} ended with exit code {process.returncode}; {log} ends with:\n{log_tail(log)}")


def _wait_until_ready(
    process: subprocess.Popen[bytes], name: str, log: Path, ready: Callable[[], bool], timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while not ready():
        check_alive(process, name, log.parent.parent)
        if time.monotonic() > deadline:
            raise ChildFailed(f"{name} was not ready after {timeout:.0f} s; {log} ends with:\n{log_tail(log)}")
        time.sleep(0.05)


def _end_with_descendants(process: subprocess.Popen[bytes], patience: float) -> None:
    """Its group, and what left the group: a Dagster code server outlives its parent by seconds, runs have sessions."""
    if process.returncode is not None:
        return
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        descendants = _descendants(psutil.Process(process.pid))
    end(process, signal.SIGTERM, patience)
    _kill(descendants)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def _members(group: int) -> list[psutil.Process]:
    """The processes of a group."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group:
                found.append(process)
    return found


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # psutil compares start times: a reused id is not killed
            process.kill()
