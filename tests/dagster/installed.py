"""A whole installation as its operators have it: `harvester up` in a process of its own, over a scripted source.

Belongs here: starting and ending it, waiting for what it does, looking at its store and at Dagster's. What should have
happened is in the tests.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import dagster as dg
import psutil
from psycopg_pool import ConnectionPool

from harvester_dagster import config as configuration
from harvester_dagster.cli import dagster_settings
from harvester_dagster.installation import utc_now
from harvester_dagster.releases import nights
from harvester_dagster.services import launcher
from harvester_dagster.services.loopback import free_port
from tests.sets.scripted_source import ScriptedSource

Found = TypeVar("Found")
BIN = Path(sys.executable).parent
SETS = ("one", "two")
WEBHOOK_SECRET = "what-the-source-knows"
KEYS = tuple(f"src:{spec}" for spec in SETS)
FILE = """
platform = "edusources"

[network]
allow_hosts = ["127.0.0.1"]
per_host_per_second = 10000

[night]
cron = "* * * * *"
deadline = "FAR_OFF"
release_quiet_period = "2s"
max_concurrent_sets = 4

[sources.src]
kind = "sharekit"
url = "{url}"
sets = ["one", "two"]
deletes = "no"
min_documents = 5
webhook_secret_env = "SRC_WEBHOOK_SECRET"

[tasks]
disabled = ["tika", "pdf_preview", "image_preview", "video_preview", "youtube_api"]

[index]
url = "none"

[web]
port = {port}

[metastore.dtu]
url = "http://127.0.0.1:9/solr"
schedules = {{}}
""".replace("FAR_OFF", f"{datetime.now(configuration.Config().zone) + timedelta(hours=12):%H:%M}")


class Source(ScriptedSource):
    """One that can be told to let a set wait for its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = utc_now()
        self.held: set[str] = set()
        self.waiting: set[str] = set()
        self.go_on = threading.Event()
        self.page_size = 50

    def page(self, spec: str, query: Mapping[str, list[str]]) -> Any:
        if spec in self.held:
            self.waiting.add(spec)
            self.go_on.wait(50)
        return super().page(spec, query)

    def fill(self, spec: str, first: int, last: int) -> None:
        self.now = utc_now()
        self.put(*(f"{spec}-{number}" for number in range(first, last)), spec=spec)

    @contextlib.contextmanager
    def holding(self, spec: str) -> Iterator[None]:
        """Until the block ends, whoever asks for this set waits."""
        self.held, self.waiting = {spec}, set()
        self.go_on.clear()
        try:
            yield
        finally:
            self.held = set()
            self.go_on.set()


class Ears(ThreadingHTTPServer):
    """Takes what is posted to it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Listening)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.heard: list[Any] = []
        self.raw: list[tuple[str, bytes]] = []
        self.status = 200

    @property
    def causes(self) -> list[str]:
        return [said["cause"] for said in self.heard]


class _Listening(BaseHTTPRequestHandler):
    server: Ears

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.raw.append((urlsplit(self.path).path, body))
        if self.headers.get("Content-Type", "").startswith("application/json"):
            self.server.heard.append(json.loads(body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Up:
    """`harvester up`, running."""

    def __init__(self, home: Path, source: Source, ears: Ears, file: str = FILE) -> None:
        self.home, self.source, self.ears = home, source, ears
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket = home / f"ui-{self.port}.sock"
        self.file = home / "harvester.toml"
        self.file.write_text(file.format(url=source.url, port=free_port()))
        self.config = configuration.load(self.file)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HARVESTER_", "DAGSTER_"))},
            "HARVESTER_HOME": str(home),
            "HARVESTER_CONFIG": str(self.file),
            "HARVESTER_ALERT_URL": f"{ears.url}/alerts",
            "SRC_WEBHOOK_SECRET": WEBHOOK_SECRET,
        }
        self._stack = contextlib.ExitStack()

    def start(self) -> None:
        self.output = self.home / "up.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [str(BIN / "harvester"), "up", "--port", str(self.port)],
                env=self.environment,
                cwd=self.home,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(
            lambda: "Ctrl-C stops everything" in self.said() or self.process.poll() is not None,
            "harvester up",
            self.said,
        )
        assert self.process.poll() is None, self.said()
        self.store_url = url = self._stack.enter_context(launcher.postgres(self.home))
        self.store = self._stack.enter_context(
            ConnectionPool(  # whose server a test may kill
                url,
                min_size=1,
                check=ConnectionPool.check_connection,
                kwargs={"autocommit": True, "options": "-c search_path=harvester"},
                open=True,
            )
        )
        os.environ["DAGSTER_HOME"] = str(self.home / "dagster")
        os.environ["HARVESTER_POSTGRES_URL"] = url
        os.environ["DAGSTER_POSTGRES_URL"] = dagster_settings.storage_url(url)
        os.environ["HARVESTER_MAX_CONCURRENT_SETS"] = "4"
        for name in ("DAGSTER_HOME", "DAGSTER_POSTGRES_URL", "HARVESTER_POSTGRES_URL", "HARVESTER_MAX_CONCURRENT_SETS"):
            self._stack.callback(os.environ.pop, name, None)
        self.instance = self._stack.enter_context(dg.DagsterInstance.get())

    def let_go(self) -> None:
        """Use its store no longer, so that it may be the last one to do so."""
        self._stack.close()

    def stop(self) -> int:
        """Ctrl-C, as a terminal sends it; its exit code."""
        self.let_go()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(120)

    def cut(self) -> int:
        """As when the machine loses its power: every process is killed at once; how many there were."""
        self.let_go()
        found = self.processes()
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(60)
        return len(found)

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """Every process that carries this installation's folder in its environment or its command."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                inside = process.environ().get("HARVESTER_HOME") == str(self.home)
                if inside or any(str(self.home) in argument for argument in process.cmdline()):
                    found.append(process)
        return found

    def daemon(self) -> psutil.Process | None:
        named = [child for child in psutil.Process(self.process.pid).children() if _runs(child, "dagster-daemon")]
        return named[0] if named else None

    def push_worker(self) -> psutil.Process | None:
        found = [child for child in psutil.Process(self.process.pid).children() if _runs(child, "push")]
        return found[0] if found else None

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Another command beside it."""
        return subprocess.run(
            [str(BIN / "harvester"), *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=500,
            **options,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(BIN / "harvester"), *arguments],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    # Its nights.

    def night(self) -> int:
        """Open one, as `harvester night` does; its id."""
        with self.store.connection() as connection:
            return nights.open_night(connection, self.config, utc_now()).night_id

    def wait_for_night(self, night_id: int) -> None:
        eventually(
            lambda: (
                self.one("SELECT ended_at FROM night WHERE night_id = %s", night_id)
                and all(run.is_finished for run in self.releases(night_id))
            ),
            f"the end of night {night_id}",
            lambda: self.told_of(night_id),
        )

    def told_of(self, night_id: int) -> str:
        """What became of a night, for the message of a test that fails."""
        said = [str(row) for row in self.rows("SELECT * FROM night_set WHERE night_id = %s", night_id)]
        said += [str(row) for row in self.rows("SELECT * FROM night ORDER BY night_id DESC LIMIT 3")]
        for record in self.instance.get_run_records(limit=30):
            run = record.dagster_run
            tags = {name: value for name, value in run.tags.items() if "harvest" in name or "retry" in name}
            said.append(f"{record.create_timestamp} {run.job_name} {run.run_id[:8]} {run.status.value} {tags}")
        return "\n".join(said)

    def outcomes(self, night_id: int) -> dict[str, str | None]:
        return dict(
            self.rows(
                "SELECT s.key, n.outcome FROM night_set n JOIN harvest_set s USING (set_id) WHERE night_id = %s",
                night_id,
            )
        )

    def runs(self, **tags: str) -> list[dg.DagsterRun]:
        """Newest first."""
        named = {name.replace("_", "/", 1): value for name, value in tags.items()}
        return list(self.instance.get_runs(dg.RunsFilter(tags=named)))

    def releases(self, night_id: int) -> list[dg.DagsterRun]:
        return [run for run in self.runs(harvest_night=str(night_id)) if run.job_name == "release"]

    def pid(self, run_id: str) -> int:
        """The process that executes a run."""
        for entry in self.instance.all_logs(run_id):
            if found := re.search(r"process \(pid: (\d+)\)", entry.message or ""):
                return int(found[1])
        raise AssertionError(f"run {run_id} has no process yet")

    def current(self) -> int | None:
        found = self.rows("SELECT version_id FROM current_version")
        return found[0][0] if found else None

    def generations(self) -> dict[str, int]:
        """What is published: the generation of each set."""
        return dict(
            self.rows(
                """SELECT s.key, v.gen FROM current_version c JOIN dataset_version_set v USING (version_id)
                   JOIN harvest_set s USING (set_id)"""
            )
        )

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.store.connection() as connection:
            return connection.execute(query, parameters or None).fetchall()

    def one(self, query: str, *parameters: Any) -> Any:
        ((value,),) = self.rows(query, *parameters)
        return value


def _runs(process: psutil.Process, program: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(program in argument for argument in process.cmdline())
    return False


def eventually(
    probe: Callable[[], Found], what: str, otherwise: Callable[[], str] = lambda: "", seconds: float = 400
) -> Found:
    """Wait until something holds, and give it back."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}. {otherwise()}"
        time.sleep(0.2)
    return found
