"""A real proxy before the real Solr: what a test wants to happen between two requests happens here."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import requests


class Asked(NamedTuple):
    path: str
    body: bytes

    @property
    def is_update(self) -> bool:
        return "/update" in self.path and self.body.startswith(b"[")

    @property
    def is_page(self) -> bool:
        return "/select" in self.path and b"cursorMark" in self.body


class Instead(NamedTuple):
    """What is answered in Solr's place."""

    status: int
    body: bytes = b"<html>no</html>"
    headers: dict[str, str] = {}  # noqa: RUF012


class Cut(Exception):
    """The connection is cut, before or after Solr has heard of the request."""


Before = Callable[[Asked], Instead | None]
After = Callable[[Asked], None]


class Proxy:
    """Counts, and lets a test meddle: `before` may answer itself; `after` runs when Solr has answered."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/solr"
        self.before: Before = lambda _asked: None
        self.after: After = lambda _asked: None
        self.asked: list[Asked] = []
        self.answered: list[Asked] = []
        """By Solr, and passed on."""
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    @property
    def updates(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.is_update]


@contextmanager
def meddling(solr_url: str) -> Iterator[Proxy]:
    root = solr_url.removesuffix("/solr")
    sessions = threading.local()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer of two writes waits 40 ms otherwise

        def do_GET(self) -> None:
            self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.path, body)
            with proxy.lock:
                proxy.asked.append(asked)
                if asked.is_update:
                    proxy.in_flight += 1
                    proxy.most_in_flight = max(proxy.most_in_flight, proxy.in_flight)
            try:
                instead = proxy.before(asked)
                if instead is not None:
                    self._answer(instead.status, instead.body, instead.headers)
                    return
                http = getattr(sessions, "http", None) or requests.Session()
                sessions.http = http
                headers = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "authorization")}
                try:
                    answer = http.request(self.command, root + self.path, data=body, headers=headers, timeout=60)
                except requests.RequestException:
                    raise Cut from None
                proxy.after(asked)
                self._answer(answer.status_code, answer.content, {"Content-Type": answer.headers["Content-Type"]})
                proxy.answered.append(asked)
            except Cut:
                self.close_connection = True
            finally:
                if asked.is_update:
                    with proxy.lock:
                        proxy.in_flight -= 1

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked was killed
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = Proxy(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
