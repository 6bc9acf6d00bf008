"""The process that loads the definitions, for the daemon and the UI of one command; runs are its children.

Left alone, each of the two starts a server of its own, which ends when it hears nothing from it for 20 to 45 seconds:
on a busy machine it took runs and backfills with it. Ours has no heartbeat; it is watched as the daemon is, and ends
with the command. Dagster's page: https://docs.dagster.io/deployment/code-locations/running-code-locations-as-grpc-server
"""

import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from harvester_dagster.cli import forked_runs
from harvester_dagster.config import home
from harvester_dagster.services.children import ChildFailed, Kept

NAME = "dagster-code-server"
MODULE = "harvester_dagster.definitions"
_START_SECONDS = 300
"""A busy machine may import for so long."""


class CodeServer:
    """Dagster's code server, started when it is first needed. Only this user can reach its socket.

    The socket lies in a folder of its own: below an installation's its path may be longer than a socket's may be.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="harvester-"))
        self._socket, self.workspace = self._folder / "code.sock", self._folder / "workspace.yaml"
        """The file by which Dagster's programs find it (`-w`)."""
        self.workspace.write_text(
            f"load_from: [{{grpc_server: {{socket: {self._socket}, location_name: {MODULE}}}}}]\n"
        )
        argv = [sys.executable, "-m", forked_runs.__name__]
        argv += ["api", "grpc", "--module-name", MODULE, "--socket", str(self._socket)]
        self._child = Kept(NAME, argv, home(), prepare=lambda: self._socket.unlink(missing_ok=True), spares=True)

    def ensure(self) -> bool:
        """Start it where it does not run; whether it answers, which nobody waits for but at first. The runs of one that
        died go on. Raises ChildFailed, which says why the definitions cannot be loaded."""
        try:
            self._child.start(self._answers, _START_SECONDS)
        except ChildFailed as error:
            raise _said_by_python(home() / "logs" / f"{NAME}.log") or error from error
        self._child.ensure()
        return self._answers()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._socket)) == 0

    def __enter__(self) -> "CodeServer":
        return self

    def __exit__(self, *given: object) -> None:
        self._child.__exit__(*given)
        shutil.rmtree(self._folder, ignore_errors=True)


def _said_by_python(log: Path) -> ChildFailed | None:
    """What was raised while the definitions were loaded, in a line; None: it ended of something else."""
    said = re.search(r"^[A-Za-z][\w.]*: (.+)", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return ChildFailed(f"Dagster cannot load the definitions: {said[1][:500]} (more in {log})") if said else None
