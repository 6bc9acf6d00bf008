"""How fast an index follows a version, beside the bare server: `python -m benchmarks.search [documents]`.

The ceiling is `_bulk` of the same prebuilt bodies into an index with the same definition and settings, by one client
and by two, with the answers reduced as ours are. Ours streams the bodies from the store, verifies and seals, and runs
in a process of its own, whose peak memory is what counts.
"""

import multiprocessing
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opensearchpy import OpenSearch
from psycopg import Connection

from benchmarks.rows import Row
from harvester_dagster import canonical, config, installation
from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config
from harvester_dagster.documents.index_form import stored
from harvester_dagster.documents.output import Enriched, product_output
from harvester_dagster.installation import Installation
from harvester_dagster.releases import release
from harvester_dagster.search import build, bulk_lines, index, mapping
from harvester_dagster.search.build import IndexReport
from harvester_dagster.search.bulk import CHUNK_LINES
from harvester_dagster.services import launcher
from harvester_dagster.sets import attempts, generations, sets, versions
from harvester_dagster.sets.attempts import Window
from harvester_dagster.sets.locked_set import LockedSet, lock_set
from harvester_dagster.sets.outputs import produce
from harvester_dagster.store.database import copy, migrate

SOURCE = {"kind": "sharekit", "url": "https://example.org", "sets": ["set"]}
KEY = "bench:set"
MAKING = CATALOG.making("products", Config())
DUTCH = "de zorg voor patiënten vraagt kennis van methode onderzoek en praktijk waarin studenten samenwerken"
ENGLISH = "students learn how research and practice in education work together with methods of evaluation"


def measure(count: int = 100_000) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-search-") as folder, _world(Path(folder)) as (opened, url):
        yield from _building(opened, url, count)
        yield from _producing(opened, min(count, 20_000))


def _building(opened: Installation, url: str, count: int) -> Iterator[Row]:
    accept(opened, {n: product(n) for n in range(count)})
    with opened.pool.connection() as connection:
        connection.execute("ANALYZE")
    version = _prepare(opened)
    with opened.pool.connection() as connection:
        started = time.perf_counter()
        bodies = [line.data for line in bulk_lines.whole(connection, version, "products")]
        reading = count / (time.perf_counter() - started)
    yield Row("reading stored outputs", reading, "/s", 20_000, reading / 20_000, "≥ 20,000/s")
    one, two = (_bare(opened, url, bodies, clients) for clients in (1, 2))
    del bodies
    report, memory = _apart(opened.config, url, version.version_id)
    full = count / report.seconds
    yield Row("full build, beside one client", full, "/s", one, full / one, "≥ 0.9")
    yield Row("full build, beside two clients", full, "/s", two, full / two, "≥ 0.75")
    yield Row("memory of a full build", memory, "MB", 400, memory / 400, "≤ 400 MB")
    release.publish(opened, version)

    changed = random.Random(1).sample(range(count), count // 100)
    accept(opened, {n: product(n, edition=2) for n in changed})
    started = time.perf_counter()
    version = _prepare(opened)
    delta = build.bring_up(opened, version)
    release.publish(opened, version)
    seconds = time.perf_counter() - started
    assert delta.entities[0].how == "clone", delta
    yield Row("1 % changed, to the swapped alias", seconds, "s", report.seconds, seconds / report.seconds, "≤ 0.05")

    started = time.perf_counter()
    assert versions.prepare(opened) is None
    kept = build.bring_up(opened, version)
    seconds = time.perf_counter() - started
    assert kept.entities[0].how == "kept", kept
    yield Row("nothing changed", seconds, "s", 1, seconds, "< 1 s")


def _producing(opened: Installation, count: int) -> Iterator[Row]:
    """Outputs of products that are all new, each with a file that has 1 KB of text."""
    with lock_set(opened, "bench:other") as locked:
        attempt = _stage(locked, count)
        started = time.process_time(), time.perf_counter()
        made = produce(locked, attempt)
    ours, elapsed = time.process_time() - started[0], time.perf_counter() - started[1]
    assert made.written == 2 * count, made
    rate = count / elapsed
    yield Row("producing outputs", rate, "/s", count / ours, rate / 2_500, "≥ 2,500/s")


def _apart(read: Config, url: str, version_id: int) -> tuple[IndexReport, float]:
    """A full build in a process of its own; with its peak memory in megabytes."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        report, memory = pool.submit(_build_there, read, url, version_id).result()
    assert report.outcome == "ready", report
    return report, memory


def _build_there(read: Config, url: str, version_id: int) -> tuple[IndexReport, float]:
    with installation.opened(read, url) as opened:
        with opened.pool.connection() as connection:
            version = versions.by_id(connection, version_id)
        report = build.bring_up(opened, version)
    # Not ru_maxrss: a child's begins with what its parent had.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return report, int(peak.split()[1]) / 1024


def _bare(opened: Installation, url: str, bodies: Sequence[bytes], clients: int) -> float:
    """Documents per second of nothing but the server."""
    definition = mapping.definition(opened.catalog, "products", opened.config)
    assert definition is not None
    name = f"bare-{uuid.uuid4().hex}"
    chunks = [b"".join(bodies[start : start + CHUNK_LINES]) for start in range(0, len(bodies), CHUNK_LINES)]
    parameters = {"filter_path": "took,errors", "request_timeout": 180}
    with OpenSearch(opened.config.index.url, timeout=180) as client, ThreadPoolExecutor(clients) as pool:
        index.create(client, name, definition, {})
        started = time.perf_counter()
        for answer in pool.map(lambda chunk: client.bulk(body=chunk, index=name, params=parameters), chunks):
            assert not answer["errors"]
        client.indices.refresh(index=name, params={"request_timeout": 180})
        seconds = time.perf_counter() - started
        client.indices.delete(index=name)
    return len(bodies) / seconds


@contextmanager
def _world(folder: Path) -> Iterator[tuple[Installation, str]]:
    with launcher.postgres(folder) as url, launcher.opensearch(folder) as server:
        source = {**SOURCE, "sets": ["set", "other"]}
        read = config.parse({"platform": "bench", "sources": {"bench": source}, "index": {"url": server}})
        migrate(url)
        with installation.opened(read, url) as opened:
            sets.synchronise(opened.pool, read, opened.clock())
            yield opened, url


def _prepare(opened: Installation) -> versions.Version:
    version = versions.prepare(opened)
    assert version is not None
    return version


def _words(own: random.Random, words: str, count: int) -> str:
    ends = ("", "", "en", "s")
    return " ".join(own.choice(words.split()) + own.choice((*ends, str(own.randrange(50)))) for _ in range(count))


def product(number: int, edition: int = 1, key: str = KEY, name: str = "", word: str = "") -> dict[str, Any]:
    """An output of 2.5 KB; `name`: its external id; `word`: one of its title that few others have."""
    own = random.Random(number * 1_000 + edition)
    properties = {
        "title": f"{_words(own, DUTCH, 6)} {word}".strip(),
        "language": "nl",
        "description": _words(own, DUTCH, 70),
        "keywords": [_words(own, ENGLISH, 1) for _ in range(4)],
        "authors": [{"name": _words(own, ENGLISH, 2), "email": None}],
        "publishers": ["Hogeschool"],
        "publisher_date": "2024-05-01",
    }
    name = name or f"p{number}"
    return product_output(Enriched(f"{key}:{name}", key, name, "active", properties), [], MAKING)


def accept(opened: Installation, products: dict[int, dict[str, Any]]) -> None:
    """A next generation of the set with these outputs, as a night would leave it."""
    with opened.pool.connection() as connection:
        state = sets.find(connection, KEY)
        gen = state.accepted_gen + 1
        if gen == 1:
            rows = ((n + 1, state.set_id, "products", f"p{n}") for n in products)
            _copy(connection, "document", "doc_id int8, set_id int4, entity text, external_id text", rows)
        ids = [n + 1 for n in products]
        connection.execute("UPDATE output SET to_gen = %s WHERE doc_id = ANY (%s) AND to_gen IS NULL", (gen, ids))
        form = opened.catalog.index_form("products")
        bodies = {n + 1: stored(body, form) for n, body in products.items()}
        columns = "doc_id int8, set_id int4, entity text, from_gen int4, published bool, hash bytea, made_from bytea"
        outputs = ((doc_id, state.set_id, "products", gen, True, body.hash, b"") for doc_id, body in bodies.items())
        _copy(connection, "output", columns, outputs)
        texts = ((doc_id, gen, *body) for doc_id, body in bodies.items())
        columns = "doc_id int8, from_gen int4, body bytea, index_head bytea, common_at int4"
        _copy(connection, "output_body", columns, texts)
        connection.execute("UPDATE harvest_set SET accepted_gen = %s WHERE set_id = %s", (gen, state.set_id))


def _stage(locked: LockedSet, count: int) -> attempts.Attempt:
    """A candidate of new products, each with a file whose text was extracted."""
    first = 10_000_000
    own = random.Random(7)
    state = locked.state
    with locked.connection() as connection:
        window = Window("full", None, "benchmark")
        attempt = attempts.open_attempt(connection, locked, window, mapping_version="1")
        generations.clean(connection, locked, attempt.attempt_id)
        connection.execute("UPDATE attempt SET state = 'staged' WHERE attempt_id = %s", (attempt.attempt_id,))
        both: list[tuple[str, int, int | None, str]]
        both = [("products", first + 2 * n, None, f"p{n}") for n in range(count)]
        both += [("files", first + 2 * n + 1, first + 2 * n, f"p{n}:f") for n in range(count)]
        _copy(
            connection,
            "document",
            "doc_id int8, set_id int4, entity text, external_id text, owner_id int8",
            ((doc_id, state.set_id, entity, name, owner) for entity, doc_id, owner, name in both),
        )
        _copy(
            connection,
            "revision",
            "doc_id int8, set_id int4, entity text, from_gen int4, state text, hash bytea, hash_gen int4",
            ((doc_id, state.set_id, entity, 1, "active", b"%d" % doc_id, 1) for entity, doc_id, _, _ in both),
        )
        bodies = (
            (doc_id, 1, canonical.encode({"properties": _properties(own, entity, doc_id)}))
            for entity, doc_id, _, _ in both
        )
        _copy(connection, "body", "doc_id int8, from_gen int4, body bytea", bodies)
        files = [doc_id for entity, doc_id, _, _ in both if entity == "files"]
        prints = {doc_id: canonical.digest(b"%d" % doc_id) for doc_id in files}
        uses = ((doc_id, 1, "tika", state.set_id, prints[doc_id]) for doc_id in files)
        _copy(connection, "task_use", "doc_id int8, from_gen int4, task text, set_id int4, fingerprint bytea", uses)
        version = locked.installation.catalog.task("tika").version
        now = locked.installation.clock()
        results = (("tika", version, prints[doc_id], "success", canonical.encode(_text(own)), now) for doc_id in files)
        columns = "task text, version int4, fingerprint bytea, kind text, data bytea, finished_at timestamptz"
        _copy(connection, "result", columns, results)
        connection.execute("ANALYZE")
        return attempts.by_id(connection, attempt.attempt_id)


def _properties(own: random.Random, entity: str, doc_id: int) -> dict[str, Any]:
    url = f"https://example.org/{doc_id - (entity == 'files')}.pdf"
    if entity == "files":
        return {
            "url": url,
            "title": "A file",
            "hash": "h",
            "mime_type": "application/pdf",
            "access_rights": "OpenAccess",
        }
    return {
        "title": _words(own, DUTCH, 6),
        "language": "nl",
        "description": _words(own, DUTCH, 70),
        "keywords": [_words(own, ENGLISH, 1) for _ in range(4)],
        "authors": [{"name": _words(own, ENGLISH, 2), "email": None}],
        "files": [url],
    }


def _text(own: random.Random) -> dict[str, Any]:
    return {"texts": [{"text": _words(own, ENGLISH, 130), "language": "en"}]}


def _copy(connection: Connection[Any], table: str, columns: str, rows: Any) -> None:
    pairs = [column.split() for column in columns.split(", ")]
    copy(connection, table, [name for name, _ in pairs], [kind for _, kind in pairs], rows)


if __name__ == "__main__":
    for row in measure(*map(int, sys.argv[1:2])):
        figures = f"{row.value:>10,.2f} {row.unit:<4} ceiling {row.ceiling:>10,.2f} {row.ratio:>7.3f}"
        print(f"{row.name:<40} {figures}  {row.target}", flush=True)
