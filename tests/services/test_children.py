"""A child ends with the block, with its parent, and with everything that it started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harvester_dagster.services.children import PAUSE, ChildFailed, Kept, child

ROOT = Path(__file__).parents[2]
PARENT = """
import sys, time
from pathlib import Path
from harvester_dagster.services.children import child
state = Path(sys.argv[1])
with child("sleeper", ["sleep", "600"], state) as process:
    print(process.pid, flush=True)
    time.sleep(600)
"""


def gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_it_runs_with_its_log_and_ends_with_the_block(tmp_path: Path) -> None:
    log = tmp_path / "logs/talker.log"
    environment = {"GREETING": "hello"}
    argv = ["sh", "-c", "echo $GREETING; exec sleep 600"]
    with child("talker", argv, tmp_path, env=environment, ready=lambda: log.read_text() == "hello\n") as process:
        assert process.poll() is None
    assert process.returncode == -signal.SIGTERM


def test_what_it_started_ends_too_even_in_a_session_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "logs/parent.log"
    script = "setsid sleep 600 & echo $!; sleep 600 & echo $!; echo done; wait"
    with child("parent", ["sh", "-c", script], tmp_path, ready=lambda: "done" in log.read_text()):
        time.sleep(0.1)
        pids = [int(line) for line in log.read_text().split()[:2]]
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert all(gone(pid) for pid in pids)


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "logs/deaf.log"
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    with child("deaf", ["sh", "-c", script], tmp_path, ready=lambda: "ready" in log.read_text(), patience=0.3) as it:
        pass
    assert it.returncode == -signal.SIGKILL


def test_one_that_dies_at_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    argv = ["sh", "-c", "echo the port is taken >&2; exit 3"]
    failed = pytest.raises(ChildFailed, match=r"(?s)exit code 3.*the port is taken")
    with failed, child("broken", argv, tmp_path, ready=lambda: False):
        pass


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_end_of_the_parent_leaves_it_behind(tmp_path: Path, sent: signal.Signals) -> None:
    argv = [sys.executable, "-c", PARENT, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.send_signal(sent)
        parent.wait(10)
        assert gone(pid)


def started(log: Path, count: int, seconds: float = 20) -> list[int]:
    """The ids that its starts have written, when there are so many."""
    deadline = time.monotonic() + seconds
    while len(found := log.read_text().split() if log.exists() else []) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(found) >= count
    return [int(each) for each in found]


def kept_again(kept: Kept, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not kept.ensure():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_that_dies_is_started_anew_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    with Kept("worker", ["sh", "-c", f"sleep 600 & echo $$ $! >> {ids}; wait"], tmp_path) as kept:
        kept.start(ready=lambda: ids.exists() and len(ids.read_text().split()) == 2)
        assert not kept.ensure()
        first, below = started(ids, 2)
        os.kill(first, signal.SIGKILL)
        kept_again(kept)
        assert gone(first) and gone(below)
        second = started(ids, 4)
        assert not kept.ensure()
    assert all(gone(pid) for pid in second)


def test_one_that_dies_at_once_is_not_started_all_the_time(tmp_path: Path) -> None:
    begun = time.monotonic()
    with Kept("broken", ["sh", "-c", f"echo $$ >> {tmp_path}/ids; exit 3"], tmp_path) as kept:
        while time.monotonic() < begun + PAUSE * 1.5:
            kept.ensure()
            time.sleep(0.02)
    assert len((tmp_path / "ids").read_text().split()) == 2


def test_what_a_spared_one_left_goes_on_until_the_end(tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    script = f"sh -c 'sleep 600 & echo $$ $! >> {ids}; wait' & echo $$ >> {ids}; wait"
    with Kept("server", ["sh", "-c", script], tmp_path, spares=True) as kept:
        kept.ensure()
        started(ids, 3)
        server = next(pid for pid in started(ids, 3) if os.getpgid(pid) == pid)
        runs = [pid for pid in started(ids, 3) if pid != server]
        os.kill(server, signal.SIGKILL)
        kept_again(kept)
        assert gone(server) and all(psutil.pid_exists(pid) for pid in runs)
    assert all(gone(pid) for pid in runs)


def test_the_number_of_one_that_was_collected_is_nobodys_and_nothing_is_killed_by_it(tmp_path: Path) -> None:
    """Tomorrow it may be another's group. Here the group is there still: what would be killed would be in it."""
    ids = tmp_path / "ids"
    with child("parent", ["sh", "-c", f"sleep 600 & echo $! > {ids}; wait"], tmp_path) as process:
        (below,) = started(ids, 1)
        process.kill()
        process.wait()
    assert psutil.Process(below).status() != psutil.STATUS_ZOMBIE
    os.kill(below, signal.SIGKILL)


def test_one_that_cannot_be_started_anew_now_is_later(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As on a machine without memory or handles: whoever watches it goes on."""
    program, ids = tmp_path / "program", tmp_path / "ids"
    program.symlink_to("/bin/sh")
    with Kept("worker", [str(program), "-c", f"echo $$ >> {ids}; exit 3"], tmp_path) as kept:
        kept.ensure()
        started(ids, 1)
        program.unlink()
        while "worker could not be started anew" not in capfd.readouterr().err:
            assert not kept.ensure()
            time.sleep(0.05)
        program.symlink_to("/bin/sh")
        kept_again(kept)
        started(ids, 2)
