"""HTTP services on loopback: a free port for them, and whether they answer.

Belongs here: what the rows of HTTP services share. A port is free when it is chosen; a start that finds it taken
meanwhile fails and is repeated (`Service.passing`).
"""

import http.client
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from harvester_dagster.services.sharing import Launch


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free at this moment."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def answers(path: str) -> Callable[[Launch], bool]:
    """A test of readiness: the server answers 200 to a GET of this path."""

    def ready(launch: Launch) -> bool:
        connection = http.client.HTTPConnection(urlsplit(launch.url).netloc, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return ready
