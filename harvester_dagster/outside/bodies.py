"""Bodies behind URLs: fetched once per validity, kept once per content, whoever asks.

Belongs here: the table `fetch`, the turns that callers for one URL take, and what a body's first bytes say it is.
Does not belong here: whether a URL changed (`check_url` finds its validator), what is made of a body (the tasks).
"""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from psycopg import Connection, OperationalError

from harvester_dagster.failures import OutsideError
from harvester_dagster.outside.http import MIB, Download, Outside, check_url_form
from harvester_dagster.store import keys, locks
from harvester_dagster.store.database import Pool
from harvester_dagster.store.objects import Objects, disk_failure

MAX_BODY = 256 * MIB
_HEAD = 8192
_CONTENT = "sha256:"


@dataclass(frozen=True)
class Body:
    """What stands behind a URL. `media_type` is what its first bytes say, None when they say nothing."""

    digest: str
    length: int
    media_type: str | None
    objects: Objects

    @property
    def key(self) -> str:
        """The key of the stored object that holds it."""
        return keys.body(self.digest)

    @property
    def path(self) -> Path:
        """A local file with the content, to be read soon and not written. Raises StorageError."""
        return self.objects.path(self.key)


class _Fetched(NamedTuple):
    """A row of `fetch` that ended well."""

    validator: str | None
    digest: bytes
    length: int
    media_type: str | None


Known = Mapping[tuple[str, str | None], _Fetched]
"""What `Bodies.known` found, by URL and validator."""


class Bodies:
    """What was fetched of URLs, and the way to fetch what was not. One object serves all threads; `clock` answers in
    UTC."""

    def __init__(
        self, pool: Pool, objects: Objects, outside: Outside, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._pool = pool
        self._objects = objects
        self._outside = outside
        self._clock = clock
        self._turns = _Turns(pool)

    def get(self, url: str, validator: str | None, known: Known = MappingProxyType({})) -> Body:
        """The body that the URL has while this validator holds, fetched unless it is kept already. Raises OutsideError,
        of which StorageError when our own disk or bucket fails.

        `known`: what the method of that name found; it saves asking the store about this URL.
        """
        if (url, validator) in known and (body := self._existing(known[url, validator])):
            return body
        check_url_form(url)
        if body := self._kept(url, validator):
            return body
        with self._turns.of(url):
            return self._kept(url, validator) or self._fetched(url, validator)

    def known(self, wanted: Sequence[tuple[str, str | None]]) -> Known:
        """What is kept of these URLs under these validators, by one statement. What cannot be a URL is left out."""
        asked = [place for place in dict.fromkeys(wanted) if _can_be_asked(place)]
        with self._pool.connection() as connection:
            rows = connection.execute(
                """SELECT w.place, f.validator, f.digest, f.length, f.media_type
                   FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS w (url, validator, place)
                   JOIN harvester.fetch f ON f.ok AND md5(f.url) = md5(w.url) AND f.url = w.url
                    AND coalesce(f.validator, '') = coalesce(w.validator, '') AND f.digest IS NOT NULL""",
                ([url for url, _ in asked], [validator for _, validator in asked]),
            )
            return {asked[row[0] - 1]: _Fetched(row[1], bytes(row[2]), row[3], row[4]) for row in rows}

    def content_validator(self, url: str, previous: str | None) -> str | None:
        """A validator made of the content, fetched now, for a URL whose server names none. Raises OutsideError.

        The previous one when the content is unchanged; None, without a fetch, when nobody has read the URL yet.
        """
        with self._turns.of(url):
            before = self._known(url, previous)
            if before is None:
                return previous
            downloaded, file = self._download(url, {})
            if downloaded.sha256 == before.digest:
                file.unlink(missing_ok=True)
                return previous
            validator = _CONTENT + downloaded.sha256.hex()
            self._keep(url, validator, downloaded, file)
            return validator

    def _kept(self, url: str, validator: str | None) -> Body | None:
        known = self._known(url, validator)
        return self._existing(known) if known else None

    def _existing(self, known: _Fetched) -> Body | None:
        digest = known.digest.hex()
        if not self._objects.exists(keys.body(digest)):
            return None
        return Body(digest, known.length, known.media_type, self._objects)

    def _fetched(self, url: str, validator: str | None) -> Body:
        before = self._newest(url)
        if before is None or not self._objects.exists(keys.body(before.digest.hex())):
            before = None
        downloaded, file = self._download(url, _conditions(before.validator if before else None))
        if downloaded.status != 304:
            return self._keep(url, validator, downloaded, file)
        file.unlink(missing_ok=True)
        assert before is not None, "304 answers a condition only: `download` sees to that"
        self._remember(url, validator, 304, before.digest, before.length, before.media_type)
        return Body(before.digest.hex(), before.length, before.media_type, self._objects)

    def _download(self, url: str, conditions: dict[str, str]) -> tuple[Download, Path]:
        """The body in a file of its own, on the disk, not yet kept. A failure leaves a row that says why."""
        try:
            handle, name = tempfile.mkstemp(dir=self._objects.scratch)
            file = Path(name)
            try:
                with os.fdopen(handle, "w+b") as to:
                    return self._outside.download(url, to, max_bytes=MAX_BODY, headers=conditions), file
            except BaseException:
                file.unlink(missing_ok=True)
                raise
        except OutsideError as error:
            self._remember_failure(url, error)
            raise
        except OSError as error:
            raise disk_failure(error, self._objects.scratch) from None

    def _keep(self, url: str, validator: str | None, downloaded: Download, file: Path) -> Body:
        """The row comes first: of a body that is there the store knows, whatever was killed; one that a row names and
        that is not there is fetched again."""
        with file.open("rb") as content:
            media_type = sniffed(content.read(_HEAD))
        digest = downloaded.sha256.hex()
        self._remember(url, validator, downloaded.status, downloaded.sha256, downloaded.length, media_type)
        if self._objects.exists(keys.body(digest)):
            file.unlink(missing_ok=True)
        else:
            self._objects.put(keys.body(digest), file)
        return Body(digest, downloaded.length, media_type, self._objects)

    def _known(self, url: str, validator: str | None) -> _Fetched | None:
        return self._row("AND coalesce(validator, '') = coalesce(%s, '')", url, validator)

    def _newest(self, url: str) -> _Fetched | None:
        return self._row("ORDER BY fetched_at DESC LIMIT 1", url)

    def _row(self, clause: str, url: str, *values: Any) -> _Fetched | None:
        query = f"""SELECT validator, digest, length, media_type FROM harvester.fetch
                    WHERE ok AND md5(url) = md5(%s) AND url = %s AND digest IS NOT NULL {clause}"""
        with self._pool.connection() as connection:
            row = connection.execute(query, (url, url, *values)).fetchone()
        return _Fetched(row[0], bytes(row[1]), row[2], row[3]) if row else None

    def _remember(
        self, url: str, validator: str | None, status: int, digest: bytes, length: int, media_type: str | None
    ) -> None:
        with self._pool.connection() as connection:
            connection.execute(
                """INSERT INTO harvester.fetch
                     (method, url, validator, status, ok, media_type, length, digest, fetched_at)
                   VALUES ('GET', %s, %s, %s, true, %s, %s, %s, %s)
                   ON CONFLICT (md5(url), coalesce(validator, '')) WHERE ok DO UPDATE SET
                     status = excluded.status, media_type = excluded.media_type, length = excluded.length,
                     digest = excluded.digest, fetched_at = excluded.fetched_at""",
                (url, validator, status, media_type, length, digest, self._clock()),
            )

    def _remember_failure(self, url: str, error: OutsideError) -> None:
        with self._pool.connection() as connection:
            connection.execute(
                """INSERT INTO harvester.fetch (method, url, status, ok, reason, fetched_at)
                   VALUES ('GET', %s, %s, false, %s, %s)""",
                (url, error.status, f"{error.code}: {error.sentence}", self._clock()),
            )


class _Turns:
    """One caller at a time for a URL, over all threads and processes.

    Threads wait for each other here; processes by advisory locks, which all stand on one connection, taken from the
    pool while there is any holder: a connection per download would leave none for those who write results.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}
        self._session: Connection[Any] | None = None
        self._holders = 0

    @contextlib.contextmanager
    def of(self, url: str) -> Iterator[None]:
        with self._in_this_process(url), self._among_processes(locks.url_key(url)):
            yield

    @contextlib.contextmanager
    def _in_this_process(self, url: str) -> Iterator[None]:
        with self._guard:
            lock, waiting = self._locks.get(url, (threading.Lock(), 0))
            self._locks[url] = lock, waiting + 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, waiting = self._locks.pop(url)
                if waiting > 1:
                    self._locks[url] = lock, waiting - 1

    @contextlib.contextmanager
    def _among_processes(self, key: int) -> Iterator[None]:
        with self._guard:
            self._holders += 1
        try:
            pause = 0.02
            while not self._ask(locks.try_take, key):
                time.sleep(pause)
                pause = min(pause * 1.5, 1.0)
            try:
                yield
            finally:
                with contextlib.suppress(OperationalError):  # a lost connection has lost its locks
                    self._ask(locks.give_back, key)
        finally:
            self._leave()

    def _ask(self, question: Callable[[Connection[Any], int], bool], key: int) -> bool:
        with self._guard:
            if self._session is None or self._session.closed:
                self._give_back()
                self._session = self._pool.getconn()
                self._session.autocommit = True
            return question(self._session, key)

    def _leave(self) -> None:
        with self._guard:
            self._holders -= 1
            if not self._holders:
                self._give_back()

    def _give_back(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            if not session.closed:
                session.autocommit = False
            self._pool.putconn(session)


def _can_be_asked(place: tuple[str, str | None]) -> bool:
    """Whether a statement can carry it: of a URL that is none, or a validator with NUL, nothing was ever kept."""
    url, validator = place
    try:
        check_url_form(url)
        (validator or "").encode()
    except (OutsideError, UnicodeError):
        return False
    return "\0" not in (validator or "")


def sniffed(head: bytes) -> str | None:
    """The media type that the first bytes of a content (8 KB are plenty) tell; None when they tell none."""
    import filetype

    if b"%PDF-" in head[:1024]:  # readers accept rubbish before it
        return "application/pdf"
    if found := filetype.guess_mime(head):
        return str(found)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "text/html"
    if text.startswith((b"<?xml", b"<!--", b"<svg")):
        if b"<svg" in text:
            return "image/svg+xml"
        if b"<html" in text:
            return "text/html"
        return "application/xml" if text.startswith(b"<?xml") else None
    return None


def _conditions(validator: str | None) -> dict[str, str]:
    """Ask for the body only if it is not the one of this validator (`check_url` wrote it)."""
    if validator is None or validator.startswith(_CONTENT):
        return {}
    if validator.startswith(('"', "W/")):
        return {"If-None-Match": validator}
    return {"If-Modified-Since": validator.rpartition(";")[0]}
