"""Sending bulk lines: in parallel, within bounded memory, with back-off, without losing the rest to one bad document.

A request that fails is repeated as long as the failure may pass; refused because of what it holds, it is cut in halves
until the culprit stands alone. Items that the server has no room for are sent again; other items that fail are sent
once more by themselves, then left out and named. All of it can be repeated: every line says its document's id.
"""

import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from harvester_dagster.search import connection as failures
from harvester_dagster.search.bulk_lines import BulkLine
from harvester_dagster.search.connection import SLOW, Refused, Unreachable

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

CHUNK_BYTES = 2_000_000
CHUNK_LINES = 1_000
DELTA_LINES = 500
"""Of a difference: often so small that larger chunks would leave a sender without work."""

LARGE = 5_000_000
"""Bytes of a document from which on it is the culprit when the server, by itself, does not answer to it."""

_AGAIN = frozenset((429, 500, 502, 503, 504))
_ANSWER = "took,errors,items.*.status,items.*.error"


class Sending(NamedTuple):
    """How lines are sent."""

    patience: float = 120.0
    """Seconds for which one chunk is sent again and again."""
    answer_seconds: float = SLOW
    """Seconds that one request may take."""
    chunk_lines: int = CHUNK_LINES
    """Lines of one request, at most."""
    senders: int = 2
    """Requests at a time."""


AS_USUAL = Sending()


class Rejected(NamedTuple):
    """A document that the server does not take, and why."""

    doc_id: int
    srn: str
    reason: str


class BulkSent(NamedTuple):
    """How many lines were sent, and what was not taken."""

    lines: int
    rejected: tuple[Rejected, ...]
    slowest: float
    """Seconds of the slowest request that was answered."""


class TooManyRejected(Refused):
    """So many documents are not taken that the index would be none; the mapping, most likely."""


def send(
    client: "OpenSearch",
    index: str,
    lines: Iterable[BulkLine],
    *,
    allowed: int,
    how: Sending = AS_USUAL,
    after: Callable[[], object] = lambda: None,
) -> BulkSent:
    """Send all lines; at most `allowed` of them may be rejected. Raises SearchError, TooManyRejected among them.

    `how`: sizes and patience. `after` returns when the index may be written
    to; lines are read meanwhile. What it raises ends the load.
    """
    sender = _Sender(client, index, allowed, how)
    pending: deque[Future[None]] = deque()
    total = 0
    with ThreadPoolExecutor(how.senders, "bulk") as pool:
        try:
            for chunk in _chunks(lines, how.chunk_lines):
                total += len(chunk)
                if len(pending) > how.senders:
                    pending.popleft().result()
                pending.append(pool.submit(_send_after, after, sender, chunk))
            while pending:
                pending.popleft().result()
        except BaseException:
            sender.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return BulkSent(total, tuple(sender.rejected), sender.slowest)


def _send_after(after: Callable[[], object], sender: "_Sender", chunk: Sequence[BulkLine]) -> None:
    after()
    sender.send(chunk)


def _chunks(lines: Iterable[BulkLine], most: int) -> Iterator[list[BulkLine]]:
    chunk: list[BulkLine] = []
    size = 0
    for line in lines:
        if chunk and (size + len(line.data) > CHUNK_BYTES or len(chunk) == most):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line.data)
    if chunk:
        yield chunk


class _Sender:
    """What the threads of one load share."""

    def __init__(self, client: "OpenSearch", index: str, allowed: int, how: Sending) -> None:
        self.client, self.index, self.allowed, self.how = client, index, allowed, how
        self.rejected: list[Rejected] = []
        self.slowest = 0.0
        self.stopped = threading.Event()
        self.lock = threading.Lock()

    def send(self, chunk: Sequence[BulkLine]) -> None:
        """Until nothing of the chunk is left. No tenacity: each time something else is sent, what is left of it or its
        halves, and the pause begins anew when the server took some."""
        deadline, pause, failed = time.monotonic() + self.how.patience, 0.1, 0
        while not self.stopped.is_set():
            left = chunk
            try:
                left = self._left(chunk, self._ask(chunk))
            except Refused as error:
                if not _by_content(error):
                    raise
                return self._halves(chunk) if len(chunk) > 1 else self._reject(chunk[0], str(error))
            except Unreachable as error:
                failed += 1
                if time.monotonic() > deadline:
                    if len(chunk) == 1 and len(chunk[0].data) > LARGE:
                        return self._reject(chunk[0], f"{len(chunk[0].data):,} bytes: {error}")
                    raise
                if failed == 3 and len(chunk) > 1 and _without_answer(error):  # too much for something in between?
                    return self._halves(chunk)
            if not left:
                return None
            if time.monotonic() > deadline:
                raise Unreachable(f"{self.index}: the server has had no room for {self.how.patience:.0f} s (429)")
            self.stopped.wait(pause * random.uniform(0.8, 1.2))
            pause = 0.1 if len(left) < len(chunk) else min(pause * 2, 10)
            chunk = left
        return None

    def _halves(self, chunk: Sequence[BulkLine]) -> None:
        middle = len(chunk) // 2
        self.send(chunk[:middle])
        self.send(chunk[middle:])

    def _ask(self, chunk: Sequence[BulkLine]) -> list[Any]:
        """The items of the answer, in order; empty: all went well."""
        started = time.monotonic()
        with failures.asking(f"bulk into {self.index}"):
            answer = self.client.bulk(
                body=b"".join(line.data for line in chunk),
                index=self.index,
                params={"filter_path": _ANSWER, "request_timeout": self.how.answer_seconds},
            )
        with self.lock:
            self.slowest = max(self.slowest, time.monotonic() - started)
        if not answer.get("errors"):
            return []
        items = [next(iter(item.values())) for item in answer["items"]]
        if len(items) != len(chunk):
            raise Unreachable(f"bulk into {self.index}: {len(items)} answers for {len(chunk)} documents")
        return items

    def _left(self, chunk: Sequence[BulkLine], items: Sequence[Any]) -> list[BulkLine]:
        """Those to be sent again; what fails for a reason of its own is tried alone, then rejected."""
        again = []
        for line, item in zip(chunk, items, strict=False):
            status, error = item["status"], item.get("error")
            if status < 300 or (status == 404 and error is None):  # a delete of what is not there
                continue
            reason = _reason(error)
            if failures.is_disk_full(reason):
                raise Refused(f"bulk into {self.index}: the server's disk is full (flood stage)", "free some space")
            if "cluster_block_exception" in reason or "index_not_found_exception" in reason:
                raise Refused(f"bulk into {self.index}: {reason}")
            if status in _AGAIN:
                again.append(line)
            elif len(chunk) == 1:
                self._reject(line, reason)
            else:
                self.send([line])
        return again

    def _reject(self, line: BulkLine, reason: str) -> None:
        with self.lock:
            self.rejected.append(Rejected(line.doc_id, line.srn, reason))
            if len(self.rejected) > self.allowed:
                raise TooManyRejected(
                    f"{self.index}: more than {self.allowed} documents are refused; the last one, {line.srn}: "
                    f"{_without_values(reason)}"
                )


_FIELD = re.compile(r"(?:(?<!date )field|mapping for) ?[=\[\"' ]+([\w.]+)[\]\"']")


def _without_values(reason: str) -> str:
    """Its kind, and the field that is named first: what else is said quotes what the document holds, and this is told
    to many."""
    found = _FIELD.search(reason)
    return reason.partition(":")[0] + (f" (field {found[1]})" if found else "")


def _by_content(error: Refused) -> bool:
    """Whether a request was refused for what it holds: malformed or too long an id (400), too large (413)."""
    status = getattr(error.__cause__, "status_code", None)
    return status in (400, 413)


def _without_answer(error: Unreachable) -> bool:
    """Whether a request ended without a status: cut, or not answered in time."""
    return not isinstance(getattr(error.__cause__, "status_code", None), int)


def _reason(error: Any) -> str:
    if not isinstance(error, dict):
        return msgspec.json.encode(error).decode()[:500]
    cause = error.get("caused_by") or {}
    parts = [str(error.get("type", "")), str(error.get("reason", "")), str(cause.get("reason", ""))]
    return ": ".join(part for part in parts if part)[:500]
