"""Whether what the configuration names answers: each source and set, the store, objects, OpenSearch, Tika.

Belongs here: one question to each, of a source one after the other, each within a bounded time. Does not belong here:
Solr (the enricher's own room; whoever shows the answers adds it), the configuration's form (`config.py`,
`config_check.py`).
"""

import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import psycopg

from harvester_dagster import installation
from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config, Index, SetSettings, home, set_spec, source_of
from harvester_dagster.config_mistakes import unknown
from harvester_dagster.failures import HarvesterError, PermanentError, mendable
from harvester_dagster.outside.http import Outside
from harvester_dagster.search import connection
from harvester_dagster.sources.kind import Kind, Request, Unreadable
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.store import objects
from harvester_dagster.store.objects import Objects
from harvester_dagster.tasks import tika

SECONDS = 60.0
"""So long each answer is waited for."""
CONNECT_SECONDS = 10
BUNDLED = "the bundled one, started when it is needed"


class Question(NamedTuple):
    """`ask` says what it found, and raises what a person can mend. `turn`: those that name the same one are asked one
    after the other."""

    what: str
    ask: Callable[[], str]
    turn: str = ""


class Reply(NamedTuple):
    """What came of a question."""

    what: str
    ok: bool
    said: str


def answers(questions: Iterable[Question], seconds: float = SECONDS) -> Iterator[Reply]:
    """Ask all turns at once; in the order of the questions, each finding as soon as those before it are there."""
    asked = [(question, Future[str]()) for question in questions]
    turns = defaultdict[str, list[tuple[Question, Future[str]]]](list)
    for place, (question, answer) in enumerate(asked):
        turns[question.turn or str(place)].append((question, answer))
    for turn in turns.values():
        _beside(partial(_asked_in_turn, turn, seconds))
    for question, answer in asked:
        try:
            yield Reply(question.what, True, answer.result())
        except Exception as error:
            if (found := mendable(error)) is None:
                raise
            yield Reply(question.what, False, str(found))


def _asked_in_turn(turn: Sequence[tuple[Question, Future[str]]], seconds: float) -> None:
    """Until one does not answer: the others would not either."""
    silent = ""
    for question, answer in turn:
        if silent:
            answer.set_exception(HarvesterError(f"not asked, as {silent} did not answer", "mend that first"))
            continue
        said = Future[str]()
        _beside(partial(_answer, question.ask, said))
        try:
            answer.set_result(said.result(seconds))
        except TimeoutError:
            silent = question.what
            answer.set_exception(HarvesterError(f"no answer within {seconds:.0f} s", "look at it, and at the network"))
        except Exception as error:
            answer.set_exception(error)


def _answer(ask: Callable[[], str], said: Future[str]) -> None:
    try:
        said.set_result(ask())
    except Exception as error:
        said.set_exception(error)


def _beside(work: Callable[[], None]) -> None:
    """In a thread that does not keep the process alive: a server may never answer."""
    threading.Thread(target=work, name="online", daemon=True).start()


class _Offered:
    """The sets of a source, or why it does not tell them: asked for once, however many of its sets are configured."""

    def __init__(self, kind: Kind, outside: Outside) -> None:
        self._kind, self._outside, self._found = kind, outside, Future[Collection[str]]()

    def of(self, settings: SetSettings) -> Collection[str]:
        if not self._found.done():
            try:
                self._found.set_result(self._kind.sets(settings, self._outside))
            except HarvesterError as error:
                self._found.set_exception(error)
        return self._found.result()


def questions(
    config: Config, catalog: Catalog, outside: Outside, bucket: Callable[[], Objects | None]
) -> Iterator[Question]:
    """A question to everything but Solr. What is bundled is not started for it."""
    for name, source in config.sources.items():
        if identity := catalog.kinds[source.kind].identity:
            yield Question(f"source {name}", partial(identity, source, outside), name)
    offered: dict[str, _Offered] = {}
    for key, settings in config.sets.items():
        kind, name = catalog.kinds[settings.kind], source_of(key)
        request = Request(settings, set_spec(key, config), None, config.production)
        told = offered.setdefault(name, _Offered(kind, outside))
        yield Question(f"set {key}", partial(_set, kind, request, outside, told), name)
    yield Question("store", partial(_store, installation.postgres_url(config)))
    yield Question("objects", partial(_objects, config, bucket))
    if config.index.url != "none":
        yield Question("OpenSearch", partial(_search, config.index))
    if tika.TASK.name not in config.tasks.disabled:
        yield Question("Tika", partial(_tika, config))


def _set(kind: Kind, request: Request, outside: Outside, told: _Offered) -> str:
    """Its first page, after a look at whether the source has such a set at all."""
    offered = told.of(request.settings) if request.spec != "*" else ()
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
