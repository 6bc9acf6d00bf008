"""The feed of changes: what to put and what to delete, for whoever keeps a copy.

Belongs here: what the path takes and gives. Does not belong here: the comparing (`consumers/changes.py`).
"""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.consumers import changes, snapshots
from harvester_dagster.consumers.changes import FeedPlace, PublishedChange
from harvester_dagster.consumers.field_differences import described
from harvester_dagster.installation import Installation
from harvester_dagster.publication import log
from harvester_dagster.web.api import answers
from harvester_dagster.web.api.cursors import Cursors
from harvester_dagster.web.api.document_routes import MOST, USUAL, Asked, reads
from harvester_dagster.web.api.problem_details import RESPONSES, ApiProblem

_WALK = "changes"
_DIFFERENCE = "difference"


class ChangesAsked(Asked):
    """Of the feed."""

    after: int | None = Field(None, ge=0, le=2**62, description="The `seq` that you have; 0 for nothing yet")
    entity: str | None = Field(None, max_length=100, description="Only of this entity, such as products")
    page_size: int = Field(USUAL, ge=1, le=MOST, description="Changes a page, about")
    cursor: str | None = Field(None, description="Where to go on: follow `next` as it is given")


class DifferenceAsked(Asked):
    """Of two versions."""

    old: int | None = Field(None, ge=1, le=2**62, description="A version that is kept")
    new: int | None = Field(None, ge=1, le=2**62, description="Another one")
    page_size: int = Field(USUAL, ge=1, le=MOST, description="Documents a page, about")
    cursor: str | None = Field(None, description="Where to go on: follow `next` as it is given")


class ChangeRoutes:
    """The paths of one installation's feed."""

    def __init__(self, installation: Installation, cursors: Cursors) -> None:
        self._installation, self._cursors = installation, cursors
        self._entities = [entity.name for entity in installation.catalog.entities]

    def router(self) -> APIRouter:
        """The feed."""
        router = APIRouter(responses=RESPONSES, tags=["changes"])
        reads(router, "/changes/", self._changes, summary="What has changed since a seq")
        reads(router, "/difference/", self._difference, summary="What differs between two versions, by field")
        return router

    def _changes(self, request: Request, asked: Annotated[ChangesAsked, Query()]) -> Response:
        """Each document that is shown otherwise than at `after`, once: put `document` under `srn`, or delete `srn`.
        When `next` is null you have all that `seq` shows: ask with `after` = `seq` the next time."""
        if (asked.after is None) == (asked.cursor is None):
            raise ApiProblem(400, "Say after or cursor", "after=0 begins; then follow `next`, and come back with `seq`")
        if asked.entity is not None and asked.entity not in self._entities:
            raise ApiProblem(400, "There is no such entity", f"there are: {', '.join(self._entities)}")
        with self._installation.reading.connection() as connection:
            if asked.cursor is None:
                newest = answers.tag_of(log.newest(connection), str(request.url))
                if answers.is_known(request, newest):
                    return answers.not_modified(newest)
                after, entity, place = asked.after or 0, asked.entity, FeedPlace()
                found = changes.current(connection)
            else:
                if asked.entity is not None:
                    raise ApiProblem(400, "A cursor says it all", "follow `next` as it is given")
                seq, after, entity, *rest = self._cursors.read(_WALK, asked.cursor)
                found, place = snapshots.at(connection, seq), FeedPlace(*rest)
            tag = answers.tag_of(found.seq if found else 0, str(request.url))
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
            tag = answers.tag_of(old, new, str(request.url))
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


def _compared(change: PublishedChange) -> str:
    found = described(change)
    fields = {each.field: {"before": each.before, "after": each.after} for each in found.fields}
    said = {"srn": found.srn, "entity": found.entity, "change": found.change, "title": found.title, "fields": fields}
    return msgspec.json.encode(said).decode()


def _shown(change: PublishedChange) -> str:
    srn, entity = msgspec.json.encode(change.srn).decode(), msgspec.json.encode(change.entity).decode()
    if change.body is None:
        return f'{{"srn":{srn},"entity":{entity},"action":"delete"}}'
    return f'{{"srn":{srn},"entity":{entity},"action":"put","document":{change.body}}}'
