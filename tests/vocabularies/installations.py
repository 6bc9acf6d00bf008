"""An installation on a real store, and a real server of vocabularies whose answers a test sets."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harvester_dagster.config import Config, Network, Skos, VocabularySettings
from harvester_dagster.installation import Installation, opened, utc_now


class VocabularyServer(ThreadingHTTPServer):
    """Serves `content` with `status` under every path."""

    content = b""
    status = 200


class _Handler(BaseHTTPRequestHandler):
    server: VocabularyServer

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[VocabularyServer]:
    with VocabularyServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


Open = Callable[..., Installation]


@pytest.fixture
def installed(
    database: str, server: VocabularyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Opens an installation that harvests these vocabularies from the server; all share one store."""
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    with ExitStack() as stack:

        def install(*names: str, clock: Callable[[], datetime] = utc_now) -> Installation:
            url = f"http://127.0.0.1:{server.server_port}"
            config = Config(
                network=Network(allow_hosts=("127.0.0.1",), per_host_per_second=10_000),
                vocabularies=VocabularySettings(skos=tuple(Skos(name=name, url=f"{url}/{name}") for name in names)),
            )
            return stack.enter_context(opened(config, database, clock=clock))

        yield install
