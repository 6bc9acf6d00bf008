"""`harvester night` by itself, over a store of its own and over a PostgreSQL that others run: sessions end all the
time, a backend is killed, the whole store is; no set loses its night. And what keeps it from beginning."""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from harvester_dagster.services import launcher, postgres
from harvester_dagster.services.loopback import free_port
from harvester_dagster.services.sharing import Launch, running
from tests.dagster.installed import BIN, FILE, KEYS, SETS, WEBHOOK_SECRET, Source, eventually, serving
from tests.sessions import Ender

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def source() -> Iterator[Source]:
    found = Source()
    for spec in SETS:
        found.fill(spec, 0, 30)
    with serving(found):
        yield found


class Command:
    """`harvester …` in a folder of its own."""

    def __init__(self, folder: Path, source: Source, store: str = "") -> None:
        self.home = folder / "home"
        self.home.mkdir()
        file = folder / "harvester.toml"
        file.write_text(FILE.format(url=source.url, port=free_port()))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HARVESTER_", "DAGSTER_"))}
        self.environment = kept | {
            "HARVESTER_HOME": str(self.home),
            "HARVESTER_CONFIG": str(file),
            "SRC_WEBHOOK_SECRET": WEBHOOK_SECRET,
        }
        if store:
            self.environment["HARVESTER_POSTGRES_URL"] = store

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(BIN / "harvester"), *arguments],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def over_tcp(port: int) -> Callable[[Path], Launch]:
    """Our PostgreSQL as a server of somebody else's, which is reached over the network."""

    def launch(folder: Path) -> Launch:
        usual = postgres.launch(folder)
        argv = [*usual.argv, "-c", "listen_addresses=127.0.0.1", "-c", f"port={port}"]
        return replace(usual, argv=argv, url=f"postgresql://postgres@127.0.0.1:{port}/harvester")

    return launch


@contextlib.contextmanager
def foreign(state: Path) -> Iterator[str]:
    def answers(launch: Launch) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(launch.url).close()
            return True
        return False

    service = postgres.POSTGRES._replace(launch=over_tcp(free_port()), ready=answers)
    with running(service, state) as launch:
        yield launch.url


def finished(process: "subprocess.Popen[str]") -> None:
    said, errors = process.communicate(timeout=900)
    assert process.returncode == 0, said + errors
    lines = {line["key"]: line["harvest"] for line in json.loads(said)["status"]["sets"]}
    assert lines == dict.fromkeys(KEYS, "accepted"), said


@pytest.mark.parametrize(("act", "seconds", "most"), [("terminate", 0.2, 1_000), ("kill", 4, 5)])
def test_over_a_foreign_store_whose_sessions_end(
    tmp_path: Path, source: Source, act: str, seconds: float, most: int
) -> None:
    with foreign(tmp_path / "foreign") as url:
        process = Command(tmp_path, source, url).begin("night", "--json")
        ender = Ender(url, seed=3)
        eventually(lambda: process.poll() is not None or _begun(url), "the night", seconds=300)
        with ender.going_on(getattr(ender, act), seconds, most):
            finished(process)
    assert ender.ended


def _begun(url: str) -> bool:
    with contextlib.suppress(psycopg.Error), psycopg.connect(url) as connection:
        return connection.execute("SELECT FROM harvester.night").rowcount > 0
    return False


def test_over_a_store_of_its_own_that_is_killed(tmp_path: Path, source: Source) -> None:
    command = Command(tmp_path, source)
    with source.holding("one"):
        process = command.begin("night", "--json")
        eventually(lambda: "one" in source.waiting, "a run in the middle of its harvest")
        _kill_postgres(command.home)
    finished(process)


def _kill_postgres(folder: Path) -> None:
    """The server and the process that keeps it; nobody else has used it since."""
    data = folder / "postgres" / "data"
    server = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    keeper = server.parent()
    for process in (server, keeper):
        if process is not None:
            process.kill()
    psutil.wait_procs([server], 10)


def test_where_nobody_would_request_its_runs_it_is_refused(tmp_path: Path, source: Source) -> None:
    """The sensor was switched off in the UI, which Dagster keeps in its store."""
    command = Command(tmp_path, source)
    finished(command.begin("night", "--json"))
    with launcher.postgres(command.home) as url, psycopg.connect(url) as connection:
        connection.execute(
            """UPDATE public.instigators SET status = 'STOPPED', instigator_body =
               replace(replace(instigator_body, 'DECLARED_IN_CODE', 'STOPPED'), 'AUTOMATICALLY_RUNNING', 'STOPPED')
               WHERE instigator_body LIKE '%night_watch%'"""
        )
    process = command.begin("night")
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 1 and "night_watch" in errors and "switched off" in errors, said + errors
