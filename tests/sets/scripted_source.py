"""A source that a test scripts: a real HTTP server on loopback that serves Sharekit's JSON:API, and files.

Belongs here: what is served and how to change it in one line. What it serves is what the test put there, in the order
in which it was put; a delta holds what was changed since.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Record = dict[str, Any]
EVERYTHING = "0001-01-01T00:00:00Z"
"""The window of whoever names none."""


class ScriptedSource(ThreadingHTTPServer):
    """`now` is the moment that the test's clock shows; a change made by `put` or `delete` carries it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.now = datetime.min
        self.records: dict[str, dict[str, tuple[datetime, Record]]] = {}
        """By set, then by id: when it was changed, and what is served of it."""
        self.again: list[Record] = []
        """Records that come once more after the others, whatever the window."""
        self.page_size = 3
        self.status = 200
        """What its lists answer with; permanent ones fail a harvest at once."""
        self.breaks_at: int | None = None
        """The page of each list, from 0, that is refused."""
        self.files: dict[str, int | tuple[int, str]] = {}
        """Status (and ETag) of a file by its path; others answer 200."""
        self.contents: dict[str, bytes] = {}
        """What a file holds, by its path; others hold `text`."""
        self.asked: list[str] = []
        """The path and query of each request."""

    def put(self, *ids: str, spec: str = "one", **values: Any) -> None:
        """New or changed records, with these values over the usual ones."""
        for name in ids:
            self._keep(spec, name, self.record(name, **values))

    def record(self, name: str, files: tuple[str, ...] = ("a",), **values: Any) -> Record:
        attributes = {
            "title": f"Title of {name}",
            "publishedAt": "2021-05-06",
            "modifiedAt": f"{self.now:%Y-%m-%dT%H:%M:%SZ}",
            "owner": {"id": "o1", "name": "An owner", "type": "institute"},
            "files": [
                {
                    "url": f"{self.url}/files/{name}/{file}" if "/" not in file else f"{self.url}/files/{file}",
                    "fileName": f"{file}.txt",
                    "resourceMimeType": "text/plain",
                    "accessRight": "openaccess",
                }
                for file in files
            ],
            **values,
        }
        status = attributes.pop("status", "active")
        return {"type": "repoItem", "id": name, "meta": {"status": status}, "attributes": attributes}

    def delete(self, *ids: str, spec: str = "one") -> None:
        """As Sharekit does: a deleted record without attributes."""
        for name in ids:
            gone = {"type": "repoItem", "id": name, "meta": {"status": "deleted", "deletedAt": "x"}, "attributes": []}
            self._keep(spec, name, gone)

    def spoil(self, *ids: str, spec: str = "one") -> None:
        """Records that cannot be extracted."""
        for name in ids:
            self._keep(spec, name, {"type": "repoItem", "id": name, "meta": {"status": "active"}})

    def forget(self, *ids: str, spec: str = "one") -> None:
        """Records that are no longer served at all."""
        for name in ids:
            del self.records[spec][name]

    def _keep(self, spec: str, name: str, record: Record) -> None:
        self.records.setdefault(spec, {})[name] = (self.now, record)

    def page(self, spec: str, query: Mapping[str, list[str]]) -> Any:
        asked = query.get("filter[modified][GE]", [EVERYTHING])[0]
        since = datetime.fromisoformat(asked)
        served = [record for changed, record in self.records.get(spec, {}).values() if changed >= since] + self.again
        number = int(query.get("page", ["0"])[0])
        start = number * self.page_size
        following = f"?filter[modified][GE]={asked}&page={number + 1}"
        more = start + self.page_size < len(served)
        return {"data": served[start : start + self.page_size], "links": {"next": following} if more else {}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    server: ScriptedSource

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.asked.append(self.path)
        if parts.path.startswith("/files/"):
            name = parts.path.removeprefix("/files/")
            status = self.server.files.get(name, 200)
            status, tag = status if isinstance(status, tuple) else (status, "a")
            content = self.server.contents.get(name, b"text")
            self._answer(status, content, {"Content-Type": "text/plain", "ETag": f'"{tag}"'})
        elif self.server.status != 200:
            self._answer(self.server.status, b"no", {})
        elif parse_qs(parts.query).get("page", ["0"]) == [str(self.server.breaks_at)]:
            self._answer(404, b"no", {})
        elif not parts.path.endswith("/repoItems"):
            spec, name = unquote(parts.path.split("/")[-3]), unquote(parts.path.split("/")[-1])
            _, record = self.server.records.get(spec, {}).get(name, (None, None))
            answer = {"data": record} if record else {"errors": [{"title": "no such item"}]}
            self._answer(200 if record else 404, json.dumps(answer).encode(), {})
        else:
            spec = unquote(parts.path.split("/")[-2])
            self._answer(200, json.dumps(self.server.page(spec, parse_qs(parts.query))).encode(), {})

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def scripted_source() -> Iterator[ScriptedSource]:
    with ScriptedSource() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
