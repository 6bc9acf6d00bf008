"""Whether what the configuration names answers: each source and set, the store, objects, OpenSearch, Tika.

Belongs here: one question to each, all at once, within a bounded time. Does not belong here: Solr (the enricher's own
room; whoever shows the answers adds it), the configuration's form (`config.py`, `config_check.py`).
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import psycopg

from harvester_dagster import installation
from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config, Index, home, set_spec
from harvester_dagster.config_mistakes import unknown
from harvester_dagster.failures import PermanentError, mendable
from harvester_dagster.outside.http import Outside
from harvester_dagster.search import connection
from harvester_dagster.sources.kind import Kind, Request, Unreadable
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.store import objects
from harvester_dagster.store.objects import Objects
from harvester_dagster.tasks import tika

SECONDS = 60.0
"""So long all answers together are waited for."""
CONNECT_SECONDS = 10
BUNDLED = "the bundled one, started when it is needed"


class Question(NamedTuple):
    """`ask` says what it found, and raises what a person can mend."""

    what: str
    ask: Callable[[], str]


class Reply(NamedTuple):
    """What came of a question."""

    what: str
    ok: bool
    said: str


def answers(questions: Iterable[Question], seconds: float = SECONDS) -> Iterator[Reply]:
    """Ask all at once; in their order, each finding as soon as those before it are there."""
    asked = [(question.what, _begun(question.ask)) for question in questions]
    deadline = time.monotonic() + seconds
    for what, answer in asked:
        try:
            yield Reply(what, True, answer.result(max(0.0, deadline - time.monotonic())))
        except TimeoutError:
            yield Reply(what, False, f"no answer within {seconds:.0f} s")
        except Exception as error:
            if (found := mendable(error)) is None:
                raise
            yield Reply(what, False, str(found))


def _begun(ask: Callable[[], str]) -> Future[str]:
    """In a thread that does not keep the process alive: a server may never answer."""
    answer: Future[str] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=work, name="online", daemon=True).start()
    return answer


def questions(
    config: Config, catalog: Catalog, outside: Outside, bucket: Callable[[], Objects | None]
) -> Iterator[Question]:
    """A question to everything but Solr. What is bundled is not started for it."""
    for name, source in config.sources.items():
        if identity := catalog.kinds[source.kind].identity:
            yield Question(f"source {name}", partial(identity, source, outside))
    for key, settings in config.sets.items():
        request = Request(settings, set_spec(key, config), None, config.production)
        yield Question(f"set {key}", partial(_set, catalog.kinds[settings.kind], request, outside))
    yield Question("store", partial(_store, installation.postgres_url(config)))
    yield Question("objects", partial(_objects, config, bucket))
    if config.index.url != "none":
        yield Question("OpenSearch", partial(_search, config.index))
    if tika.TASK.name not in config.tasks.disabled:
        yield Question("Tika", partial(_tika, config))


def _set(kind: Kind, request: Request, outside: Outside) -> str:
    """Its first page, after a look at whether the source has such a set at all."""
    offered = kind.sets(request.settings, outside) if request.spec != "*" else ()
    if offered and request.spec not in offered:
        missing = unknown("", "set", request.spec, offered)
        raise SourceError(f"the source says {missing.wrong}", missing.mend)
    page = next(kind.pages(request, outside), b"")
    records = list(kind.extract(page, range(len(kind.cut(page))), request)) if page else []
    unreadable = sum(isinstance(record, Unreadable) for record in records)
    return f"first page: {len(records)} records" + (f", {unreadable} of them unreadable" if unreadable else "")


def _store(url: str | None) -> str:
    if url is None:
        return BUNDLED
    with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as opened:
        version = opened.info.server_version
    return f"PostgreSQL {version // 10_000}.{version % 10_000}"


def _objects(config: Config, bucket: Callable[[], Objects | None]) -> str:
    """Put, read and delete one."""
    kept = bucket() or objects.open_objects(config.store.objects, home() / "objects")
    key, content = f"config-check/{uuid.uuid4().hex}", b"put by `harvester config check --online`"
    kept.put(key, content)
    try:
        if kept.get(key) != content:
            raise PermanentError("bad-answer", "the object store gives back other bytes than it was given")
    finally:
        kept.delete([key])
    return f"{config.store.objects}: takes, gives and deletes an object"


def _search(index: Index) -> str:
    if not index.url:
        return BUNDLED
    with connection.connected(index) as client, connection.asking("the search server"):
        return f"OpenSearch {client.info()['version']['number']}"


def _tika(config: Config) -> str:
    if not config.tasks.tika_url:
        return BUNDLED
    with tika.Server(config.tasks.tika_url, config.network.user_agent) as server:
        return server.version()
