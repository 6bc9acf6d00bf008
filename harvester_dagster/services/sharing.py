"""How commands share one running service: the first user starts it, the last one stops it.

Belongs here: what a service is (`Service`, `Launch`), its locks, its start and the wait until it is ready. Nothing
here knows any service by name; the table is in `launcher.py`.

In a service's folder, `start.lock` is held while somebody comes or goes, `users.lock` is shared by every user,
`keeper.lock` is held by the keeper (`keeper.py`), `server.lock` by it and the server: what is left of a server whose
keeper was killed is waited for, not used. The kernel frees the locks of whoever dies.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harvester_dagster.failures import HarvesterError
from harvester_dagster.services.spawn import Account

_POLL = 0.02
_ATTEMPTS = 40


class Unavailable(HarvesterError):
    """A service cannot be had on this machine; the message is one sentence that names the mend."""


@dataclasses.dataclass(frozen=True)
class Launch:
    """One start of a server. It is kept beside the data, so that a second user finds the server."""

    url: str
    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What it needs beside PATH, LANG and the like: our environment holds secrets that are none of its business."""
    account: Account | None = None
    stop: int = signal.SIGTERM
    patience: float = 30


class Service(NamedTuple):
    """One row of the table: how to get a service, how to start it, and how to know that it is ready."""

    name: str
    launch: Callable[[Path], Launch]
    """Fetch what is missing and prepare the folder. Raises Unavailable."""
    ready: Callable[[Launch], bool]
    fetch: Callable[[], object] = lambda: None
    """Fetch and build what is missing, some minutes at most, so that no launch needs to. Raises Unavailable."""
    passing: str = r"Address already in use"
    """What the log says when a start failed for a reason that passes; it is then repeated."""
    timeout: float = 90


@contextlib.contextmanager
def running(service: Service, state: Path) -> Iterator[Launch]:
    """Use a service while the block lasts, with its data and locks below `state`: the first user starts it, the last
    one waits until it has stopped. Raises Unavailable."""
    folder = state.absolute() / service.name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _is_free(folder / "server.lock")
    except PermissionError:
        raise Unavailable(f"{folder} belongs to another user", "be that user, or set HARVESTER_HOME") from None
    with _locked(folder / "start.lock"):
        users = _open(folder / "users.lock")
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while a keeper is stopping the server
        try:
            launch = _find_or_start(service, folder)
        except BaseException:
            _leave(folder, users)
            raise
    try:
        yield launch
    finally:
        with _locked(folder / "start.lock"):
            _leave(folder, users)


def log_tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for a message about a start that failed."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def open_log(state: Path, name: str) -> Path:
    """The path of `logs/NAME.log`, which is new: the log of the start before is kept as `NAME.log.1`."""
    log = state / "logs" / f"{name}.log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    log.touch(mode=0o600)
    return log


def _find_or_start(service: Service, folder: Path) -> Launch:
    log = folder.parent / "logs" / f"{service.name}.log"
    if not _is_free(folder / "server.lock"):
        launch = _read(folder)
        if _wait_until_ready(service, launch, folder):
            return launch
    for _ in range(_ATTEMPTS):
        launch = service.launch(folder)
        _write(folder, launch)
        _start_keeper(folder, open_log(folder.parent, service.name))
        if _wait_until_ready(service, launch, folder):
            return launch
        if not re.search(service.passing, log_tail(log)):
            break
        time.sleep(0.25)
    raise Unavailable(f"{service.name} did not start; its log {log} ends with:\n{log_tail(log)}")


def _start_keeper(folder: Path, log: Path) -> None:
    locks = [_open(folder / "server.lock"), _open(folder / "keeper.lock")]
    try:
        for lock in locks:
            fcntl.flock(lock, fcntl.LOCK_EX)  # passed on; the keeper passes the first one on to the server
        with log.open("ab") as output:
            subprocess.run(
                [sys.executable, "-P", "-m", "harvester_dagster.services.keeper", str(folder), str(locks[0])],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=_plain_environment() | {"PYTHONPATH": str(Path(__file__).parents[2])},
                start_new_session=True,
                pass_fds=locks,
                check=True,
            )
    finally:
        for lock in locks:
            os.close(lock)


def _plain_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ", "TMPDIR") if name in os.environ}


def _wait_until_ready(service: Service, launch: Launch, folder: Path) -> bool:
    """False when the server ended instead."""
    deadline = time.monotonic() + service.timeout
    while time.monotonic() < deadline:
        ready = service.ready(launch)
        if _is_free(folder / "keeper.lock"):
            _wait_for(folder / "server.lock", launch.patience)
            return False
        if ready:
            return True
        time.sleep(_POLL)
    log = folder.parent / "logs" / f"{service.name}.log"
    raise Unavailable(f"{service.name} was not ready after {service.timeout:.0f} s", f"look at {log}")


def _leave(folder: Path, users: int) -> None:
    """Stop being a user; the last one waits until the server has stopped. The start lock is held."""
    os.close(users)
    probe = _open(folder / "users.lock")
    last = _try_lock(probe, fcntl.LOCK_EX) or not _try_lock(probe, fcntl.LOCK_SH)  # or the keeper has it by now
    os.close(probe)
    if last and (folder / "launch.json").exists():
        _wait_for(folder / "server.lock", _read(folder).patience + 5)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = _open(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _wait_for(path: Path, seconds: float) -> None:
    """Until a lock is free, or the time has passed."""
    deadline = time.monotonic() + seconds
    while not _is_free(path) and time.monotonic() < deadline:
        time.sleep(_POLL)


def _is_free(path: Path) -> bool:
    lock = _open(path)
    try:
        return _try_lock(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)


def _try_lock(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _write(folder: Path, launch: Launch) -> None:
    launch = dataclasses.replace(launch, env={**_plain_environment(), **launch.env})
    new = folder / "launch.json.new"
    new.touch(mode=0o600)
    new.write_text(json.dumps(dataclasses.asdict(launch)))
    new.replace(folder / "launch.json")


def _read(folder: Path) -> Launch:
    launch = Launch(**json.loads((folder / "launch.json").read_text()))
    return dataclasses.replace(launch, account=launch.account and Account(*launch.account))
