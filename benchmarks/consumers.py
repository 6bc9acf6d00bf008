"""How fast the API answers, over real HTTP: the server in one process, a client in another.

The ceiling of lists is a bare ASGI application in the same server that streams the same bytes from COPY; of single
documents and of "nothing new", one that answers with nothing. Both are asked for in turn, the best of ROUNDS counts.
"""

import multiprocessing
import os
import random
import re
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import msgspec
import urllib3
import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from benchmarks.rows import Row
from benchmarks.search import KEY, SOURCE, accept, product
from harvester_dagster import config, installation
from harvester_dagster.config import Config
from harvester_dagster.installation import Installation
from harvester_dagster.services import launcher
from harvester_dagster.sets import sets, versions
from harvester_dagster.store.database import migrate
from harvester_dagster.web.api.consumer_api import PATH, consumer_api
from harvester_dagster.web.app import create_app

BLOCK = 256 * 1024
COPIED = """COPY (SELECT b.body FROM output o JOIN output_body b USING (doc_id, from_gen)
              WHERE o.published AND o.to_gen IS NULL ORDER BY o.doc_id) TO STDOUT"""


ROUNDS = 3


def measure(count: int = 20_000, seconds: int = 15) -> Iterator[Row]:
    """`count`: documents in the store; `seconds`: how long the mixture of requests lasts."""
    with tempfile.TemporaryDirectory(prefix="bench-consumers-") as folder, _store(Path(folder), count) as store:
        opened, read, database = store
        with _server(read, database) as url:
            yield from _reading(url, count)
            yield from _exports(url, count)
            yield from _changes(url, opened, count, seconds)
            yield from _mixed(url, opened, count, seconds)


@contextmanager
def _store(folder: Path, count: int) -> Iterator[tuple[Installation, Config, str]]:
    os.environ["HARVESTER_HOME"] = str(folder)
    with launcher.postgres(folder) as url:
        read = config.parse({"sources": {"bench": {**SOURCE, "sets": ["set"]}}, "index": {"url": "none"}})
        migrate(url)
        with installation.opened(read, url) as opened:
            sets.synchronise(opened.pool, read, opened.clock())
            accept(opened, {n: product(n) for n in range(count)})
            _released(opened)
            with opened.pool.connection() as connection:
                connection.execute("ANALYZE")
            yield opened, read, url


def _released(opened: Installation) -> versions.Version:
    version = versions.prepare(opened)
    assert version is not None
    return versions.promote(opened, version)


@contextmanager
def _server(read: Config, database: str) -> Iterator[str]:
    """In a process of its own; its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_served, args=(read, database, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _served(read: Config, database: str, pipe: Pipe) -> None:
    with installation.opened(read, database) as opened:

        async def nothing(_request: Request) -> Response:
            return Response(b"{}", media_type="application/json")

        def bare(_request: Request) -> Response:
            def blocks() -> Iterator[bytes]:
                """A block of many rows: each is handed over to another thread."""
                with opened.pool.connection() as connection, connection.cursor().copy(COPIED) as copy:
                    block = bytearray()
                    for chunk in copy:
                        block += chunk
                        if len(block) >= BLOCK:
                            yield bytes(block)
                            block.clear()
                    yield bytes(block)

            return StreamingResponse(blocks(), media_type="application/json")

        routes = [Route("/nothing", nothing), Route("/bare", bare), Mount(PATH, consumer_api(opened))]
        server = uvicorn.Server(
            uvicorn.Config(create_app(read.web, routes), port=0, log_level="warning", lifespan="off")
        )

        class Telling(uvicorn.Server):
            async def startup(self, *arguments: Any, **options: Any) -> None:
                await super().startup(*arguments, **options)
                pipe.send(f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}")

        Telling(server.config).run()


def _reading(url: str, count: int) -> Iterator[Row]:
    with urllib3.PoolManager() as http:
        chance = random.Random(1)
        ids = [chance.randrange(count) for _ in range(2_000)]
        bare = _seconds(http, [f"{url}/nothing"] * len(ids))
        ours = _seconds(http, [f"{url}{PATH}/product/{KEY}:p{number}/" for number in ids])
        p50, p99 = (1000 * each for each in (statistics.median(ours), statistics.quantiles(ours, n=100)[98]))
        floor = 1000 * statistics.median(bare)
        yield Row(f"one document of {count:,}, p50", p50, "ms", floor, floor / p50, "≤ 5 ms")
        yield Row(f"one document of {count:,}, p99", p99, "ms", 20, p99 / 20, "≤ 20 ms")
        ceiling = walked = 0.0
        for _ in range(ROUNDS):
            ceiling = max(ceiling, count / _streamed(http, f"{url}/bare")[0])
            found, took = _walked(http, f"{url}{PATH}/product/?page_size=1000")
            assert found == count
            walked = max(walked, count / took)
        yield Row(
            "list of 1,000 a page, the whole version", walked, "/s", ceiling, walked / ceiling, "≥ 20,000/s, ≥ 0.5"
        )


def _streamed(http: urllib3.PoolManager, address: str) -> tuple[float, int]:
    """Seconds and bytes of one answer."""
    begun = time.perf_counter()
    answer = http.request("GET", address, preload_content=False)
    size = sum(len(chunk) for chunk in answer.stream(1 << 20))
    assert answer.status == 200 and size
    return time.perf_counter() - begun, size


def _exports(url: str, count: int) -> Iterator[Row]:
    with urllib3.PoolManager() as http:
        address = f"{url}{PATH}/export/product/documents.ndjson"
        best: dict[str, float] = {}
        for _ in range(ROUNDS):
            for name in ("/bare", "", ".gz", ".zst"):
                seconds, _size = _streamed(http, f"{url}/bare" if name == "/bare" else address + name)
                best[name] = min(best.get(name, seconds), seconds)
        ceiling = count / best["/bare"]
        for name, target in (("", "≥ 0.7"), (".zst", ""), (".gz", "")):
            rate = count / best[name]
            yield Row(f"export of a version, .ndjson{name}", rate, "/s", ceiling, rate / ceiling, target)
        begun = time.perf_counter()
        manifest = msgspec.json.decode(http.request("GET", f"{url}{PATH}/export/product/", timeout=3_600).data)
        rate = count / (time.perf_counter() - begun)
        assert manifest["documents"] == count
        yield Row("export: the manifest, first asked", rate, "/s", ceiling, rate / ceiling, "")


def _walked(http: urllib3.PoolManager, address: str | None) -> tuple[int, float]:
    """Documents, and the seconds until the last page was there. What the client makes of a page is not in them, for of
    the bare stream it makes nothing either."""
    found, took = 0, 0.0
    while address:
        begun = time.perf_counter()
        answer = http.request("GET", address)
        took += time.perf_counter() - begun
        assert answer.status == 200, answer.data
        page = _page.decode(answer.data)
        found, address = found + len(page.results), page.next
    return found, took


class _Page(msgspec.Struct):
    results: list[msgspec.Raw]
    next: str | None
    seq: int


_page = msgspec.json.Decoder(_Page)


def _seconds(http: urllib3.PoolManager, addresses: list[str]) -> list[float]:
    found = []
    for address in addresses:
        begun = time.perf_counter()
        answer = http.request("GET", address)
        found.append(time.perf_counter() - begun)
        assert answer.status == 200, answer.data
    return found


def _changes(url: str, opened: Installation, count: int, seconds: int) -> Iterator[Row]:
    with urllib3.PoolManager() as http:
        found, whole = _walked(http, f"{url}{PATH}/changes/?after=0&page_size=1000")
        assert found == count
        changed = random.Random(2).sample(range(count), count // 100)
        accept(opened, {number: product(number, edition=2) for number in changed})
        _released(opened)
        found, part = _walked(http, f"{url}{PATH}/changes/?after=1&page_size=1000")
        assert found == len(changed)
        yield Row(f"changes: 1 % of {count:,}", part, "s", whole, part / whole, "≤ 0.03 (of the whole walk)")
        newest = f"{url}{PATH}/changes/?after=2"
        tag = http.request("GET", newest).headers["ETag"]
        assert http.request("GET", newest, headers={"If-None-Match": tag}).status == 304
        rate = max(_rate(newest, seconds, f"If-None-Match: {tag}") for _ in range(ROUNDS))
        bare = _rate(f"{url}/nothing", seconds)
        yield Row("changes: nothing new (304)", rate, "/s", bare, rate / bare, "≥ 1,000/s")


def _rate(address: str, seconds: int, header: str = "Accept: */*") -> float:
    """Requests a second of four clients that ask as fast as they are answered, by `wrk`: one written in Python takes
    as much of the processor as the server."""
    said = subprocess.run(
        [
            "wrk",
            "--threads",
            "1",
            "--connections",
            "4",
            "--duration",
            f"{min(seconds, 5)}s",
            "--header",
            header,
            address,
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found and not failed, said
    return float(found[1])


def _mixed(url: str, opened: Installation, count: int, seconds: int, rate: int = 300) -> Iterator[Row]:
    """80 % single documents, 15 % pages of 25, 5 % changes, at a fixed rate, through a promotion and a rollback; beside
    them one walk after another."""
    chance = random.Random(3)
    kinds = chance.choices(("one", "page", "changes"), (80, 15, 5), k=rate * seconds)
    took: list[float] = []
    errors: list[int] = []
    walks: list[tuple[int, int]] = []
    promotions: list[float] = []
    done = threading.Event()
    accept(opened, {number: product(number, edition=3) for number in range(100)})  # a harvest would share our processor
    version = versions.prepare(opened)
    assert version is not None
    begun = time.perf_counter()
    with ExitStack() as stack:
        http = stack.enter_context(urllib3.PoolManager(maxsize=16))
        threads = stack.enter_context(ThreadPoolExecutor(17))

        def asked(number: int, kind: str) -> None:
            due = begun + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            address = {
                "one": f"/product/{KEY}:p{number % count}/",
                "page": "/product/?page_size=25",
                "changes": "/changes/?after=2&page_size=25",
            }[kind]
            answer = http.request("GET", url + PATH + address)
            took.append(time.perf_counter() - due)
            errors.extend([answer.status] if answer.status != 200 else [])

        def walking() -> None:
            while not done.is_set():
                walks.append(_consistent(http, f"{url}{PATH}/product/?page_size=25", done))

        walker = threads.submit(walking)
        waiting = [threads.submit(asked, number, kind) for number, kind in enumerate(kinds)]
        time.sleep(seconds / 3)
        promotions.append(_timed(lambda: versions.promote(opened, version)))
        time.sleep(seconds / 3)
        with opened.pool.connection() as connection:
            earlier = versions.before_current(connection)
        promotions.append(_timed(lambda: versions.promote(opened, earlier, rollback=True)))
        for each in waiting:
            each.result()
        done.set()
        walker.result()
    p99 = 1000 * statistics.quantiles(took, n=100)[98]
    assert not errors, errors[:5]
    assert walks and all(seqs <= 1 and twice == 0 for seqs, twice in walks), walks
    name = f"{rate} requests/s for {seconds} s, through a promotion and a rollback"
    yield Row(f"{name}, p99", p99, "ms", 50, p99 / 50, "≤ 50 ms")
    slowest = 1000 * max(promotions)
    yield Row(f"{name}, the slower of both", slowest, "ms", 20, slowest / 20, "≤ 20 ms")


def _timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class _Srn(msgspec.Struct):
    srn: str


_srn = msgspec.json.Decoder(_Srn)


def _consistent(http: urllib3.PoolManager, address: str | None, done: threading.Event) -> tuple[int, int]:
    """Of a walk, slowly: how many seqs it showed, and how many documents twice or out of their order."""
    seqs, wrong, last = set[int](), 0, ""
    while address and not done.is_set():
        page = _page.decode(http.request("GET", address).data)
        for each in page.results:
            srn = _srn.decode(each).srn
            wrong += srn <= last
            last = srn
        seqs.add(page.seq)
        address = page.next
        time.sleep(0.02)
    return len(seqs), wrong
