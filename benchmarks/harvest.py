"""From HTTP to accepted generation: how fast a set's night is, without document tasks, beside its ceilings.

The ceilings are measured in the same run: *fetch + parse* is a bare loop of `requests.Session` over the same pages
with the same parser (msgspec, lxml) and nothing else; *write* is a bare COPY of the same rows into tables of the same
columns without indexes. Of three rounds (a million: one) the best counts, of a ceiling as of a night. Each night runs
in a process of its own, whose peak memory and statements are what counts; the source is another process, PostgreSQL is
embedded, with fsync. Memory is that of the night's process and its workers. `python -m benchmarks harvest`
"""

import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urljoin

import psutil
import psycopg

from benchmarks.rows import Row
from benchmarks.source import JSON, LOM, Server, Shape, served
from harvester_dagster import config, installation
from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.config import Config
from harvester_dagster.installation import USUAL, Installation, Limits
from harvester_dagster.services import launcher
from harvester_dagster.sets import sets, steps, versions
from harvester_dagster.sets.attempts import Mode
from harvester_dagster.store.database import migrate

ROUNDS = 3
SIZES = (10_000, 100_000)
SHAPES = (JSON, LOM)
MILLION = 1_000_000
PRODUCED = {JSON: 5_000, LOM: 2_000}
RESENT = {JSON: 7_500, LOM: 5_000}
WITHOUT_TASKS = replace(CATALOG, tasks=(), entities=tuple(replace(entity, schema=None) for entity in CATALOG.entities))
"""Nor `deactivate_invalid_products`, which is one: the product tasks' benchmark has it."""
TABLES = ("document", "revision", "body", "output", "output_body")
T = TypeVar("T")


class World(NamedTuple):
    """One source and one store, as a child process needs to find them."""

    database: str
    source: str
    folder: str
    counts: tuple[int, ...]


class Night(NamedTuple):
    """How a set's night went: seconds by step, and what its process used."""

    steps: dict[str, float]
    cpu: float
    statements: int
    peak_mb: float
    state: str

    @property
    def seconds(self) -> float:
        return sum(self.steps.values())

    @property
    def without_outputs(self) -> float:
        return self.steps["harvest"] + self.steps["documents"]


def measure(
    million: bool = False, sizes: tuple[int, ...] = SIZES, rounds: int = ROUNDS, shapes: Sequence[Shape] = SHAPES
) -> Iterator[Row]:
    sizes = (*sizes, *((MILLION,) if million else ()))
    with worlds(sizes) as (server, new_world):
        for shape in shapes:
            costs: dict[int, float] = {}
            for count in sizes:
                firsts = [_first(new_world, shape, count) for _ in range(_rounds(count, rounds) - 1)]
                with new_world() as world:
                    yield from _one_size(world, server, shape, count, firsts, costs, _rounds(count, rounds))
            yield from _growth(shape, costs)
        yield from _statements(new_world, sizes[0], shapes)


def _rounds(count: int, rounds: int) -> int:
    return 1 if count >= MILLION else rounds


def _first(new_world: "NewWorld", shape: Shape, count: int) -> Night:
    """A first night in a store of its own."""
    with new_world() as world:
        return apart(_night, world, f"{shape.kind}:n{count}", "full")


def _one_size(
    world: World, server: Server, shape: Shape, count: int, firsts: list[Night], costs: dict[int, float], rounds: int
) -> Iterator[Row]:
    key, called = f"{shape.kind}:n{count}", f"{shape.name}, {count:,}"
    fetched = max(apart(_fetch_and_parse, world, shape, count) for _ in range(rounds))
    initial = min((*firsts, apart(_night, world, key, "full")), key=lambda night: night.seconds)
    written = max(apart(_write, world, count) for _ in range(rounds))
    costs[count] = initial.seconds / count
    rate, harvested = count / initial.seconds, count / initial.without_outputs
    target = f"≥ {PRODUCED[shape]:,}/s"
    yield Row(f"initial {called}: accepted, outputs included", rate, "/s", fetched, rate / fetched, target)
    yield Row(f"initial {called}: the same beside bare COPY", rate, "/s", written, rate / written, "")
    yield Row(f"initial {called}: harvest and documents only", harvested, "/s", fetched, harvested / fetched, target)
    yield Row(f"initial {called}: peak memory", initial.peak_mb, "MB", 800, initial.peak_mb / 800, "≤ 800 MB")
    yield Row(f"initial {called}: SQL statements", initial.statements, "", count, initial.statements / count, "")

    resends = [apart(_night, world, key, "full") for _ in range(rounds)]
    resend = min(resends, key=lambda night: night.seconds)
    rate = count / resend.seconds
    target = f"≥ 0.75, ≥ {RESENT[shape]:,}/s"
    yield Row(f"resend {called}, nothing changed", rate, "/s", fetched, rate / fetched, target)
    yield Row(f"resend {called}: peak memory", resend.peak_mb, "MB", 800, resend.peak_mb / 800, "≤ 800 MB")
    yield Row(f"resend {called}: SQL statements", resend.statements, "", count, resend.statements / count, "")

    delta = min((apart(_night, world, key, None) for _ in range(rounds)), key=lambda night: night.seconds)
    yield Row(f"delta {called}, nothing new", delta.seconds, "s", 1, delta.seconds, "< 1 s")
    yield from _falling_back(world, server, key, called)


def _falling_back(world: World, server: Server, key: str, called: str) -> Iterator[Row]:
    """Half a set is refused; a tenth more than all of it is taken, promoted, and rolled back."""
    first = apart(_promote, world, False)
    server.keep(0.5)
    half = apart(_night, world, key, "full")
    server.keep(1.1)
    more = apart(_night, world, key, "full")
    server.keep(1)
    assert (half.state, more.state) == ("rejected", "accepted"), (half, more)
    promoted, back = apart(_promote, world, False), apart(_promote, world, True)
    fallback, worst = half.steps["verdict"], max(first, promoted)
    yield Row(f"fallback {called} (the verdict on half of it)", fallback, "s", 1, fallback, "< 1 s")
    yield Row(f"promotion {called}", worst, "s", 1, worst, "< 1 s")
    yield Row(f"rollback {called}", back, "s", 1, back, "< 1 s")


def _growth(shape: Shape, costs: dict[int, float]) -> Iterator[Row]:
    small = min(costs)
    for count, cost in costs.items():
        if count != small:
            name = f"growth {shape.name}: time per document at {count:,} beside {small:,}"
            yield Row(name, cost * 1e6, "µs", costs[small] * 1e6, cost / costs[small], "≤ 1.3")


def _statements(new_world: "NewWorld", count: int, shapes: Sequence[Shape]) -> Iterator[Row]:
    """As many batches for a tenth of the documents: as many statements."""
    for shape in shapes:
        nights = []
        for size in (count, count // 10):
            with new_world() as world:
                key = f"{shape.kind}:n{size}"
                nights.append(apart(_night, world, key, "full", size / count, _fifth(shape, size)))
        many, few = (night.statements for night in nights)
        name = f"statements {shape.name}: {count:,} beside {count // 10:,} in as many batches"
        yield Row(name, many, "", few, many / few, "≤ 1")


def _fifth(shape: Shape, count: int) -> int:
    """So many bytes make five bundles of a harvest, wherever its pages end."""
    return shape.record_bytes * (count // 5 - shape.records_a_page // 2)


# --- what runs in a process of its own --------------------------------------------------------------------------------


def apart(work: Callable[..., T], world: World, *arguments: Any) -> T:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, world, *arguments).result()


def _night(
    world: World, key: str, asked: Mode | None, batches: float = 1.0, bundle_bytes: int = USUAL.page_bundle_bytes
) -> Night:
    """A set's night, and what it took. `batches`: their size, as a share of the usual one."""
    limits = replace(
        USUAL,
        page_bundle_bytes=bundle_bytes,
        extracted=int(USUAL.extracted * batches),
        compared=int(USUAL.compared * batches),
        ids=int(USUAL.ids * batches),
        produced=int(USUAL.produced * batches),
    )
    taken: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        taken[step] = time.perf_counter() - began

    with opened_in(world, limits=limits) as opened, counted() as statements:
        began = time.process_time()
        with timed("harvest"):
            steps.harvest(opened, key, asked=asked)
        with timed("documents"):
            steps.documents(opened, key)
        with timed("outputs"):
            steps.outputs(opened, key)
        with timed("verdict"):
            outcome = steps.conclude(opened, key)
        cpu = time.process_time() - began
        assert outcome.attempt is not None
        return Night(taken, cpu, len(statements), peak_mb(), outcome.attempt.state)


def peak_mb() -> float:
    """The peak of this process and those of all that it has running, together."""
    processes = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
    statuses = [Path(f"/proc/{pid}/status").read_text(encoding="utf-8") for pid in processes]
    return sum(int(found[1]) for status in statuses if (found := re.search(r"VmHWM:\s*(\d+)", status))) / 1024


def _promote(world: World, rollback: bool) -> float:
    with opened_in(world) as opened:
        began = time.perf_counter()
        if rollback:
            with opened.pool.connection() as connection:
                earlier = versions.before_current(connection)
            versions.promote(opened, earlier, rollback=True)
        else:
            version = versions.prepare(opened)
            assert version is not None
            versions.promote(opened, version)
        return time.perf_counter() - began


def _fetch_and_parse(world: World, shape: Shape, count: int) -> float:
    """Records per second of a bare client."""
    import msgspec
    import requests
    from lxml import etree

    token = "{http://www.openarchives.org/OAI/2.0/}ListRecords/{http://www.openarchives.org/OAI/2.0/}resumptionToken"
    url: str | None = f"{world.source}/jsonapi/channel/v1/n{count}/repoItems"
    if shape == LOM:
        url = f"{world.source}/oai?verb=ListRecords&metadataPrefix=lom&set=n{count}"
    pages, began = 0, time.perf_counter()
    with requests.Session() as session:
        while url:
            body = session.get(url).content
            pages += 1
            if shape == JSON:
                link = msgspec.json.decode(body)["links"]["next"]
                url = urljoin(url, link) if link else None
            else:
                found = etree.fromstring(body).findtext(token)
                url = f"{world.source}/oai?verb=ListRecords&resumptionToken={found}" if found else None
    assert pages * shape.records_a_page == count, pages
    return count / (time.perf_counter() - began)


def _write(world: World, count: int) -> float:
    """Products per second of a bare COPY of the rows that they became."""
    taken = 0.0
    with psycopg.connect(world.database, options="-c search_path=harvester") as connection:
        for table in TABLES:
            connection.execute(
                f"CREATE TABLE bare_{table} (LIKE {table} INCLUDING STORAGE) WITH (toast_tuple_target = 8160)"
            )
            connection.commit()
            with (
                connection.cursor(name="rows") as rows,
                psycopg.connect(world.database, options="-c search_path=harvester") as writer,
                writer.cursor() as cursor,
            ):
                rows.itersize = 5_000
                rows.execute(f"SELECT * FROM {table}", binary=True)
                types = [column.type_code for column in rows.description or ()]
                while batch := rows.fetchmany(5_000):
                    began = time.perf_counter()
                    with cursor.copy(f"COPY bare_{table} FROM STDIN (FORMAT BINARY)") as stream:
                        stream.set_types(types)
                        for row in batch:
                            stream.write_row(row)
                    writer.commit()
                    taken += time.perf_counter() - began
            connection.execute(f"DROP TABLE bare_{table}")
            connection.commit()
    return count / taken


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every statement that goes to the server meanwhile, COPY included."""
    seen: list[str] = []
    cursor: Any = psycopg.Cursor
    execute, copy = cursor.execute, cursor.copy

    def counting_execute(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(str(query))
        return execute(self, query, *arguments, **options)

    def counting_copy(self: Any, statement: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(str(statement))
        return copy(self, statement, *arguments, **options)

    cursor.execute, cursor.copy = counting_execute, counting_copy
    try:
        yield seen
    finally:
        cursor.execute, cursor.copy = execute, copy


# --- the world --------------------------------------------------------------------------------------------------------

NewWorld = Callable[[], AbstractContextManager[World]]


@contextmanager
def worlds(counts: tuple[int, ...]) -> Iterator[tuple[Server, NewWorld]]:
    """A source with sets of these sizes, and a server for as many empty stores as are asked for."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-harvest-")))
        server, url = stack.enter_context(served()), stack.enter_context(launcher.postgres(folder))
        numbers = iter(range(1_000_000))

        @contextmanager
        def new_world() -> Iterator[World]:
            name = f"bench_{next(numbers)}"
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
                home, store = folder / name, url.replace("/harvester?", f"/{name}?")
                home.mkdir()
                migrate(store)
                yield World(store, server.url, str(home), (*counts, counts[0] // 10))
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

        yield server, new_world


@contextmanager
def opened_in(
    world: World, catalog: Catalog = WITHOUT_TASKS, further_hosts: Sequence[str] = (), limits: Limits = USUAL
) -> Iterator[Installation]:
    os.environ["HARVESTER_HOME"] = world.folder
    read = configuration(world.source, world.counts, further_hosts)
    with installation.opened(read, world.database, catalog=catalog, limits=limits) as opened:
        sets.synchronise(opened.pool, read, opened.clock())
        yield opened


def configuration(source: str, counts: Sequence[int], further_hosts: Sequence[str] = ()) -> Config:
    """Both sources with a set for every size, and no wait between two requests."""
    names = [f"n{count}" for count in counts]
    return config.parse(
        {
            "sources": {
                JSON.kind: {"kind": JSON.kind, "url": source, "sets": names},
                LOM.kind: {"kind": LOM.kind, "url": f"{source}/oai", "sets": names},
            },
            "network": {"allow_hosts": ["127.0.0.1", *further_hosts], "per_host_per_second": float("inf")},
            "index": {"url": "none"},
        }
    )
