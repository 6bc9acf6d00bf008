"""The feed of changes: what to put and what to delete, for whoever keeps a copy, and being told of a promotion.

Belongs here: what these paths take and give. Does not belong here: the comparing (`consumers/changes.py`), listening
(`consumers/promotion_watch.py`).
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from pydantic import Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.consumers import changes, snapshots
from harvester_dagster.consumers.changes import FeedPlace, PublishedChange
from harvester_dagster.consumers.field_differences import described
from harvester_dagster.consumers.promotion_watch import PromotionWatch
from harvester_dagster.installation import Installation
from harvester_dagster.publication import log
from harvester_dagster.web.api import answers, limits
from harvester_dagster.web.api.cursors import Cursors
from harvester_dagster.web.api.document_routes import MOST, USUAL, Asked, reads
from harvester_dagster.web.api.limits import Bounds
from harvester_dagster.web.api.problem_details import RESPONSES, ApiProblem

LONGEST_WAIT = 60
LONGEST_STREAM = 3_600
"""Seconds; then a stream ends, and a browser asks for it again by itself."""
SLOWEST = 30
"""Seconds in which a client takes what it is sent; else its stream is cut."""
_WALK = "changes"
_DIFFERENCE = "difference"


class ChangesAsked(Asked):
    """Of the feed."""

    after: int | None = Field(None, ge=0, le=2**62, description="The `seq` that you have; 0 for nothing yet")
    entity: str | None = Field(None, max_length=100, description="Only of this entity, such as products")
    page_size: int = Field(USUAL, ge=1, le=MOST, description="Changes a page, about")
    cursor: str | None = Field(None, description="Where to go on: follow `next` as it is given")
    wait: int | None = Field(
        None,
        ge=0,
        le=LONGEST_WAIT,
        description="Where nothing has been promoted since `after`: answer when something is, or after so many seconds",
    )


class EventsAsked(Asked):
    """Of the stream of promotions."""

    after: int | None = Field(None, ge=0, le=2**62, description="The `seq` that you have; else you are told it at once")


class DifferenceAsked(Asked):
    """Of two versions."""

    old: int | None = Field(None, ge=1, le=2**62, description="A version that is kept")
    new: int | None = Field(None, ge=1, le=2**62, description="Another one")
    page_size: int = Field(USUAL, ge=1, le=MOST, description="Documents a page, about")
    cursor: str | None = Field(None, description="Where to go on: follow `next` as it is given")


class ChangeRoutes:
    """The paths of one installation's feed."""

    def __init__(self, installation: Installation, cursors: Cursors, bounds: Bounds, watch: PromotionWatch) -> None:
        self._installation, self._cursors, self._bounds, self._watch = installation, cursors, bounds, watch
        self._entities = [entity.name for entity in installation.catalog.entities]

    def router(self) -> APIRouter:
        """The feed."""
        router = APIRouter(responses=RESPONSES, tags=["changes"])
        add = partial(reads, router)
        route = self._bounds.route
        add("/changes/", self._changes, summary="What has changed since a seq", **route(limits.LONG_POLLS))
        streamed = route(limits.WAITERS)
        streamed["responses"][200] = {"description": "Events, one a promotion", "content": {"text/event-stream": {}}}
        router.add_api_route(
            "/changes/events/",
            self._events,
            summary="Promotions as they happen (Server-Sent Events)",
            response_class=EventSourceResponse,
            **streamed,
        )
        add(
            "/difference/",
            self._difference,
            summary="What differs between two versions, by field",
            **route(limits.DIFFERENCES),
        )
        return router

    async def _changes(self, request: Request, asked: Annotated[ChangesAsked, Query()]) -> Response:
        """Each document that is shown otherwise than at `after`, once: put `document` under `srn`, or delete `srn`.
        When `next` is null you have all that `seq` shows: ask with `after` = `seq` the next time."""
        self._check(asked)
        if asked.wait and asked.after is not None:
            await _or_gone(request, self._watch, asked.after, asked.wait)
        return await run_in_threadpool(self._read, request, asked)

    async def _events(self, request: Request, asked: Annotated[EventsAsked, Query()]) -> Response:
        """Each event `promotion` has the newest seq as its id and as `data` (`{"seq": 8}`): ask for `changes` then. The
        header `Last-Event-ID` goes before `after`."""
        last = request.headers.get("last-event-id", "")
        seq = int(last) if last.isdecimal() and len(last) < 19 else asked.after
        return EventSourceResponse(_told(self._watch, -1 if seq is None else seq), send_timeout=SLOWEST)

    def _check(self, asked: ChangesAsked) -> None:
        if (asked.after is None) == (asked.cursor is None):
            raise ApiProblem(400, "Say after or cursor", "after=0 begins; then follow `next`, and come back with `seq`")
        if asked.entity is not None and asked.entity not in self._entities:
            raise ApiProblem(400, "There is no such entity", f"there are: {', '.join(self._entities)}")
        if asked.cursor is not None and (asked.entity is not None or asked.wait is not None):
            raise ApiProblem(400, "A cursor says it all", "follow `next` as it is given")

    def _read(self, request: Request, asked: ChangesAsked) -> Response:
        with self._installation.reading.connection() as connection:
            if asked.cursor is None:
                newest = answers.tag_of(log.newest(connection), str(request.url))
                if answers.is_known(request, newest):
                    return answers.not_modified(newest)
                after, entity, place = asked.after or 0, asked.entity, FeedPlace()
                found = changes.current(connection)
            else:
                seq, after, entity, *rest = self._cursors.read(_WALK, asked.cursor)
                found, place = snapshots.at(connection, seq), FeedPlace(*rest)
            overlay = (found.overlay,) if found and asked.cursor else ()  # else it is no newer than the seq
            tag = answers.tag_of(found.seq if found else 0, *overlay, str(request.url))
            if answers.is_known(request, tag):
                return answers.not_modified(tag)
            if found is None:
                if after:
                    raise ApiProblem(410, "Nothing is published yet", "begin with after=0")
                return answers.sent(answers.envelope((), None, None), tag)
            difference = changes.between(connection, after, found)
            read = changes.page(connection, difference, place, asked.page_size, [entity] if entity else None)
        following = None
        if read.place is not None:
            cursor = self._cursors.made(_WALK, [found.seq, after, entity, *read.place])
            following = answers.address(
                request, self._installation.config.web, page_size=asked.page_size, cursor=cursor
            )
        return answers.sent(answers.envelope(map(_shown, read.changes), following, found), tag)

    def _difference(self, request: Request, asked: Annotated[DifferenceAsked, Query()]) -> Response:
        """Each document that differs: `change` (added, changed, removed), its `title`, and of a changed one `fields`,
        each with `before` and `after`."""
        place = FeedPlace()
        if asked.cursor is not None:
            if asked.old is not None or asked.new is not None:
                raise ApiProblem(400, "A cursor says it all", "follow `next` as it is given")
            old, new, *rest = self._cursors.read(_DIFFERENCE, asked.cursor)
            place = FeedPlace(*rest)
        elif asked.old is None or asked.new is None:
            raise ApiProblem(400, "Say old and new", "two versions that are kept: `harvester versions list`")
        else:
            old, new = asked.old, asked.new
        with self._installation.reading.connection() as connection:
            before, after = snapshots.of_version(connection, old), snapshots.of_version(connection, new)
            tag = answers.tag_of(old, new, after.overlay, str(request.url))
            if answers.is_known(request, tag):
                return answers.not_modified(tag)
            compared = changes.of_generations(connection, before.generations, after.generations)
            read = changes.page(connection, compared, place, asked.page_size, with_before=True)
        following = None
        if read.place is not None:
            cursor = self._cursors.made(_DIFFERENCE, [old, new, *read.place])
            following = answers.address(
                request, self._installation.config.web, page_size=asked.page_size, cursor=cursor
            )
        return answers.sent(answers.envelope(map(_compared, read.changes), following, after), tag)


async def _or_gone(request: Request, watch: PromotionWatch, seq: int, seconds: float) -> None:
    """Until something else than a seq is shown, for so many seconds at most; or until whoever asked has left."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    waiting = [asyncio.ensure_future(watch.moved_from(seq, seconds)), asyncio.ensure_future(gone())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _told(watch: PromotionWatch, seq: int) -> AsyncIterator[ServerSentEvent]:
    loop = asyncio.get_running_loop()
    end = loop.time() + LONGEST_STREAM
    while (left := end - loop.time()) > 0:
        newest = await watch.moved_from(seq, left)
        if newest is not None:
            seq = newest
            yield ServerSentEvent(f'{{"seq":{seq}}}', event="promotion", id=str(seq))


def _compared(change: PublishedChange) -> bytes:
    found = described(change)
    fields = {each.field: {"before": each.before, "after": each.after} for each in found.fields}
    said = {"srn": found.srn, "entity": found.entity, "change": found.change, "title": found.title, "fields": fields}
    return msgspec.json.encode(said)


def _shown(change: PublishedChange) -> bytes:
    srn, entity = msgspec.json.encode(change.srn), msgspec.json.encode(change.entity)
    if change.body is None:
        return b'{"srn":%b,"entity":%b,"action":"delete"}' % (srn, entity)
    return b'{"srn":%b,"entity":%b,"action":"put","document":%b}' % (srn, entity, change.body.encode())
