"""What services need and the project does not carry: fetched once, verified against pinned digests, kept in a cache.

Belongs here: the cache folder (`HARVESTER_CACHE`, default `~/.cache/harvester_dagster`), where two processes that
fetch at once end with one whole copy, and the tools that fetch. Does not belong here: what is fetched for whom.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harvester_dagster.services.sharing import Unavailable

_log = logging.getLogger(__name__)


def cached(name: str, made_from: Sequence[bytes], make: Callable[[Path], None]) -> Path:
    """A folder of the cache, filled by `make` unless one that was made from the same is there; whole or absent,
    whoever is killed. Raises what `make` does."""
    root = Path(os.environ.get("HARVESTER_CACHE") or Path.home() / ".cache" / "harvester_dagster").absolute()
    key = hashlib.sha256(b"\0".join(made_from)).hexdigest()[:12]
    folder = root / f"{name}-{key}"
    if folder.exists():
        return folder
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for half_made in root.glob(f"{name}.*/"):
                shutil.rmtree(half_made)
            _log.info("Fetching %s, once", name)
            with tempfile.TemporaryDirectory(dir=root, prefix=f"{name}.") as new:
                make(Path(new) / "made")
                Path(new, "made").rename(folder)
    return folder


def verify(folder: Path, digests: str) -> None:
    """Compare the files of a folder with a list in the format of sha256sum. Raises Unavailable."""
    expected = {name: digest for digest, name in (line.split() for line in digests.splitlines())}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    if found != expected:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise Unavailable(
            f"what was downloaded is not what is pinned ({', '.join(wrong)})", "check your package mirror"
        )


def run_tool(argv: Sequence[str], mend: str, env: Mapping[str, str] | None = None) -> None:
    """Run a program that fetches or builds. Raises Unavailable, naming `mend` when the program is not there."""
    program = shutil.which(argv[0])
    if not program:
        raise Unavailable(f"{argv[0]} is missing", mend)
    done = subprocess.run([program, *argv[1:]], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-800:]
        raise Unavailable(f"{argv[0]} failed: {said}", f"is the network there, and the program recent enough ({mend})?")
