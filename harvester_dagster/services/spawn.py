"""Starting one process so that nothing of it is left behind, whatever happens to us.

Belongs here: sessions, parent-death signals, unprivileged users, the end of a process group. Standard library only,
since the keeper of a service starts with it. Does not belong here: what is started, and for whom.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Account(NamedTuple):
    """The user and group that a process runs as."""

    uid: int
    gid: int


def spawn(
    argv: Sequence[str],
    log: IO[bytes],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    inherits: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own; it gets `death_signal` when the calling *thread* ends.

    The kernel ties the signal to the thread that forked, and forgets it at a change of user: so it is set after that.
    `inherits` are further file descriptors that it gets.
    """
    parent = os.getpid()

    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=cwd,
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        pass_fds=inherits,
        preexec_fn=partial(end_with, parent, death_signal),
    )


def end_with(parent: int, death_signal: signal.Signals) -> None:
    """In a process that was forked: have it get this signal when the thread that forked it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != parent:  # died before the call above
        os._exit(1)


def end(process: subprocess.Popen[bytes], stop: signal.Signals, patience: float) -> None:
    """Ask a process to stop by that signal, wait `patience` seconds, then kill what is left of its group."""
    if process.poll() is None:
        process.send_signal(stop)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the process's group, and collect the process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
