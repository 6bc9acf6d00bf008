"""A proxy before the real OpenSearch: what a test wants to go wrong on the way goes wrong here."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import requests


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_bulk(self) -> bool:
        return "/_bulk" in self.path


class Instead(NamedTuple):
    """What is answered in the server's place."""

    status: int
    body: bytes = b'{"error":{"type":"made_up","reason":"made up"}}'


class Cut(Exception):
    """The connection is cut."""


class Proxy:
    """`before` may answer itself or cut; `after` may cut when the server has done it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.before: Callable[[Asked], Instead | None] = lambda _asked: None
        self.after: Callable[[Asked], None] = lambda _asked: None
        self.asked: list[Asked] = []


@contextmanager
def meddling(server_url: str) -> Iterator[Proxy]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer of two writes waits 40 ms otherwise

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers.items()), body)
            proxy.asked.append(asked)
            try:
                instead = proxy.before(asked)
                if instead is None:
                    headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
                    answer = requests.request(
                        self.command, server_url + self.path, data=body, headers=headers, timeout=60
                    )
                    instead = Instead(answer.status_code, answer.content)
                    proxy.after(asked)
            except Cut:
                self.close_connection = True
                return
            self.send_response(instead.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(instead.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(instead.body)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass_on

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = Proxy(server.server_address[1])
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
