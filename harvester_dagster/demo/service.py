"""The sample source server as a row of the launcher's table: start and readiness.

It keeps its port from one start to the next, because its records hold URLs of itself: another port would be another
URL for every file, and the night after it would find everything changed. Belongs here: nothing that is served.
"""

import os
import socket
import sys
from pathlib import Path

from harvester_dagster.services.loopback import answers, free_port
from harvester_dagster.services.sharing import Launch, Service

PORT = "HARVESTER_SAMPLE_PORT"
"""The variable that names another port."""


def _launch(folder: Path) -> Launch:
    port = _kept_port(folder / "port")
    return Launch(
        url=f"http://127.0.0.1:{port}",
        argv=[sys.executable, "-P", "-m", "harvester_dagster.demo", "--port", str(port)],
        cwd=str(folder),
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        patience=5,
    )


def _kept_port(file: Path) -> int:
    if asked := os.environ.get(PORT, ""):
        file.write_text(asked)
        return int(asked)
    kept = file.read_text() if file.exists() else ""
    if kept.isdigit() and _is_free(int(kept)):
        return int(kept)
    port = free_port()
    file.write_text(str(port))
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


SAMPLE = Service("sample", _launch, answers("/"))
