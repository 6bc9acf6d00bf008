"""Is what stands behind a file's URL there, what is it, and is it still what it was?

Belongs here: the task `check_url`. What a URL answers is asked by `outside/`; whether a body changed is told by a
validator: its ETag, else Last-Modified and length, else its content. Does not belong here: reading bodies for their
own sake (the content tasks do, under the validator), and which files are shown (`visibility.py`).

| how a look ends          | kind    | data                                 | looked at again            |
|--------------------------|---------|--------------------------------------|----------------------------|
| status < 400             | success | what was seen                        | after recheck_days         |
| 404, 410                 | failure | what was seen: *not found*           | after recheck_missing_days |
| else, after a success    | success | the success's, a strike more         | at the set's next run      |
| else, it may pass        | retry   | what was seen, a strike more         | at the set's next run      |
| else (403, a loop, …)    | failure | what was seen, a strike more         | at the set's next run      |
| else, when it is hidden  | failure | what hid it                          | after recheck_missing_days |

With `tasks.youtube = false` nothing of YouTube is asked: a URL there, or one that redirects there, succeeds with 203.
A strike is a day with such a failure; with `dead_after_nights` of them the file is hidden. A look that is put off
(a host that hangs, our own disk) leaves everything as it was, due again.
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from harvester_dagster.failures import OutsideError, StorageError, TransientError
from harvester_dagster.outside.http import Probe, media_type
from harvester_dagster.store.away import is_away
from harvester_dagster.tasks import access_policy
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task
from harvester_dagster.tasks.visibility import is_hidden

THREADS = 48
PER_HOST = 4
"""Probes of one host at once, so that a dozen hosts that hang hold up nobody else. The polite rate comes before it."""
SECONDS = 20.0
_UNCHECKED = 203
_GONE = frozenset({404, 410})
_TEMPORARY = frozenset({302, 303, 307})
_HOST_IS_AWAY = frozenset({"connect", "connect-timeout", "dns", "no-such-host", "held"})
_AWAY_AFTER = 3
_HANGS_AFTER = 5


class _Seen(NamedTuple):
    """What one look at a URL told: an answer, or why there is none, or why it was put off."""

    probe: Probe | None = None
    validator: str | None = None
    error: OutsideError | None = None
    put_off: str = ""


def run(items: Sequence[Item], context: Context, seconds: float = SECONDS) -> Iterator[tuple[Item, Outcome]]:
    """Look at each URL once, hosts side by side; an answer may take so many seconds. A file that may not be checked
    gets the success 203 on trust."""
    by_url: dict[str, list[Item]] = {}
    for item in items:
        if _is_asked(item.subject, context):
            by_url.setdefault(_url(item), []).append(item)
        else:
            yield item, _unchecked(item)
    for url, seen in _looks({url: _before(items[0]) for url, items in by_url.items()}, context, seconds):
        for item in by_url[url]:
            yield item, _outcome(item, seen, context)


def _outcome(item: Item, seen: _Seen, context: Context) -> Outcome:
    """What a look means, given how the ones before ended."""
    tasks = context.config.tasks
    if seen.put_off:
        kind, known = (item.previous.kind, item.previous.data) if item.previous else ("retry", None)
        return Outcome(kind, known, f"put off: {seen.put_off}", context.now)
    data = _data(_url(item), seen)
    if seen.error is None and data["status"] < 400:
        return Outcome("success", data, due_at=context.now + timedelta(days=tasks.recheck_days))
    reason = seen.error.sentence if seen.error else f"answered {data['status']}"
    if data["status"] in _GONE:
        return _not_found(item, data, reason, context)
    if item.previous and is_hidden(item.previous, tasks):
        return _not_found(item, _before(item), reason, context)
    return _struck(item, data, reason, isinstance(seen.error, TransientError), context)


def _not_found(item: Item, data: Mapping[str, Any], reason: str, context: Context) -> Outcome:
    """Out of all output; looked at again ever more rarely."""
    waits = context.config.tasks.recheck_missing_days
    misses = int(_before(item).get("misses") or 0)
    days = waits[min(misses, len(waits) - 1)]
    return Outcome("failure", {**data, "misses": misses + 1}, reason, context.now + timedelta(days=days))


def _struck(item: Item, data: dict[str, Any], reason: str, transient: bool, context: Context) -> Outcome:
    """The file stays as it was, until it has failed on enough days."""
    before, enough = _before(item), context.config.tasks.dead_after_nights
    today = context.now.astimezone(context.config.zone).date().isoformat()
    strikes = int(before.get("strikes") or 0) + (before.get("struck_on") != today)
    struck = {"strikes": strikes, "struck_on": today}
    if strikes >= enough:
        return _not_found(item, data | struck, reason, context)
    reason = f"{reason} (day {strikes} of {enough})"
    if item.previous and item.previous.kind == "success":
        return Outcome("success", {**before, **struck}, reason, context.now)
    return Outcome("retry" if transient else "failure", data | struck, reason, context.now)


def _before(item: Item) -> Mapping[str, Any]:
    return (item.previous.data or {}) if item.previous else {}


def _is_asked(subject: Subject, context: Context) -> bool:
    return context.settings.check_urls and access_policy.contact_refused(subject, context) is None


def _unchecked(item: Item) -> Outcome:
    """The set's server blocks checkers, or nobody is to be contacted there: later tasks run on trust."""
    return Outcome("success", _data(_url(item), _Seen()) | {"status": _UNCHECKED})


def _data(url: str, seen: _Seen) -> dict[str, Any]:
    """One shape for all outcomes. Nothing in it differs between two looks at the same thing."""
    probe, error = seen.probe, seen.error
    hops = probe.hops if probe else error.hops if error else ()
    return {
        "url": probe.url if probe else url,
        "status": probe.status if probe else error.status if error else None,
        "content_type": (media_type(probe.headers) or None) if probe else None,
        "has_redirect": bool(hops),
        "has_temporary_redirect": any(hop.status in _TEMPORARY for hop in hops),
        "redirects": [{"status": hop.status, "url": hop.url} for hop in hops],
        "validator": seen.validator,
        "error": error.code if error else None,
        "strikes": 0,
        "misses": 0,
    }


def _validator(headers: Mapping[str, str]) -> str | None:
    """What changes when the body does: its ETag, else Last-Modified and length."""
    if etag := headers.get("ETag", "").strip():
        return etag
    modified = headers.get("Last-Modified", "").strip()
    length = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    return f"{modified};{length.strip()}" if modified and length.strip().isdigit() else None


def _url(item: Item) -> str:
    return str(item.subject.properties.get("url") or "")


def _looks(urls: Mapping[str, Mapping[str, Any]], context: Context, seconds: float) -> Iterator[tuple[str, _Seen]]:
    """Look at all URLs (each with what was known of it), many hosts at once, each at its own pace; in any order."""
    hosts: dict[str, _Host] = {}
    for url in sorted(urls, key=lambda url: _order(url, context)):
        hosts.setdefault(_host(url), _Host()).waiting.append(url)
    ready = deque(hosts.values())
    running: dict[Future[_Seen], tuple[_Host, str]] = {}
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="check_url")
    try:
        while ready or running:
            while ready and len(running) < THREADS:
                host = ready.popleft()
                url = host.waiting.popleft()
                host.running += 1
                running[pool.submit(host.look, url, urls[url].get("validator"), context, seconds)] = host, url
                if host.waiting and host.running < PER_HOST:
                    ready.append(host)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                host, url = running.pop(future)
                if host.waiting and host.running == PER_HOST:
                    ready.append(host)
                host.running -= 1
                yield url, future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _order(url: str, context: Context) -> bytes:
    """Another one each day: what is put off today has its turn tomorrow."""
    return blake2b(f"{context.now:%Y-%m-%d}{url}".encode("utf-8", "replace"), digest_size=8).digest()


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _look(url: str, known: str | None, context: Context, seconds: float) -> _Seen:
    try:
        may_go = context.config.tasks.youtube
        probe = context.outside.probe(
            url, timeout=seconds, follows=lambda target: may_go or not access_policy.is_youtube(target)
        )
        if probe.status >= 400:
            return _Seen(probe)
        return _Seen(probe, _validator(probe.headers) or context.bodies.content_validator(url, known))
    except StorageError as error:
        return _Seen(put_off=error.sentence)
    except OutsideError as error:
        if error.code == "not-followed":
            return _Seen(Probe(_UNCHECKED, url, {}, error.hops), access_policy.NOT_FOLLOWED)
        return _Seen(error=error)
    except Exception as error:  # a fault of ours: at this URL it must not end the others' looks
        if is_away(error):
            raise
        return _Seen(put_off=f"{type(error).__name__}: {error}")


class _Host:
    """The URLs of one host. When nobody answers there, its other URLs need not be asked one by one."""

    def __init__(self) -> None:
        self.waiting: deque[str] = deque()
        self.running = 0
        self._lock = threading.Lock()
        self._away: OutsideError | None = None
        self._away_count = 0
        self._slow_count = 0

    def look(self, url: str, known: str | None, context: Context, seconds: float) -> _Seen:
        """`known` is the validator that the URL had."""
        if self._away is not None and self._away_count >= _AWAY_AFTER:
            return _Seen(error=self._away)
        if self._slow_count >= _HANGS_AFTER:
            return _Seen(put_off="its host answers too slowly")
        seen = _look(url, known, context, seconds)
        self._learn(seen.error)
        return seen

    def _learn(self, error: OutsideError | None) -> None:
        code = error.code if error else ""
        with self._lock:
            self._away_count = self._away_count + 1 if code in _HOST_IS_AWAY else 0
            self._away = error if code in _HOST_IS_AWAY else None
            self._slow_count = self._slow_count + 1 if code == "timeout" else 0


TASK = Task(
    name="check_url",
    entity="files",
    version=1,
    reads=("$.hash", "$.url"),
    run=run,
    looks_up=_is_asked,
    batch=2000,
    summary="Is the file's URL there: follows redirects, sees status, type and whether it changed",
    hides=is_hidden,
)
