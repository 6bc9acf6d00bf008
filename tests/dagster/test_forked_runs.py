"""The process that runs are forks of: what it imports is there, opens nothing, and is not the configuration's."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from harvester_dagster.cli import run_process

IMPORTING = """
import importlib, sys, threading, psutil
from harvester_dagster.cli.forked_runs import IMPORTED
for name in IMPORTED:
    importlib.import_module(name)
print(threading.active_count(), len(psutil.Process().net_connections()), "harvester_dagster.definitions" in sys.modules)
"""


def test_what_runs_share_opens_nothing_when_imported() -> None:
    said = subprocess.run([sys.executable, "-c", IMPORTING], capture_output=True, text=True, timeout=120, check=False)
    assert (said.stdout.split(), said.returncode) == (["1", "0", "False"], 0), said.stderr


def waiting(file: str) -> None:
    """A run that goes on."""
    Path(file).write_text(f"{os.getpid()} {os.getppid()}")
    time.sleep(600)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_ends_with_the_process_that_it_was_forked_from(tmp_path: Path) -> None:
    """Else it goes on beside the run that begins in its place."""
    forking = run_process.Forking()
    forking.set_forkserver_preload([run_process.__name__])
    file = tmp_path / "ids"
    forking.Process(target=waiting, args=(str(file),)).start()
    eventually(lambda: file.exists() and " " in file.read_text())
    run, server = map(int, file.read_text().split())
    found = psutil.Process(run)
    os.kill(server, signal.SIGKILL)
    eventually(lambda: not found.is_running() or found.status() == psutil.STATUS_ZOMBIE)
