"""The sample source server: Edurep and Sharekit with recorded records and real files, on loopback, without a network.

Belongs here: the wire, the routes, and `serve()`. Standard library only, because some lies need the bare socket
(a connection closed without an answer, or in the middle of one).

    /edurep/oai                                                 OAI-PMH 2.0 (`oai_pmh.py`)
    /sharekit/jsonapi/channel/v1/{set}/repoItems                JSON:API (`json_api.py`)
    /files/…  /video/…                                          what the records point at (`served_files.py`)
    /cases/{name}                                               one source of the field (`served_cases.py`)
    POST /lie/{name}  /touch/{id}  /delete/{id}  /reset         change what the sources say
    GET  /requests                                              how often each path was asked for, by method
"""

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from harvester_dagster.demo import served_cases, served_edurep, served_files, served_sharekit
from harvester_dagster.demo.lies import Liar, SampleAnswer, UnknownLieError
from harvester_dagster.demo.records import Catalogue

_ZEROS: Final = bytes(64 * 1024)
_LONGEST_FORM: Final = 64 * 1024
_JSON_API: Final = "/sharekit/jsonapi/channel/v1/"


class SampleServer:
    """What is served, and the knobs that change it. Nothing survives the process."""

    def __init__(
        self, port: int, lie: str | None, token: str | None, now: Callable[[], datetime], slowness: float
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._token = token
        self._now, self._slowness = now, slowness
        self._liar = Liar(lie)
        self._catalogue = Catalogue(self.url_of)
        self._cases = served_cases.Cases()
        self._stopping = threading.Event()

    def url_of(self, path: str) -> str:
        """A path of this server as a URL. Videos have a host name of their own, as YouTube has: video hosts are told
        apart by name."""
        return f"http://localhost:{self.port}{path}" if path.startswith("/video/") else f"{self.url}{path}"

    def lie(self, name: str | None) -> None:
        """Tell this lie from now on; None or "none": the truth. Cases begin anew. Raises UnknownLieError."""
        self._liar.tell(name)
        self._cases.reset()

    def touch(self, id_: str) -> None:
        """Give a record another title, modified now. Raises KeyError for one that is unknown or deleted."""
        with self._lock:
            self._catalogue.touch(id_, self._second())

    def delete(self, id_: str) -> None:
        """Mark a record as deleted now. Raises KeyError for an unknown one."""
        with self._lock:
            self._catalogue.delete(id_, self._second())

    def reset(self) -> None:
        """Begin anew: the records as they were, the truth told, no request counted."""
        with self._lock:
            self._catalogue.reset()
            self._liar.tell(None)
            self._cases.reset()
            self._requests.clear()

    def requests(self) -> dict[str, int]:
        """How often each `METHOD /path` was asked for."""
        with self._lock:
            return dict(self._requests)

    def _second(self) -> datetime:
        return self._now().replace(microsecond=0)

    def answer(self, method: str, target: str, headers: Message, body: bytes = b"") -> SampleAnswer:
        """The answer to any request for `target`; counts it, and tells the lie of the moment. Only cases look at a
        body."""
        parts = urlsplit(target)
        path = unquote(parts.path)
        with self._lock:
            self._requests[f"{method} {path}"] += 1
        if path.startswith("/cases/"):
            return self._cases.answer(target, headers, body)
        if method == "POST":
            return self._change(path)
        arguments = parse_qs(parts.query, keep_blank_values=True)
        if path == "/edurep/oai":
            base = f"{self.url}/edurep/oai"
            answer = served_edurep.answer(self._catalogue, arguments, self._liar, base, self._second())
            return self._liar.twist(answer, "edurep", target)
        spec, is_channel, name = path.removeprefix(_JSON_API).partition("/repoItems")
        if path.startswith(_JSON_API) and is_channel:
            authorization = headers.get("Authorization", "")
            answer = served_sharekit.answer(
                self._catalogue, spec, name.removeprefix("/"), arguments, authorization, self._token, self._liar
            )
            return self._liar.twist(answer, "sharekit", target)
        if path.startswith(("/files/", "/video/")):
            return served_files.answer(method, path, headers, self.url_of)
        if path == "/requests":
            return SampleAnswer(json.dumps(self.requests()).encode(), content_type="application/json")
        if path == "/":
            return SampleAnswer(b"<html><body>The sample source server is ready.</body></html>")
        return SampleAnswer(b"<html><body>404: no such path</body></html>", 404)

    def _change(self, path: str) -> SampleAnswer:
        knob, _, value = path.removeprefix("/").partition("/")
        try:
            match knob:
                case "lie":
                    self.lie(value)
                case "touch":
                    self.touch(value)
                case "delete":
                    self.delete(value)
                case "reset":
                    self.reset()
                case _:
                    return SampleAnswer(b"no such knob", 404)
        except UnknownLieError as error:
            return SampleAnswer(str(error).encode(), 400, "text/plain; charset=utf-8")
        except KeyError:
            return SampleAnswer(b"no such record", 404)
        return SampleAnswer(status=204)

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        self._stopping.wait(seconds * self._slowness)

    def stop(self) -> None:
        """End every pause, because the server ends."""
        self._stopping.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "sample"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    timeout = 60
    server: "_Server"

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if length != "0":
            self.close_connection = True  # what is longer than a form stays unread
        body = self.rfile.read(int(length)) if length.isdecimal() and int(length) <= _LONGEST_FORM else b""
        answer = self.server.sample.answer(self.command, self.path, self.headers, body)
        if answer.wait:
            self.server.sample.pause(answer.wait)
        if answer.cut_at == 0:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body) + answer.zeros))
        self.end_headers()
        if self.command != "HEAD" and answer.status not in (204, 304):
            self._send_body(answer)

    do_GET = do_HEAD = do_POST = _serve

    def _send_body(self, answer: SampleAnswer) -> None:
        self.wfile.write(answer.body[: answer.cut_at])
        if answer.cut_at is not None:
            self.close_connection = True
        left = answer.zeros
        while left > 0:
            left -= self.wfile.write(_ZEROS[: min(left, len(_ZEROS))])

    def log_message(self, format: str, *args: object) -> None:
        """Silent: `/requests` counts."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sample: SampleServer
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news here."""


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def serve(
    port: int = 0,
    lie: str | None = None,
    token: str | None = None,
    now: Callable[[], datetime] = _now,
    slowness: float = 1.0,
) -> Iterator[SampleServer]:
    """Serve until the block ends. `port` 0: any free one. `token`: the bearer token that Sharekit asks for.

    `slowness`: the share of the usual seconds that slow answers take.
    """
    with ExitStack() as stack:
        server = stack.enter_context(_Server("127.0.0.1", port))
        sample = server.sample = SampleServer(server.server_address[1], lie, token, now, slowness)
        servers = [server]
        try:
            also = stack.enter_context(_Server("::1", sample.port))  # where `localhost` is looked for first
            also.sample = sample
            servers.append(also)
        except OSError:
            pass  # a machine without IPv6
        for each in servers:
            threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(each.shutdown)
        stack.callback(sample.stop)
        yield sample
