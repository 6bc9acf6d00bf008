"""How fast document tasks go through a set: URL checks, the product tasks, and a night in which none is due.

The ceiling of URL checks is as many threads with a bare `requests.Session` each; of the product tasks it is reading
the same products from the store and decoding them. Politeness is off: the rate asked for is that of the code.
`python -m benchmarks tasks`
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from benchmarks.harvest import World, apart, opened_in, worlds
from benchmarks.rows import Row
from benchmarks.source import JSON
from harvester_dagster import canonical
from harvester_dagster.catalog import CATALOG
from harvester_dagster.sets import enrich, steps
from harvester_dagster.tasks import check_url
from harvester_dagster.tasks.task import Item, Subject
from harvester_dagster.vocabularies import current

PRODUCTS = 100_000
URLS = 3_000
HOSTS = 1_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Tasks(NamedTuple):
    """Seconds of the product tasks and of validation, of bare reading, and of all tasks of a night without news."""

    product_tasks: float
    validating: float
    reading: float
    second_night: float


def measure(products: int = PRODUCTS, urls: int = URLS, hosts: int = HOSTS) -> Iterator[Row]:
    with worlds((products,)) as (_, new_world), new_world() as world:
        for name, many, target in (
            ("one host, kept connections", 1, "≥ 600/s"),
            ("many hosts, new ones", hosts, "≥ 400/s"),
        ):
            rate, bare = apart(_check_urls, world, urls, many)
            yield Row(f"check_url, {name}", rate, "/s", bare, rate / bare, target)
        found = apart(_tasks, world, products)
        rate, bare = products / (found.product_tasks + found.validating), products / found.reading
        yield Row(f"product tasks, all five, {products:,}", rate, "/s", bare, rate / bare, "≥ 20,000/s")
        second = found.second_night
        yield Row(f"second night, all tasks of a set of {products:,}", second, "s", 1, second, "< 1 s")


def _check_urls(world: World, count: int, hosts: int) -> tuple[float, float]:
    """URLs per second: ours, and bare."""
    import requests

    port = world.source.rpartition(":")[2]
    names = [f"127.0.{number // 250}.{number % 250 + 1}" for number in range(hosts)]
    urls = [f"http://{names[number % hosts]}:{port}/{number}" for number in range(count)]
    with opened_in(world, CATALOG, [f"{name}:{port}" for name in names]) as opened:
        vocabularies = current.load(opened.pool, opened.objects).vocabularies
        context = enrich.context_of(opened, f"{JSON.kind}:n{world.counts[0]}", vocabularies)
        items = [
            Item(canonical.digest(url.encode()), Subject({"url": url, "hash": url}, {}), None, url) for url in urls
        ]
        began = time.perf_counter()
        outcomes = [outcome.kind for _, outcome in check_url.TASK.run(items, context)]
        ours = time.perf_counter() - began
    assert outcomes.count("success") == count, outcomes[:10]

    def ask(mine: list[str]) -> None:
        with requests.Session() as session:
            for url in mine:
                session.head(url).raise_for_status()

    threads = check_url.PER_HOST if hosts == 1 else check_url.THREADS
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask, [urls[start::threads] for start in range(threads)]))
    return count / ours, count / (time.perf_counter() - began)


def _tasks(world: World, count: int) -> Tasks:
    import msgspec

    key = f"{JSON.kind}:n{count}"
    four = tuple(task for task in CATALOG.tasks if task.entity == "products")
    with opened_in(world, replace(CATALOG, tasks=four)) as opened:
        steps.harvest(opened, key, asked="full")
        steps.documents(opened, key)
        began = time.perf_counter()
        with opened.pool.connection() as connection, connection.cursor(name="bodies") as cursor:
            cursor.itersize = 5_000
            cursor.execute(
                "SELECT body::text FROM body JOIN revision USING (doc_id, from_gen) WHERE entity = 'products'"
            )
            for (body,) in cursor:
                msgspec.json.decode(body)
        reading = time.perf_counter() - began
        tasks = _timed(lambda: steps.tasks(opened, key, four))
        steps.outputs(opened, key)
        steps.conclude(opened, key)
        with opened.pool.connection() as connection:
            sample = connection.execute(
                "SELECT body::json FROM output_body WHERE (body::json->>'entity') = 'products' LIMIT 2000"
            )
            outputs = [body for (body,) in sample]
        validate = opened.catalog.validation("products")
        assert not validate(outputs[0])  # compiles it; what is not valid takes four times as long
        validating = _timed(lambda: [validate(output) for output in outputs]) / len(outputs) * count
        steps.harvest(opened, key)
        steps.documents(opened, key)
        second = _timed(lambda: steps.tasks(opened, key, four))
        steps.conclude(opened, key)
    return Tasks(tasks, validating, reading, second)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
