"""The task `tika`: the full text of a file, by an Apache Tika server.

Belongs here: the call (the body is uploaded, so that the server needs no way out), what happens when the server dies
or hangs on a document, and reading its answer; XHTML is asked for and filtered by `xhtml_text.py`.
Does not belong here: starting a server. Its address is `tasks.tika_url`; the launcher of the bundled one names its
own in `HARVESTER_TIKA_URL`.
"""

import math
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from harvester_dagster.failures import OutsideError, PermanentError, TransientError
from harvester_dagster.outside.http import Outside
from harvester_dagster.tasks import access_policy
from harvester_dagster.tasks.once_per_body import body_of, each, known_bodies, once
from harvester_dagster.tasks.plain_text import in_utf8
from harvester_dagster.tasks.published import PublishedField
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task
from harvester_dagster.tasks.xhtml_text import language_of, text_of

if TYPE_CHECKING:
    from harvester_dagster.outside.bodies import Body, Known

CLIENTS = 4
"""Measured on two cores with small PDFs: 105 a second with one client, 340 with four, no more with eight."""
THREADS = 8
"""Twice the clients: while one stores, another asks. A fifth faster than as many threads as clients."""
SECONDS = 60
READY_SECONDS = 15
"""So long a server is waited for that was not seen yet."""
BACK_SECONDS = 60
"""So long one that was: the bundled one's watchdog restarts its worker in 2 to 4 seconds, a container's supervisor the
whole server in about 20."""
GIVEN_UP_DAYS = 30
"""After these a file that killed Tika is tried again: a later Tika may survive it."""
MAX_CHARACTERS = 4_000_000
MAX_TEXTS = 100
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # packing cost the server 2 of 9 ms for a small PDF
    "Content-Type": "application/octet-stream",  # the content tells its type, not who served it
    "X-Tika-Timeout-Millis": str(SECONDS * 1000),
    "writeLimit": str(MAX_CHARACTERS),
    "maxEmbeddedResources": str(MAX_TEXTS),
}
_SMALL = 1 << 20
"""Bytes that are sent from memory; more are streamed from the file."""
_REFUSED = (413, 415, 422)
"""The document's fault; any other refusal is a matter of the server or its address, and nobody's for ever."""
_EXCEPTION = "X-TIKA:EXCEPTION:"
_CUT = "X-TIKA:EXCEPTION:write_limit_reached"
_FLAGS = {
    "embedded_resource_limit_reached": "more embedded files than are read",
    "embedded_depth_limit_reached": "files inside files, deeper than is read",
    "warn": "a warning without words",
}
"""What Tika says by a flag: `…embedded_resource_limit_reached: "true"`."""
_JAVA_NAME = re.compile(r"^(?:[a-z][\w$]*\.)+([A-Z]\w*)")


class GoneError(Exception):
    """The server died and did not come back; nothing was sent to it."""


class Server:
    """A Tika server, called through the one way out, whose guard lets exactly this configured host pass."""

    def __init__(self, address: str, user_agent: str) -> None:
        self.address = address.rstrip("/")
        host = urlsplit(address).hostname or ""
        self._turn = threading.Semaphore(CLIENTS)
        self._looking, self._up, self._gone = threading.Lock(), True, False
        self._outside = Outside(allow_hosts=(host,), per_host_per_second=math.inf, user_agent=user_agent)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._outside.close()

    def read(self, body: "Body") -> list[dict[str, Any]]:
        """Metadata and XHTML of the document and of what is embedded in it. Raises OutsideError, and GoneError without
        having sent anything."""
        data: bytes | Path = body.path
        headers = HEADERS
        if body.length <= _SMALL:
            data, encoding = in_utf8(body.path.read_bytes())
            headers = HEADERS | {"Content-Type": "text/plain; charset=UTF-8"} if encoding else HEADERS
        with self._turn:
            if not self.is_back():
                raise GoneError
            try:
                answer = self._outside.put(
                    f"{self.address}/rmeta/xml", data=data, headers=headers, timeout=SECONDS + 10
                )
            except TransientError:
                self._up = False
                raise
        try:
            found = msgspec.json.decode(answer.body)
        except msgspec.DecodeError:
            raise PermanentError("bad-answer", "Tika answered with something that is not JSON") from None
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def version(self) -> str:
        """What it says it is. Raises OutsideError."""
        return (
            self._outside.get(f"{self.address}/version", timeout=5, attempts=1).body.decode("utf-8", "replace").strip()
        )

    def is_back(self) -> bool:
        """Whether it is there: at once, unless a call was cut off; then one asks until it is back, and the others wait
        for the answer, so that a death costs only what was under way."""
        with self._looking:
            if not self._up and not self._gone:
                self._up = self.ready(BACK_SECONDS)
                self._gone = not self._up
            return self._up

    def ready(self, seconds: float) -> bool:
        """Whether it answers, or does so within so many seconds: it may be restarting."""
        until = time.monotonic() + seconds
        while True:
            try:
                self.version()
                return True
            except OutsideError:
                if time.monotonic() > until:
                    return False
                time.sleep(0.25)


def run(
    items: Sequence[Item], context: Context, ready_seconds: float = READY_SECONDS
) -> Iterator[tuple[Item, Outcome]]:
    """Ask for all files at once first. What was cut off then, at most as many as there are clients, is asked for again
    alone: what is cut off alone too is given up, so that only the one that kills Tika suffers. A server that is not
    there yet is waited for so many seconds.
    """
    address = context.config.tasks.tika_url or os.environ.get("HARVESTER_TIKA_URL", "")
    if not address:
        yield from ((item, Outcome("retry", reason="no Tika server: set tasks.tika_url")) for item in items)
        return
    with Server(address, context.config.network.user_agent) as server:
        if not server.ready(ready_seconds):
            yield from ((item, _away(server)) for item in items)
            return
        suspects: list[Item] = []
        known = known_bodies(items, context)
        for item, outcome in each(items, context, lambda item: _first(item, server, context, known), THREADS):
            if outcome is _SUSPECT:
                suspects.append(item)
            else:
                yield item, outcome
        yield from _alone(suspects, server, context)


def _alone(suspects: Sequence[Item], server: Server, context: Context) -> Iterator[tuple[Item, Outcome]]:
    for place, item in enumerate(suspects):
        if not server.is_back():
            yield from ((left, _away(server)) for left in suspects[place:])
            return
        for found, outcome in each([item], context, lambda item: _first(item, server, context, {}), 1):
            yield found, _given_up(context) if outcome is _SUSPECT else outcome


def _given_up(context: Context) -> Outcome:
    again = context.now + timedelta(days=GIVEN_UP_DAYS)
    return Outcome("failure", reason="Tika died or hung on it, among others and alone", due_at=again)


_SUSPECT = Outcome("retry", reason="Tika gave no answer")


def _away(server: Server) -> Outcome:
    return Outcome("retry", reason=f"the Tika server at {server.address} does not answer")


def _first(item: Item, server: Server, context: Context, known: "Known") -> Outcome:
    body = body_of(item, context, known)
    return once(body, TASK, context, lambda _prefix: _extract(body, server))


def _extract(body: "Body", server: Server) -> Outcome:
    started = perf_counter()
    if not body.length:
        return Outcome("empty", reason="the file is empty")
    try:
        found = server.read(body)
    except GoneError:
        return _away(server)
    except TransientError:
        return _SUSPECT
    except PermanentError as error:
        its_own = error.code == "too-large" or error.status in _REFUSED
        return Outcome("failure" if its_own else "retry", reason=f"Tika refused it: {error}")
    return outcome_of_answer(found, perf_counter() - started)


def outcome_of_answer(found: Sequence[Mapping[str, Any]], seconds: float = 0.0) -> Outcome:
    """The outcome that an answer of Tika is: content with an exception still counts as success; nothing at all is
    `empty`."""
    texts = [text for one in found[: MAX_TEXTS + 1] if (text := _text(one))]
    exceptions = [
        words
        for one in found
        for name, value in one.items()
        if name.startswith(_EXCEPTION) and name != _CUT and (words := _in_words(name.removeprefix(_EXCEPTION), value))
    ]
    about = {
        "content_type": _content_type(found),
        "cut": any(_CUT in one for one in found),
        "exceptions": exceptions[:5],
        "seconds": round(seconds, 3),
    }
    if texts:
        return Outcome("success", {"texts": texts, **about})
    if exceptions:
        return Outcome("failure", about, reason=f"Tika could not read it: {exceptions[0]}")
    return Outcome("empty", about, reason="no content")


def _text(one: Mapping[str, Any]) -> dict[str, Any] | None:
    if one.get("embeddedResourceType") == "THUMBNAIL":
        return None
    content_type = str(one.get("Content-Type") or "")
    text = text_of(str(one.get("X-TIKA:content") or ""), web_page="html" in content_type)
    if not text:
        return None
    name = one.get("X-TIKA:embedded_resource_path")
    return {"text": text, "language": language_of(text), **({"embedded": str(name)[:300]} if name else {})}


def _in_words(name: str, trace: object) -> str:
    """The first line of a Java stack trace, without the package names; of a flag what it is about, "" for one that is
    down."""
    first = str(trace[0] if isinstance(trace, list) and trace else trace).strip().partition("\n")[0]
    if first.lower() in ("false", "none", "null"):
        return ""
    if first.lower() in ("true", ""):
        return _FLAGS.get(name, name.replace("_", " "))[:200]
    return _JAVA_NAME.sub(r"\1", first).strip()[:200]


def _content_type(found: Sequence[Mapping[str, Any]]) -> str | None:
    value = found[0].get("Content-Type") if found else None
    return str(value).partition(";")[0] if value else None


def _condition(subject: Subject, context: Context) -> str | None:
    return access_policy.content_refused(subject, context)


def _texts(data: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    return ((found.get("text") or "", found.get("language")) for found in data.get("texts") or ())


TASK = Task(
    name="tika",
    entity="files",
    version=2,
    reads=("$.hash", *access_policy.ANALYSIS_READS, *access_policy.FETCH_READS),
    run=run,
    condition=_condition,
    after=("check_url",),
    summary="The full text of a file and its language, by Apache Tika.",
    publishes=(PublishedField("contents", value=_texts, place="texts"),),
)
