"""What the tests of content tasks share: a web site of files, and a world (`Context`) around it made of real parts."""

import hashlib
import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.config import Config, SetSettings, parse
from harvester_dagster.outside.bodies import Bodies
from harvester_dagster.outside.http import Outside
from harvester_dagster.store.database import Pool, open_pool
from harvester_dagster.store.objects import Folder
from harvester_dagster.tasks.task import Context, Item, Outcome, Result, Subject, Task
from harvester_dagster.vocabularies.trees import Vocabularies
from tests.databases import copied

NOW = datetime(2026, 3, 1, 1, 30, tzinfo=UTC)


class Site:
    """Files under their names; counts who was asked for."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.files: dict[str, tuple[str, bytes]] = {}
        self.asked: Counter[str] = Counter()
        self.headers: dict[str, Mapping[str, str]] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # an answer of two writes waits 40 ms otherwise

            def do_GET(self) -> None:
                name = self.path.partition("?")[0]
                site.asked[name] += 1
                site.headers[name] = dict(self.headers)
                kind, body = site.files.get(name, ("", b""))
                self.send_response(200 if kind else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self.url = f"http://{host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def add(self, name: str, body: bytes, kind: str = "application/octet-stream") -> str:
        self.files[f"/{name}"] = (kind, body)
        return f"{self.url}/{name}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site()
    yield served
    served.stop()


@pytest.fixture(scope="session")
def pool(postgres_url: str, migrated: str) -> Iterator[Pool]:
    with copied(postgres_url, migrated) as url, open_pool(url, max_size=12) as opened:
        yield opened


@pytest.fixture
def world(pool: Pool, tmp_path: Path) -> Iterator[Context]:
    with a_world(pool, tmp_path / "objects") as made:
        yield made


@contextmanager
def a_world(pool: Pool, folder: Path) -> Iterator[Context]:
    """Real parts, loopback allowed, no politeness."""
    with Outside(allow_hosts=("127.0.0.1", "localhost"), per_host_per_second=math.inf, back_off=0.01) as outside:
        objects = Folder(folder)
        yield Context(
            key="sample:all",
            config=Config(),
            settings=SetSettings(kind="oai-pmh", url="http://127.0.0.1/oai"),
            now=NOW,
            outside=outside,
            objects=objects,
            bodies=Bodies(pool, objects, outside, lambda: NOW),
            vocabularies=Vocabularies(()),
        )


def with_tasks(world: Context, **settings: Any) -> Context:
    """The same world under other `[tasks]` settings."""
    return Context(**{**vars(world), "config": parse({"tasks": settings})})


def checked(validator: str | None = '"v1"', **data: Any) -> Result:
    """A success of `check_url`."""
    return Result("success", {"status": 200, "found": True, "validator": validator, **data}, "", None, 1, NOW)


def subject(url: str, *, check: Result | None = None, **properties: Any) -> Subject:
    """An OpenAccess file whose URL was checked."""
    return Subject({"url": url, "access_rights": "OpenAccess", **properties}, {"check_url": check or checked()})


def item(url: str, *, previous: Result | None = None, check: Result | None = None, **properties: Any) -> Item:
    known = subject(url, check=check, **properties)
    return Item(hashlib.sha256(url.encode()).digest(), known, previous, f"sample:all:{url}")


def retried(attempts: int) -> Result:
    return Result("retry", None, "before", None, attempts, NOW)


def outcomes(task: Task, items: list[Item], world: Context) -> dict[str, Outcome]:
    """The outcome of each by the last part of its URL; each item has exactly one."""
    found = [
        (str(one.subject.properties["url"]).rpartition("/")[2], outcome) for one, outcome in task.run(items, world)
    ]
    assert len(found) == len(items)
    return dict(found)
