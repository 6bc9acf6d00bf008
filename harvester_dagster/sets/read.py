"""The records of a harvest that must be compared: its stored pages cut, what is known by its bytes left out, the others
extracted in workers, ahead of whoever compares them.

Memory: the chunks that are being extracted, eight for a worker.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from harvester_dagster.installation import Installation
from harvester_dagster.sets.attempts import Attempt
from harvester_dagster.sets.extract import Chunk, CutPage, Extracted, extracted
from harvester_dagster.sets.fetch import kind_of, stored_pages
from harvester_dagster.sets.known import AcceptedRecords

AHEAD = 8
"""Chunks for a worker: while a batch is compared, it must not run out of them."""
CHUNK_BYTES = 4 * 1024 * 1024


class _Waiting(NamedTuple):
    upto: int
    """The place in the harvest after its last record."""
    extraction: "Future[Extracted]"


class Reading:
    """One harvest's records, in their order. `chunk`: records that are extracted together, of pages that are not longer
    than `CHUNK_BYTES` together."""

    def __init__(
        self, installation: Installation, key: str, attempt: Attempt, accepted: AcceptedRecords, chunk: int
    ) -> None:
        self.records = 0
        """How many were cut so far."""
        self._installation, self._key, self._attempt = installation, key, attempt
        self._accepted, self._chunk = accepted, chunk
        self._kind = kind_of(installation, key)
        self._waiting: deque[_Waiting] = deque()
        self._upto = 0
        self._is_handed_on = False

    def __iter__(self) -> Iterator[Extracted]:
        workers = self._installation.workers
        ahead = workers.count * AHEAD
        with ThreadPoolExecutor(ahead, thread_name_prefix="extract") as pool:
            for pages in self._chunks():
                chunk = Chunk(self._key, self._attempt.since, pages)
                self._waiting.append(_Waiting(self.records, pool.submit(workers.run, extracted, chunk)))
                if self._accepted.is_full:  # everything, so that it can be forgotten
                    yield self._handed_on(len(self._waiting))
                elif len(self._waiting) > ahead:
                    yield self._handed_on(1)
            while self._waiting:
                yield self._handed_on(1)

    def all_compared(self) -> None:
        """Whoever reads has compared all that was handed on."""
        self._is_handed_on = False
        self._accepted.forget(before=self._upto)

    def _handed_on(self, chunks: int) -> Extracted:
        together = Extracted([], [])
        for _ in range(chunks):
            self._upto, extraction = self._waiting.popleft()
            found = extraction.result()
            together.sent.extend(found.sent)
            together.problems.extend(found.problems)
        self._is_handed_on |= bool(together.sent)
        return together

    def _chunks(self) -> Iterator[list[CutPage]]:
        """Pages with records to extract; an empty chunk where many pages have none."""
        chunk: list[CutPage] = []
        records = size = 0
        for content in stored_pages(self._installation, self._attempt):
            page = self._cut(content, pending=bool(chunk or self._waiting or self._is_handed_on))
            if page.wanted:
                chunk.append(page)
                records += len(page.wanted)
                size += len(content)
            if records >= self._chunk or size >= CHUNK_BYTES or self._accepted.is_full:
                yield chunk
                chunk, records, size = [], 0, 0
        yield chunk

    def _cut(self, content: bytes, pending: bool) -> CutPage:
        """A page, and which of its records must be extracted."""
        raws = self._kind.cut(content)
        first = self.records
        self.records += len(raws)
        hashes = [self._accepted.raw_hash(raw) for raw in raws]
        return CutPage(content, first, self._accepted.unknown(hashes, first, pending), hashes)
