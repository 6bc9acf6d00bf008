"""What a command needs, started and stopped again; or what `up` has running, used.

Belongs here: finding the configuration, the embedded services, Dagster's own processes. Does not belong here: what a
command then does.
"""

import contextlib
import fcntl
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from harvester_dagster import config as configuration
from harvester_dagster import installation
from harvester_dagster.config import Config, home
from harvester_dagster.harvesting import sets
from harvester_dagster.installation import Installation
from harvester_dagster.services import launcher
from harvester_dagster.services.children import ChildFailed, child
from harvester_dagster.services.sample.demo import demo_config
from harvester_dagster.services.sample.service import SAMPLE
from harvester_dagster.services.sharing import running

DEMO_FILE = "demo.toml"
Start = Callable[[Path], contextlib.AbstractContextManager[str]]


def config_path() -> Path:
    """`HARVESTER_CONFIG`, else `harvester.toml` here, else the demonstration's when `make run` has made one."""
    if named := os.environ.get("HARVESTER_CONFIG"):
        return Path(named)
    demo = home() / DEMO_FILE
    return demo if demo.exists() and not configuration.DEFAULT_FILE.exists() else configuration.DEFAULT_FILE


def loaded() -> Config:
    return configuration.load(config_path())


@contextlib.contextmanager
def demonstration() -> Iterator[str]:
    """The sample sources, and their configuration as the one in use; yields the server's address."""
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    with running(SAMPLE, folder) as sample:
        (folder / DEMO_FILE).write_text(demo_config(sample.url), encoding="utf-8")
        os.environ["HARVESTER_CONFIG"] = str(folder / DEMO_FILE)
        yield sample.url


@contextlib.contextmanager
def services(config: Config, *, for_tasks: bool = False) -> Iterator[str]:
    """The embedded services that the configuration asks for; yields the store's URL. `for_tasks`: a night's, too.

    Their addresses stand in the environment, so that Dagster's processes find them too. One that cannot be had is
    named in one sentence, and the night goes on without it where it can.
    """
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if for_tasks and not config.index.url:
            _hold(stack, launcher.opensearch, "search index")
        if config_path() == folder / DEMO_FILE:
            stack.enter_context(running(SAMPLE, folder))
        url = installation.postgres_url(config) or stack.enter_context(launcher.postgres(folder))
        os.environ[config.store.postgres_url_env] = url
        if for_tasks and not config.tasks.tika_url and "tika" not in config.tasks.disabled:
            _offer(stack, "HARVESTER_TIKA_URL", launcher.tika, "full texts")
        yield url


def _hold(stack: contextlib.ExitStack, service: Start, serves: str) -> None:
    """Keep a service up while a command runs. It starts beside what else is done: who needs it waits until it is up."""
    held = service(home())
    starter = ThreadPoolExecutor(1)
    begun = starter.submit(held.__enter__)

    def leave() -> None:
        starter.shutdown()
        if begun.exception() is None:
            held.__exit__(None, None, None)

    def tell(done: Future[str]) -> None:
        if isinstance(error := done.exception(), launcher.Unavailable):
            print(f"No {serves} tonight: {error}", file=sys.stderr)

    stack.callback(leave)
    begun.add_done_callback(tell)


def _offer(
    stack: contextlib.ExitStack,
    variable: str,
    service: Start,
    serves: str,
) -> None:
    """Start a service that a night can do without."""
    if variable in os.environ:
        return
    try:
        os.environ[variable] = stack.enter_context(service(home()))
        stack.callback(os.environ.pop, variable, None)
    except launcher.Unavailable as error:
        print(f"No {serves} tonight: {error}", file=sys.stderr)


@contextlib.contextmanager
def opened(*, for_tasks: bool = False) -> Iterator[Installation]:
    """The installation, its store started when nobody else has it running, its sets those of the configuration."""
    config = loaded()
    with services(config, for_tasks=for_tasks) as url, installation.opened(config, url, s3=_s3(config)) as found:
        sets.synchronise(found.pool, config, found.clock())
        yield found


def _s3(config: Config) -> Callable[[], Any]:
    """A client as boto3 finds its credentials; only built when objects are kept in S3."""

    def client() -> Any:
        import boto3
        from botocore.config import Config as BotoConfig

        return boto3.client(
            "s3",
            endpoint_url=config.store.s3_endpoint or None,
            config=BotoConfig(s3={"addressing_style": "path"} if config.store.s3_endpoint else {}),
        )

    return client


DAGSTER_YAML = """\
# Written anew at every start. What can be set is in harvester.toml.
storage:
  postgres:
    postgres_url:
      env: {variable}
concurrency:
  runs:
    max_concurrent_runs: {sets}
    tag_concurrency_limits:
      - key: harvest/source
        value: {{applyLimitPerUniqueValue: true}}
        limit: {per_source}
      - key: dagster/partition
        value: {{applyLimitPerUniqueValue: true}}
        limit: 1
run_queue:
  dequeue_interval_seconds: 1
  dequeue_use_threads: true  # a launch waits until its process has imported everything
  dequeue_num_workers: 2
  max_user_code_failure_retries: 2
  user_code_failure_retry_delay: 10
sensors:
  use_threads: true  # an alert to a slow address holds up no release
  num_workers: 2
run_retries:
  enabled: true  # once, of a run whose process died or never started; what failed by itself fails again
  max_retries: 1
  retry_on_asset_or_op_failure: false
run_monitoring:
  enabled: true
  poll_interval_seconds: 10
  start_timeout_seconds: 180
retention:
  schedule: {{purge_after_days: 30}}
  sensor:
    purge_after_days: {{skipped: 1, failure: 30, success: 30}}
telemetry:
  enabled: false
nux:
  enabled: false
"""


def dagster_home(config: Config) -> Path:
    """Dagster's folder, with its settings as this configuration wants them."""
    folder = home() / "dagster"
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    text = DAGSTER_YAML.format(
        variable=config.store.postgres_url_env,
        sets=config.night.max_concurrent_sets,
        per_source=max(1, config.night.max_concurrent_sets // 2),
    )
    (folder / "dagster.yaml").write_text(text, encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ["HARVESTER_CONFIG"] = str(config_path().absolute())
    os.environ["HARVESTER_HOME"] = str(home())
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    # A busy machine took longer than Dagster's 60 s to start a process, and the set missed its night.
    os.environ.setdefault("DAGSTER_GRPC_TIMEOUT_SECONDS", "300")
    return folder


class Daemon:
    """Dagster's daemon: one for an installation, run by whichever command holds its lock.

    A command that finds it running elsewhere uses it; when that one goes, the next one that looks takes over.
    """

    def __init__(self, config: Config) -> None:
        self._folder = dagster_home(config)
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.is_ours = False

    def ensure(self) -> bool:
        """Start it when nobody has it running, or ours has died; whether it is ours.

        The runs of one that died go on, and the new one watches them.
        """
        if self._process is not None and self._process.poll() is not None:
            self._start()
        if not self.is_ours:
            lock = os.open(self._folder / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return False
            self._stack.callback(os.close, lock)
            self._start()
            self.is_ours = True
        return True

    def _start(self) -> None:
        self._process = self._stack.enter_context(child("dagster-daemon", _dagster("dagster-daemon", "run"), home()))

    def check_definitions(self) -> None:
        """Raise ChildFailed when Dagster could not load the definitions: nothing would ever begin."""
        log = home() / "logs" / "dagster-daemon.log"
        said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        if found := re.search(r"Error loading repository location [^:]*:(.*)", said):
            raise ChildFailed(f"Dagster cannot load the definitions: {found[1].strip()[:500]} (more in {log})")

    def close(self) -> None:
        self._stack.close()
        self.is_ours, self._process = False, None

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Webserver:
    """The Dagster UI on loopback, while the block lasts."""

    def __init__(self, config: Config, port: int) -> None:
        dagster_home(config)
        self._port, self._stack = port, contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{port}"

    def ensure(self) -> None:
        """Start it anew when it has died."""
        if self._process and self._process.poll() is not None:
            self._start()

    def _start(self) -> None:
        argv = _dagster("dagster-webserver", "--host", "127.0.0.1", "--port", str(self._port))
        ready = partial(_listens, self._port)
        self._process = self._stack.enter_context(child("dagster-webserver", argv, home(), ready=ready, timeout=120))

    def __enter__(self) -> "Webserver":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _dagster(program: str, *arguments: str) -> list[str]:
    """Dagster's own command, from the environment that runs this one, with this project's definitions."""
    return [str(Path(sys.executable).with_name(program)), *arguments, "-m", "harvester_dagster.definitions"]
