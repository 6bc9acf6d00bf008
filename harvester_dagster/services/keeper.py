"""The keeper of one running service: a small process between its users and the server.

It starts the server, and stops it when nobody uses it any more: it waits for the exclusive lock on `users.lock`, which
the kernel grants when the last user has gone, killed ones included. The server dies with its keeper, and inherits
`server.lock` from it, which is free when nothing of them is left. Standard library only: it is up in some 50 ms.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from harvester_dagster.services.spawn import Account, end, kill_group, spawn


def keep(folder: Path, server_lock: int) -> None:
    """Start the server that `launch.json` of the folder describes, and stop it when its last user has gone. The
    server inherits `server_lock`, an open file descriptor."""
    launch: dict[str, Any] = json.loads((folder / "launch.json").read_text())
    stop = signal.Signals(launch["stop"])
    users = os.open(folder / "users.lock", os.O_RDWR)
    server = spawn(
        launch["argv"],
        sys.stdout.buffer,
        env=launch["env"],
        cwd=Path(launch["cwd"]),
        account=Account(*launch["account"]) if launch["account"] else None,
        death_signal=stop,
        inherits=[server_lock],
    )
    threading.Thread(target=_end_with, args=[server], daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        fcntl.flock(users, fcntl.LOCK_EX)
    finally:
        end(server, stop, launch["patience"])


def _end_with(server: subprocess.Popen[bytes]) -> None:
    server.wait()
    kill_group(server)
    os._exit(0)


if __name__ == "__main__":
    if os.fork():  # whoever started it need not wait for its end
        os._exit(0)
    keep(Path(sys.argv[1]), int(sys.argv[2]))
