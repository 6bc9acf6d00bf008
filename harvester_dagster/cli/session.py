"""What a command needs, started and stopped again; or what `up` has running, used.

Belongs here: finding the configuration, the embedded services, Dagster's own processes. Does not belong here: what a
command then does.
"""

import contextlib
import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from harvester_dagster import config as configuration
from harvester_dagster import installation
from harvester_dagster.cli import dagster_settings
from harvester_dagster.cli.code_server import CodeServer
from harvester_dagster.config import Config, home
from harvester_dagster.demo.configuration import demo_config
from harvester_dagster.demo.service import SAMPLE
from harvester_dagster.explain import config_check
from harvester_dagster.installation import Installation
from harvester_dagster.processes.beside import beside
from harvester_dagster.services import launcher, unix_socket
from harvester_dagster.services.children import Kept
from harvester_dagster.services.sharing import running
from harvester_dagster.sets import sets
from harvester_dagster.store import database
from harvester_dagster.store.objects import Objects

DEMO_FILE = "demo.toml"
STORE_LOOK_SECONDS = 3.0
Start = Callable[[Path], contextlib.AbstractContextManager[str]]


def config_path() -> Path:
    """`HARVESTER_CONFIG`, else `harvester.toml` here, else the demonstration's when `make run` has made one."""
    if named := os.environ.get("HARVESTER_CONFIG"):
        return Path(named)
    demo = home() / DEMO_FILE
    return demo if demo.exists() and not configuration.DEFAULT_FILE.exists() else configuration.DEFAULT_FILE


def loaded(*, for_tasks: bool = False) -> Config:
    """The configuration, and that it can run. `for_tasks`: its environment too. Raises ConfigError."""
    return config_check.load(config_path(), environment=os.environ if for_tasks else None)


@contextlib.contextmanager
def demonstration(cases: Sequence[str] = ()) -> Iterator[str]:
    """The sample sources, with those that play these cases, and their configuration as the one in use; yields the
    server's address."""
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    with running(SAMPLE, folder) as sample:
        (folder / DEMO_FILE).write_text(demo_config(sample.url, cases), encoding="utf-8")
        os.environ["HARVESTER_CONFIG"] = str(folder / DEMO_FILE)
        yield sample.url


@contextlib.contextmanager
def services(config: Config, *, for_tasks: bool = False) -> Iterator[str]:
    """The embedded services that the configuration asks for; yields the store's URL. `for_tasks`: a night's, too. The
    store is started again where it ends meanwhile.

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
        url = installation.postgres_url(config)
        if url is None:
            url = stack.enter_context(launcher.postgres(folder))
            stack.enter_context(beside("store", _EmbeddedStore().look, STORE_LOOK_SECONDS))
        os.environ[config.store.postgres_url_env] = url
        if for_tasks and not config.tasks.tika_url and "tika" not in config.tasks.disabled:
            _offer(stack, "HARVESTER_TIKA_URL", launcher.tika, "full texts")
        yield url


class _EmbeddedStore:
    """Our own PostgreSQL, started again where it ended, at the same address. Why it cannot be had is said once."""

    def __init__(self) -> None:
        self._told = ""

    def look(self) -> None:
        said = ""
        try:
            with launcher.postgres(home()):
                pass
        except (launcher.Unavailable, OSError, ValueError) as error:
            said = f"the store cannot be started: {error}"
        if said and said != self._told:
            print(said, file=sys.stderr, flush=True)
        self._told = said


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
def opened(*, for_tasks: bool = False, migrates: bool = False) -> Iterator[Installation]:
    """The installation, its store started when nobody else has it running, its sets those of the configuration.

    A store that is new gets its schema; an older one's is brought up to date by what `migrates`, and by nothing in a
    copy that only looks, which retires no set of the store either. Raises OtherSchema where it is not.
    """
    config = loaded(for_tasks=for_tasks)
    with services(config, for_tasks=for_tasks) as url:
        if migrates and config.night.automation:
            database.migrate(url)
        else:
            database.make(url)
        with installation.opened(config, url, objects=bucket(config)) as found:
            if config.night.automation:
                sets.synchronise(found.pool, config, found.clock())
            yield found


def bucket(config: Config) -> Objects | None:
    """Where objects are kept in S3; Dagster's resource makes the client, here too. None: in a folder."""
    if config.store.objects == "folder":
        return None
    from resources.objects import objects_resource

    return objects_resource(config.store).opened()


def dagster_home(config: Config) -> Path:
    """Dagster's folder, with its settings, and in the environment what they take from this configuration."""
    folder = home() / "dagster"
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    if said := dagster_settings.place(folder, of_one_source=config.night.sets_of_one_source):
        print(said, file=sys.stderr)
    if url := installation.postgres_url(config):
        os.environ["DAGSTER_POSTGRES_URL"] = dagster_settings.storage_url(url)
    os.environ["HARVESTER_MAX_CONCURRENT_SETS"] = str(config.night.max_concurrent_sets)
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

    def __init__(self, config: Config, code: CodeServer) -> None:
        self._folder, self._code = dagster_home(config), code
        argv = [_program("dagster-daemon"), "run", "-w", str(code.workspace)]
        self._child, self._stack = Kept("dagster-daemon", argv, home()), contextlib.ExitStack()
        self.is_ours = False

    def ensure(self) -> bool:
        """Start it when nobody has it running, or ours has died; whether it is ours.

        The runs of one that died go on, and the new one watches them.
        """
        if not self.is_ours and not self._is_taken():
            return False
        if self._code.ensure():  # without it the daemon would look for the definitions again after a minute
            self._child.ensure()
        return True

    def _is_taken(self) -> bool:
        """Whether its lock was free, and is ours now."""
        lock = os.open(self._folder / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._stack.callback(os.close, lock)
        self.is_ours = True
        return True

    def __enter__(self) -> "Daemon":
        self._stack.enter_context(self._child)
        return self

    def __exit__(self, *_: object) -> None:
        self._child.__exit__()
        self._stack.close()


_EVERYWHERE = ("0.0.0.0", "::", "[::]")
"""Where something listens and is not asked for."""


class Webserver:
    """Dagster's UI behind our door (`dagster_ui.py`), while the block lasts; started anew when it has died."""

    def __init__(self, config: Config, port: int, code: CodeServer) -> None:
        dagster_home(config)
        self._code = code
        self.url = f"http://{'localhost' if config.web.host in _EVERYWHERE else config.web.host}:{port}"
        self.socket = home() / f"ui-{port}.sock"
        argv = [sys.executable, "-P", "-m", "harvester_dagster.cli.dagster_ui", "--socket", str(self.socket)]
        argv += ["--host", config.web.host, "--port", str(port), "-w", str(code.workspace)]
        self._child = Kept("dagster-webserver", argv, home(), prepare=self._clear)

    def ensure(self) -> None:
        """Start it where it does not run."""
        if self._code.ensure():
            self._child.ensure()

    def _clear(self) -> None:
        self.socket.unlink(missing_ok=True)

    def __enter__(self) -> "Webserver":
        self._code.ensure()
        self._child.start(partial(unix_socket.is_listening, self.socket), timeout=600)
        return self

    def __exit__(self, *given: object) -> None:
        self._child.__exit__(*given)
        self._clear()


class PushWorker(Kept):
    """`harvester push work` as a child (`push.py`), not yet started."""

    def __init__(self, config: Config) -> None:
        dagster_home(config)
        super().__init__(
            "push-worker", [sys.executable, "-P", "-m", "harvester_dagster.cli.main", "push", "work"], home()
        )


def _program(name: str) -> str:
    """A command of Dagster's, from the environment that runs this one."""
    return str(Path(sys.executable).with_name(name))
