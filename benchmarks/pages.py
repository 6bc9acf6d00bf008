"""How fast the operator's pages answer at size: 300 sets, a year of nights, 100,000 failures; over HTTP, in process.

Each page is asked for once, and then ASKED times, one after the other; what counts is the 95th percentile of the whole
answer. The index is a real one, so that the page of search is measured with what its server takes. Over the same
installation: how long a takedown takes, and a pushed record from the inbox to the index.
"""

import itertools
import json
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import urllib3

from benchmarks import source, year_of_nights
from benchmarks.rows import Row
from harvester_dagster import config, installation
from harvester_dagster.installation import Installation
from harvester_dagster.publication import inbox
from harvester_dagster.releases import nights, release, taking_down
from harvester_dagster.releases.nights import Night
from harvester_dagster.releases.push_rounds import PushRounds
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.services import launcher
from harvester_dagster.sets import pushed, sets, versions
from harvester_dagster.store.database import migrate
from harvester_dagster.web import serving
from harvester_dagster.web.launching import NotStarted

ASKED = 30
TIMES = 5
"""Documents that are taken down; more than 20 a day ask for a confirmation."""
MOST_MS = 150
CANDIDATE = "/set/s00:t06/"
PAGES = {
    "/": "the night",
    "/set/s01:t05/": "a set",
    CANDIDATE: "a set whose candidate waits, one document in ten changed",
    "/failures/": "failures",
    "/sources/": "sources",
    "/source/s00/": "a source",
    "/document/?srn=s00:t00:p00000001": "a product",
    "/document/?srn=s00:t01:f00000002": "a file whose tasks failed",
    "/search/?q=thema7+patienten": "search, words of one in 200 products",
    "/search/?q=thema7&filter=language:nl&page=3": "search, one word, narrowed, third page",
    "/search/?q=zorg+patienten": "search, words of four in five products",
    "/search/?q={common}": "search, two such words, others each time",
    "/takedowns/": "takedowns",
    "/versions/": "versions",
    "/alerts/": "alerts",
    "/audit/": "audit",
    "/nights/": "nights",
    "/night/200/": "a night that was",
    "/versions/14/rollback/": "before going back, two documents in a hundred changed",
    "/versions/next/": "what a release would publish",
    "/versions/difference/?old=14&new=15": "what differs between two versions",
    "/harvest/status": "access, status",
    "/access/runs/": "access, every run",
    "/access/runs/200/": "access, a run",
    "/harvest/log": "access, log",
    "/debug/article": "access, a document",
    "/access/what-if/": "access, what if",
    "/cache/update": "access, journals",
}
COMMON = ("zorg", "patienten", "studenten", "praktijk", "methode", "kennis", "vraagt", "samenwerken", "onderzoek")
"""Words that stand in most products: of two the server has kept no count yet."""

_QUIET = """
SELECT key FROM harvest_set s WHERE staged_attempt IS NULL AND watermark IS NOT NULL AND retired_at IS NULL
  AND (SELECT state FROM attempt a WHERE a.set_id = s.set_id ORDER BY attempt_id DESC LIMIT 1) = 'accepted'
ORDER BY key LIMIT %s
"""
"""Sets in which nothing waits."""


class _Nothing:
    """Begins no run: nothing is pressed here."""

    def _refused(self, *_: object) -> str:
        raise NotStarted("nothing is begun here")

    harvest = look = accept = retry = release = roll_back = _refused

    def launch(self, endpoint: str, mode: str, request: int) -> None:
        self._refused()

    def seen(self, run_id: str) -> None:
        return None

    def accepted(self, installed: Installation, key: str) -> None:
        self._refused()

    def end_runs(self, night: Night) -> list[str]:
        return []


def measure(documents: int = 50_000) -> Iterator[Row]:
    """`documents`: products and files."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-pages-") as folder,
        _world(Path(folder), documents) as opened,
        serving.served(opened, _Nothing()) as url,
        urllib3.PoolManager() as http,
    ):
        proposed = re.search(rb"It proposes .*?(\d+) changed", http.request("GET", url + CANDIDATE).data)
        assert proposed and int(proposed[1]) >= documents / 300 / 20, "a candidate stands, and is shown"
        for path, name in PAGES.items():
            yield from _page(http, url + path, f"{name}, {documents:,} documents")
        yield from _takedowns(opened, http, url, f", {documents:,} documents")
        yield from _pushes(opened, f", {documents:,} documents")
        with opened.pool.connection() as connection:
            nights.open_night(connection, opened.config, opened.clock())
        yield from _page(http, f"{url}/", f"a night that goes on, {documents:,} documents")


def _page(http: urllib3.PoolManager, address: str, name: str) -> Iterator[Row]:
    pairs = itertools.cycle("+".join(pair) for pair in itertools.permutations(COMMON, 2))
    seconds = [_asked(http, address.format(common=next(pairs))) for _ in range(1 + ASKED)][1:]
    p50, p95 = (1000 * each for each in (statistics.median(seconds), _p95(seconds)))
    yield Row(f"{name}: p50", p50, "ms", MOST_MS, p50 / MOST_MS, "")
    yield Row(f"{name}: p95", p95, "ms", MOST_MS, p95 / MOST_MS, "≤ 150 ms")


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[18]


def _takedowns(opened: Installation, http: urllib3.PoolManager, url: str, among: str) -> Iterator[Row]:
    """From asking for it until the API answers 410 or 404, and until the index has been told: the slowest of TIMES."""
    api, index = 0.0, 0.0
    with opened.pool.connection() as connection:
        rows = connection.execute(
            """SELECT d.doc_id, d.set_id, s.key || ':' || d.external_id
               FROM document d JOIN harvest_set s USING (set_id)
               WHERE entity = 'products' ORDER BY doc_id LIMIT %s OFFSET 1000""",
            (TIMES,),
        ).fetchall()
    for row in rows:
        named, begun, gone = Named(*row), time.perf_counter(), threading.Event()
        address = f"{url}/api/v1/product/{named.srn}/"
        assert http.request("GET", address).status == 200, address
        with ThreadPoolExecutor(1) as beside:
            taking = beside.submit(taking_down.take_down, opened, named, "measured")
            while http.request("GET", address).status == 200:
                gone.wait(0.002)
            api = max(api, time.perf_counter() - begun)
            assert taking.result().behind == ""
        index = max(index, time.perf_counter() - begun)
    yield Row(f"a takedown{among}: gone from the API", api, "s", 1, api, "≤ 1 s")
    yield Row(f"a takedown{among}: gone from the index", index, "s", 60, index / 60, "≤ 60 s")


def _pushes(opened: Installation, among: str) -> Iterator[Row]:
    """One record that waits in the inbox, until its version is current and in the index; each of another set, for a set
    rests between two."""
    said, seconds = list[str](), list[float]()
    with opened.pool.connection() as connection:
        keys = [key for (key,) in connection.execute(_QUIET, (1 + ASKED,))]
    for number, key in enumerate(keys):
        record = json.loads(b"[%b]" % source.records(source.JSON, number))[0]
        with opened.pool.connection() as connection:
            found = pushed.read(opened, key, json.dumps(record).encode())
            inbox.put(connection, sets.find(connection, key).set_id, found, "bench", opened.clock())
        worker, begun = PushRounds(opened, progress=said.append), time.perf_counter()
        worker.round()
        seconds.append(time.perf_counter() - begun)
        assert said.pop().startswith(f"{key}: version"), said
    p50, p95 = statistics.median(seconds[1:]), _p95(seconds[1:])
    yield Row(f"a pushed record{among}, from the inbox to the index: p50", p50, "s", 10, p50 / 10, "")
    yield Row(f"a pushed record{among}, from the inbox to the index: p95", p95, "s", 10, p95 / 10, "≤ 10 s")


def _asked(http: urllib3.PoolManager, address: str) -> float:
    begun = time.perf_counter()
    answer = http.request("GET", address, headers={"accept": "text/html"})
    assert answer.status == 200, (address, answer.status)
    return time.perf_counter() - begun


@contextmanager
def _world(folder: Path, documents: int) -> Iterator[Installation]:
    os.environ["HARVESTER_HOME"] = str(folder)
    with launcher.postgres(folder) as database, launcher.opensearch(folder) as server:
        read = config.parse(
            {
                "platform": "bench",
                "sources": year_of_nights.configured(),
                "index": {"url": server},
                "metastore": {"bench": {"url": "http://127.0.0.1:9"}},
                "web": {"port": 0},
            }
        )
        migrate(database)
        with installation.opened(read, database) as opened:
            year_of_nights.fill(opened, documents)
            version = versions.prepare(opened, night_id=year_of_nights.NIGHTS)
            assert version is not None
            release.publish(opened, version)
            yield opened


if __name__ == "__main__":
    for row in measure(*map(int, sys.argv[1:2])):
        print(f"{row.name:<60} {row.value:>10,.1f} {row.unit}  {row.target}", flush=True)
