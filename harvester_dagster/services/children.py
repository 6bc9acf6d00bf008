"""Our own processes beside the services: the Dagster webserver, the daemon, whatever a command runs while it runs.

Belongs here: a child from start to end, with its log, with everything that it started. Ctrl-C, a failure and a kill of
ours all end it. Does not belong here: servers that commands share (`sharing.py`).
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from harvester_dagster.failures import HarvesterError
from harvester_dagster.services.sharing import log_tail, open_log
from harvester_dagster.services.spawn import end, spawn


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


def check_alive(process: subprocess.Popen[bytes], name: str, state: Path) -> None:
    """Raise ChildFailed when a child of that name has ended by itself."""
    if process.poll() is not None:
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
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        descendants = psutil.Process(process.pid).children(recursive=True)
    end(process, signal.SIGTERM, patience)
    for descendant in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):  # psutil compares start times: a reused id is not killed
            descendant.kill()
