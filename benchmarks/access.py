"""How fast the enricher is, beside the bare Solr: `python -m benchmarks.access [documents]`.

The ceilings: a bare cursor's walk over the same fields and page size (requests and json), and the sum of that and of
bare atomic updates of the same documents in the same batches by the same number of clients, with their commit. Ours
reads, decides, writes, and records every decision in PostgreSQL, in a process of its own whose peak memory counts.
"""

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import requests

from benchmarks.rows import Row
from harvester_dagster.access.decide.journals import by_issn, read_journal
from harvester_dagster.access.decide.rules import case_of, decide
from harvester_dagster.access.decide.solr_document import FIELDS, from_fields
from harvester_dagster.access.runs import endpoints, run_rows
from harvester_dagster.access.runs.enricher import refresh_journals
from harvester_dagster.access.runs.run import enrich
from harvester_dagster.config import Config, Metastore
from harvester_dagster.demo import sample_index
from harvester_dagster.services import launcher
from harvester_dagster.store import database

PAGE = 5_000


class _World(NamedTuple):
    postgres_url: str
    config: Config

    @property
    def solr_url(self) -> str:
        return f"{self.config.metastore['bench'].url}/metastore"


class _Run(NamedTuple):
    seconds: float
    megabytes: float
    processed: int
    applied: int
    batch: int
    writers: int


def measure(count: int = 200_000) -> Iterator[Row]:
    yield from _deciding()
    with tempfile.TemporaryDirectory(prefix="bench-access-") as folder:
        state = Path(folder)
        with launcher.postgres(state) as url, launcher.solr(state) as solr_url:
            database.migrate(url)
            settings = Metastore(url=solr_url, page_size=PAGE)
            yield from _running(_World(url, Config(metastore={"bench": settings})), count)


def _deciding(count: int = 40_000) -> Iterator[Row]:
    documents = [from_fields(fields) for fields in sample_index.documents(count)]
    journals = by_issn(read_journal(d)[0] for d in documents if d.source_ss == ("jnl_sfx",))
    started = time.perf_counter()
    for document in documents:
        decide(case_of(document, journals, 2026))
    rate = count / (time.perf_counter() - started)
    yield Row("decisions alone, one core", rate, "/s", 80_000, rate / 80_000, "≥ 80,000/s")


def _running(world: _World, count: int) -> Iterator[Row]:
    with (
        database.open_pool(world.postgres_url) as pool,
        endpoints.opened(world.config, "bench", pool, lambda: datetime.now(UTC)) as job,
    ):
        sample_index.load(job.solr, list(sample_index.documents(count)))
        refresh_journals(job)
        ids = _bare_ids(world.solr_url)
        _bare_walk(world.solr_url)  # warm
        before = _bare_walk(world.solr_url) + _bare_updates(world.solr_url, ids, 1_000, 2)
        everything = _apart(world, "full")
        best = run_rows.best(pool, "bench") or run_rows.Best(2, 1_000, 0)
    assert everything.applied == count, everything
    walk = _bare_walk(world.solr_url)
    nothing = _apart(world, "full")
    assert (nothing.processed, nothing.applied) == (count, 0), nothing
    walk = (walk + _bare_walk(world.solr_url)) / 2
    yield Row("read and decide", count / nothing.seconds, "/s", count / walk, walk / nothing.seconds, "≥ 0.85")

    _touch(world.solr_url, ids[::100])
    changed = _apart(world, "changed")
    assert changed.applied == len(ids[::100]), changed
    share = changed.seconds / everything.seconds
    yield Row("changed, 1 % moved, beside full", changed.seconds, "s", everything.seconds, share, "≤ 0.03")

    after = walk + _bare_updates(world.solr_url, ids, best.batch, best.writers)
    bare = (before + after) / 2
    yield Row(
        "read, decide, write all", count / everything.seconds, "/s", count / bare, bare / everything.seconds, "≥ 0.8"
    )
    memory = max(each.megabytes for each in (everything, nothing, changed))
    yield Row("memory of a run", memory, "MB", 400, memory / 400, "≤ 400 MB")


def _apart(world: _World, mode: str) -> _Run:
    """A run in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        return processes.submit(_run_there, world, mode).result()


def _run_there(world: _World, mode: str) -> _Run:
    with (
        database.open_pool(world.postgres_url) as pool,
        endpoints.opened(world.config, "bench", pool, lambda: datetime.now(UTC)) as job,
    ):
        report = enrich(job, mode)
    # Not ru_maxrss: a child's begins with what its parent had.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    counts = report.counts
    return _Run(
        report.seconds, int(peak.split()[1]) / 1024, counts.processed, counts.applied, report.batch, report.writers
    )


def _bare_walk(url: str) -> float:
    """Seconds of nothing but a cursor."""
    http, cursor, started = requests.Session(), "*", time.perf_counter()
    while True:
        found = _page(http, url, cursor, ",".join(FIELDS))
        if found["nextCursorMark"] == cursor:
            return time.perf_counter() - started
        cursor = found["nextCursorMark"]


def _bare_ids(url: str) -> list[str]:
    http, cursor, ids = requests.Session(), "*", list[str]()
    while True:
        found = _page(http, url, cursor, "id")
        ids += [document["id"] for document in found["response"]["docs"]]
        if found["nextCursorMark"] == cursor:
            return ids
        cursor = found["nextCursorMark"]


def _page(http: requests.Session, url: str, cursor: str, fields: str) -> Any:
    asked = {"q": "*:*", "fq": "superformat_s:bib", "fl": fields, "sort": "id desc", "rows": PAGE, "cursorMark": cursor}
    return json.loads(http.post(f"{url}/select", data=asked, timeout=120).content)


def _bare_updates(url: str, ids: Sequence[str], batch: int, clients: int) -> float:
    """Seconds of nothing but atomic updates, prebuilt, and their commit. They make everything undetermined again."""
    bodies = [
        json.dumps(
            [
                {
                    "id": id_,
                    "_version_": 1,
                    "fulltext_availability_ss": {"set": ["UNDETERMINED"]},
                    "fulltext_info_ss": {"set": ["none"]},
                }
                for id_ in ids[at : at + batch]
            ]
        ).encode()
        for at in range(0, len(ids), batch)
    ]
    sessions = [requests.Session() for _ in range(clients)]

    def send(client: int) -> None:
        for body in bodies[client::clients]:
            answer = sessions[client].post(
                f"{url}/update?versions=true", data=body, headers={"Content-Type": "application/json"}, timeout=120
            )
            answer.raise_for_status()

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(send, range(clients)))
    requests.post(f"{url}/update?commit=true", json=[], timeout=300).raise_for_status()
    return time.perf_counter() - started


def _touch(url: str, ids: Sequence[str]) -> None:
    """What somebody else changes in a day."""
    _bare_updates(url, ids, 1_000, 1)


if __name__ == "__main__":
    for row in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000):
        print(f"{row.name}: {row.value:,.1f} {row.unit}, beside {row.ceiling:,.1f}: {row.ratio:.2f} ({row.target})")
