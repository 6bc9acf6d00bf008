"""From a source to stored raw pages: asked once a harvest, kept as they arrived for the retention.

A few megabytes of pages make an object (`pages/ATTEMPT/N.zst`: zstd over MessagePack, a list of pages); memory is
bounded by one bundle, statements grow with bundles. Extraction reads only what is stored here.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import zstandard
from psycopg import Connection

from harvester_dagster.config import set_spec
from harvester_dagster.harvesting import attempts
from harvester_dagster.harvesting.attempts import Attempt, Mode
from harvester_dagster.harvesting.sets import find
from harvester_dagster.installation import Installation
from harvester_dagster.sources.source import Kind, Request, SourceError

BUNDLE_BYTES = 8 * 1024 * 1024
_pages = msgspec.msgpack.Decoder(list[bytes])


def request_of(installation: Installation, key: str, attempt: Attempt | None) -> Request:
    config = installation.config
    return Request(config.sets[key], set_spec(key, config), attempt.since if attempt else None, config.production)


def kind_of(installation: Installation, key: str) -> Kind:
    return installation.catalog.kinds[installation.config.sets[key].kind]


def harvest(
    installation: Installation,
    key: str,
    *,
    asked: Mode | None = None,
    run_id: str | None = None,
    night_id: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Attempt:
    """Open an attempt and store what the source answers. A source that fails ends the attempt, with its reason,
    and is no error here: the set falls back. The caller has the set's lock."""
    kind = kind_of(installation, key)
    mapping_version = kind.mapping_version(request_of(installation, key, None))
    with installation.pool.connection() as connection:
        state = find(connection, key)
        now = installation.clock()
        window = attempts.window(state, installation.config.sets[key], mapping_version, now, asked)
        attempt = attempts.open_attempt(
            connection, state, window, now=now, mapping_version=mapping_version, run_id=run_id, night_id=night_id
        )
    progress(f"{key}: {attempt.mode} harvest, {attempt.why}")
    try:
        pages = _store_pages(
            installation, attempt, kind.pages(request_of(installation, key, attempt), installation.outside)
        )
    except SourceError as error:
        with installation.pool.connection() as connection:
            attempts.fail(connection, attempt, str(error), installation.clock())
            return attempts.by_id(connection, attempt.attempt_id)
    progress(f"{key}: {pages} pages stored")
    with installation.pool.connection() as connection:
        _fetched(connection, attempt, pages, installation)
        return attempts.by_id(connection, attempt.attempt_id)


def _fetched(
    connection: Connection[tuple[object, ...]], attempt: Attempt, pages: int, installation: Installation
) -> None:
    connection.execute(
        "UPDATE attempt SET state = 'fetched', pages = %s, fetched_at = %s WHERE attempt_id = %s AND state = 'open'",
        (pages, installation.clock(), attempt.attempt_id),
    )


def _store_pages(installation: Installation, attempt: Attempt, pages: Iterator[bytes]) -> int:
    """How many they are. A bundle is compressed and stored (a fifth of the time of reading JSON pages) while the next
    pages arrive; two are in memory."""
    bundle: list[bytes] = []
    size = total = number = 0
    storing: Future[None] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="pages") as storer:
        for page in pages:
            bundle.append(page)
            size += len(page)
            total += 1
            if size >= BUNDLE_BYTES:
                if storing:
                    storing.result()
                storing = storer.submit(_store_bundle, installation, attempt, number, bundle)
                bundle, size, number = [], 0, number + 1
                if attempt.base_gen == 0 or attempt.mode == "reset":  # all of it will be extracted
                    installation.workers.prepare()
        if storing:
            storing.result()
    if bundle:
        _store_bundle(installation, attempt, number, bundle)
    return total


def _store_bundle(installation: Installation, attempt: Attempt, number: int, bundle: list[bytes]) -> None:
    """The row comes first: of an object that is there the store knows, whatever was killed."""
    key = f"pages/{attempt.attempt_id}/{number}.zst"
    with installation.pool.connection() as connection:
        connection.execute(
            "INSERT INTO page_bundle (attempt_id, number, object_key, pages) VALUES (%s, %s, %s, %s)",
            (attempt.attempt_id, number, key, len(bundle)),
        )
    installation.objects.put(key, zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(bundle)))


def stored_pages(installation: Installation, attempt: Attempt) -> Iterator[bytes]:
    """The pages of an attempt in the order in which they arrived."""
    with installation.pool.connection() as connection:
        keys = [
            row[0]
            for row in connection.execute(
                "SELECT object_key FROM page_bundle WHERE attempt_id = %s ORDER BY number", (attempt.attempt_id,)
            )
        ]
    with ThreadPoolExecutor(1, thread_name_prefix="pages") as reader:
        coming: Future[bytes] | None = None
        for number, key in enumerate(keys):
            bundle = coming.result() if coming else _bundle(installation, key)
            coming = reader.submit(_bundle, installation, keys[number + 1]) if number + 1 < len(keys) else None
            yield from _pages.decode(bundle)


def _bundle(installation: Installation, key: str) -> bytes:
    return zstandard.ZstdDecompressor().decompress(installation.objects.get(key))
