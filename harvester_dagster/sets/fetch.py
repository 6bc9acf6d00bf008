"""From a source to stored raw pages: asked once a harvest, kept as they arrived for the retention.

A few megabytes of pages make an object (`keys.page_bundle`: zstd over MessagePack, a list of pages); memory is
bounded by two bundles, statements grow with bundles. Extraction reads only what is stored here, and a harvest that was
cut goes on behind the last of it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Literal

import msgspec
import zstandard
from psycopg import Connection

from harvester_dagster import canonical
from harvester_dagster.config import SetSettings, set_spec, source_of
from harvester_dagster.installation import Installation
from harvester_dagster.outside import http
from harvester_dagster.processes.read_ahead import read_ahead
from harvester_dagster.sets import attempts, problems, replay
from harvester_dagster.sets.attempts import Attempt, Mode
from harvester_dagster.sets.left_out import LeftOut
from harvester_dagster.sets.locked_set import LockedSet
from harvester_dagster.sources.kind import Kind, Request
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.walk import NotWhole, Walk
from harvester_dagster.sources.whole_pages import Unanswered
from harvester_dagster.store import keys
from harvester_dagster.store.source_slots import source_slot

Holds = Literal["records", "identifiers", "gone"]
"""What the pages of a bundle are: records as they came, a list of identifiers, or our own page of what is gone."""
_pages = msgspec.msgpack.Decoder(list[bytes])


def request_of(installation: Installation, key: str, attempt: Attempt | None) -> Request:
    """What the set's source is asked; without an attempt since the beginning."""
    config = installation.config
    return Request(config.sets[key], set_spec(key, config), attempt.since if attempt else None, config.production)


def mapping_version(installation: Installation, key: str) -> str:
    """What names the mapping of the set, with every setting that it reads."""
    return kind_of(installation, key).mapping_version(request_of(installation, key, None))


def kind_of(installation: Installation, key: str) -> Kind:
    """The kind of the set's source."""
    return installation.catalog.kinds[installation.config.sets[key].kind]


def asking(
    installation: Installation, key: str, progress: Callable[[str], None] = lambda _: None
) -> AbstractContextManager[None]:
    """One of the slots of the set's source, while the block lasts: whoever asks it for records or lists takes one."""
    slots = installation.config.night.sets_of_one_source
    return source_slot(installation.pool, source_of(key), slots, progress)


def harvest(
    locked: LockedSet,
    *,
    asked: Mode | None = None,
    run_id: str | None = None,
    night_id: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Attempt:
    """Open an attempt and store what the source answers, going on where one that asked the same was cut. Where a run or
    night has all of it already, and was cut then, the source is asked for nothing. A source that fails, or whose list
    is not whole, ends the attempt, with its reason, and is no error here: the set falls back."""
    installation, key = locked.installation, locked.key
    kind = kind_of(installation, key)
    version = mapping_version(installation, key)
    settings, state = installation.config.sets[key], locked.state
    covered = state.mapping_version != version and not replay.coverage(installation, state).missing
    window = attempts.window(state, settings, version, installation.clock(), asked, covered=covered)
    asks = of_whom(request_of(installation, key, None))
    with locked.connection() as connection:
        if fetched := attempts.fetched(connection, locked, window, version, run_id, night_id, asks):
            progress(f"{key}: goes on with what attempt {fetched.attempt_id} has fetched")
            return fetched
        attempt = attempts.open_attempt(
            connection, locked, window, mapping_version=version, run_id=run_id, night_id=night_id, of_whom=asks
        )
    progress(f"{key}: {attempt.mode} harvest, {attempt.why}")
    request, storing = request_of(installation, key, attempt), Storing(locked, attempt)
    walk = storing.walk(request.settings)
    failed: SourceError | None = None
    made_before = http.made_here()
    try:
        storing.all(kind.pages(request, installation.outside, walk), walk)
    except SourceError as error:
        failed = error
    left_out = [f"{storing.left_out.count} records that were purged were left out"] if storing.left_out.count else []
    with locked.connection() as connection:
        problems.note_list(connection, locked, attempt, [*walk.notes, *left_out])
        connection.execute(
            "UPDATE attempt SET pages = %s, requests = %s, bytes = %s WHERE attempt_id = %s",
            (storing.pages, http.made_here() - made_before, storing.bytes, attempt.attempt_id),
        )
        if failed:
            is_short = isinstance(failed, NotWhole) and failed.short
            is_cut = isinstance(failed, Unanswered)
            attempts.fail(connection, locked, attempt, str(failed), is_cut=is_cut, is_short=is_short)
        else:
            connection.execute(
                "UPDATE attempt SET state = 'fetched', fetched_at = %s WHERE attempt_id = %s AND state = 'open'",
                (installation.clock(), attempt.attempt_id),
            )
        progress(f"{key}: {storing.pages} pages stored")
        return attempts.by_id(connection, attempt.attempt_id)


def of_whom(request: Request) -> str:
    """What is asked of whom, as a digest."""
    settings = request.settings
    asked = (settings.kind, settings.url, settings.metadata_prefix, request.spec)
    return canonical.digest(canonical.encode(asked)).hex()


class _Bundle:
    """Pages of one list on their way into one object, with the tokens or links to and behind the last of them."""

    def __init__(self) -> None:
        self.pages: list[bytes] = []
        self.size = self.beginning = 0
        self.came_by: str | None = None
        self.follows: str | None = None
        self.since = time.monotonic()

    def add(self, page: bytes, walk: Walk) -> None:
        self.pages.append(page)
        self.size += len(page)
        self.beginning, self.came_by, self.follows = walk.beginning, walk.came_by, walk.follows


class Storing:
    """The pages of one attempt on their way into the store: of them those that are what `holds` says. A bundle is
    compressed and stored (a fifth of the time of reading JSON pages) while the next pages arrive; two are in memory.
    `bytes` are those of its own pages, without those that it took over."""

    def __init__(self, locked: LockedSet, attempt: Attempt, holds: Holds = "records") -> None:
        self.locked, self.attempt, self.holds = locked, attempt, holds
        self.pages = self.number = self.bytes = 0
        self._storing: Future[None] | None = None
        with locked.connection() as connection:
            self.left_out = LeftOut(locked.installation, connection, locked.key, locked.set_id)

    def walk(self, settings: SetSettings) -> Walk:
        """The walk along its list, from the pages on that it took over."""
        with self.locked.connection() as connection:
            taken = connection.execute(
                """SELECT number, object_key, pages, beginning, came_by, follows FROM page_bundle
                   WHERE attempt_id = %s AND holds = %s ORDER BY number""",
                (self.attempt.attempt_id, self.holds),
            ).fetchall()
            whole = self._whole([key for _, key, *_ in taken])
            if lost := taken[whole:]:  # killed between a row and its object
                self.locked.installation.objects.delete(key for _, key, *_ in lost)
                connection.execute(
                    "DELETE FROM page_bundle WHERE attempt_id = %s AND number >= %s AND holds = %s",
                    (self.attempt.attempt_id, lost[0][0], self.holds),
                )
            taken = taken[:whole]
            self.number = self._free_number(connection)
        if not taken:
            return Walk(settings)
        _, _, _, beginning, came_by, follows = taken[-1]
        self.pages = sum(pages for _, _, pages, *_ in taken)
        stored = _read(self.locked.installation, [key for _, key, _, of, *_ in taken if of == beginning])
        return Walk(settings, stored=stored, came_by=came_by, follows=follows, beginning=beginning, goes_on=True)

    def _free_number(self, connection: Connection[Any]) -> int:
        """Behind all bundles of the attempt, whatever they hold."""
        row = connection.execute(
            "SELECT coalesce(max(number) + 1, 0) FROM page_bundle WHERE attempt_id = %s", (self.attempt.attempt_id,)
        ).fetchone()
        return int(row[0]) if row else 0

    def _whole(self, bundles: Sequence[str]) -> int:
        """How many of these come before the first whose object is not there."""
        there = replay.there(self.locked.installation, bundles)
        return next((place for place, key in enumerate(bundles) if key not in there), len(bundles))

    def all(self, pages: Iterator[bytes], walk: Walk) -> None:
        """Store them to the last one that comes. Raises SourceError when the source fails; what came before is
        stored."""
        bundle = _Bundle()
        with ThreadPoolExecutor(1, thread_name_prefix="pages") as storer:
            try:
                for page in pages:
                    if bundle.pages and bundle.beginning != walk.beginning:
                        bundle = self._hand_on(bundle, storer)
                    bundle.add(self.left_out.without(page) if self.holds == "records" else page, walk)
                    if self._is_enough(bundle):
                        bundle = self._hand_on(bundle, storer)
            except SourceError:
                self._last(bundle)
                raise
            self._last(bundle)

    def _is_enough(self, bundle: _Bundle) -> bool:
        """A source that is slow must not keep hours of its pages from being stored."""
        limits = self.locked.installation.limits
        return bundle.size >= limits.page_bundle_bytes or time.monotonic() - bundle.since >= limits.page_bundle_seconds

    def _hand_on(self, bundle: _Bundle, storer: ThreadPoolExecutor) -> _Bundle:
        if self._storing:
            self._storing.result()
        self._storing = storer.submit(self._store, bundle, self._next_number(bundle))
        attempt = self.attempt
        if attempt.base_gen == 0 or attempt.mode == "reset" or attempt.replays:  # all of it will be extracted
            self.locked.installation.workers.prepare()
        return _Bundle()

    def _last(self, bundle: _Bundle) -> None:
        if self._storing:
            self._storing.result()
        if bundle.pages:
            self._store(bundle, self._next_number(bundle))

    def _next_number(self, bundle: _Bundle) -> int:
        self.pages += len(bundle.pages)
        self.bytes += bundle.size
        self.number += 1
        return self.number - 1

    def _store(self, bundle: _Bundle, number: int) -> None:
        """The row comes first: of an object that is there the store knows, whatever was killed."""
        key = keys.page_bundle(self.attempt.attempt_id, number)
        with self.locked.connection() as connection:
            connection.execute(
                """INSERT INTO page_bundle (attempt_id, number, object_key, pages, beginning, came_by, follows, holds)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
                (
                    self.attempt.attempt_id,
                    number,
                    key,
                    len(bundle.pages),
                    bundle.beginning,
                    bundle.came_by,
                    bundle.follows,
                    self.holds,
                ),
            )
        put_bundle(self.locked, key, bundle.pages)


def put_bundle(locked: LockedSet, key: str, pages: Sequence[bytes]) -> None:
    """Store pages of the set as an object, in the place of what was there."""
    locked.installation.objects.put(key, zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(pages)))


def bundled(installation: Installation, key: str) -> list[bytes]:
    """The pages of an object."""
    return _pages.decode(_bundle(installation, key))


def stored_pages(installation: Installation, attempt: Attempt) -> Iterator[bytes]:
    """The pages of an attempt in the order in which they arrived; those that it replays first. Of a list that was
    begun anew only the last beginning: it holds all that those before it did, as it is now."""
    with installation.pool.connection() as connection:
        before = attempts.covering(connection, attempt.set_id, attempt.attempt_id) if attempt.replays else []
        of = [*(one.attempt_id for one in before), attempt.attempt_id]
        bundles = [
            row[0]
            for row in connection.execute(
                """SELECT object_key FROM page_bundle p WHERE attempt_id = ANY (%(of)s) AND holds <> 'identifiers'
                     AND beginning = (SELECT max(beginning) FROM page_bundle n
                                      WHERE n.attempt_id = p.attempt_id AND n.holds = p.holds)
                   ORDER BY array_position(%(of)s, attempt_id), number""",
                {"of": of},
            )
        ]
    return _read(installation, bundles)


def identifier_pages(installation: Installation, attempt: Attempt) -> Iterator[bytes]:
    """The pages of the list of identifiers of an attempt, in the order in which they arrived."""
    with installation.pool.connection() as connection:
        rows = connection.execute(
            """SELECT object_key FROM page_bundle p WHERE attempt_id = %(attempt)s AND holds = 'identifiers'
                 AND beginning = (SELECT max(beginning) FROM page_bundle n
                                  WHERE n.attempt_id = %(attempt)s AND n.holds = 'identifiers')
               ORDER BY number""",
            {"attempt": attempt.attempt_id},
        ).fetchall()
    return _read(installation, [key for (key,) in rows])


def _read(installation: Installation, bundles: Sequence[str]) -> Iterator[bytes]:
    with read_ahead(_bundle(installation, key) for key in bundles) as read:
        for bundle in read:
            yield from _pages.decode(bundle)


def _bundle(installation: Installation, key: str) -> bytes:
    return zstandard.ZstdDecompressor().decompress(installation.objects.get(key))
