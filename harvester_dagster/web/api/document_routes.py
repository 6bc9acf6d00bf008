"""Products, files and every other entity: lists that are pinned to a version, and single documents.

Belongs here: what these paths take and give. Does not belong here: the reading itself (`consumers/snapshots.py`), bytes
and headers (`answers.py`).
"""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from functools import partial
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from fastapi import APIRouter, Path, Query
from psycopg import Connection
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.catalog import Entity
from harvester_dagster.consumers import snapshots
from harvester_dagster.consumers.raw import raw
from harvester_dagster.consumers.snapshots import One, Position, PublishedDocument, Snapshot
from harvester_dagster.installation import Installation
from harvester_dagster.web import guard
from harvester_dagster.web.api import answers, limits
from harvester_dagster.web.api.cursors import Cursors
from harvester_dagster.web.api.limits import Bounds
from harvester_dagster.web.api.problem_details import RESPONSES, ApiProblem

MOST = 1_000
"""Documents a page."""
USUAL = 100
_NUL = "\x00"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\S*( \d\d:?\d\d)?)?$", re.ASCII)


def _moment(value: object) -> object:
    """A day is a day, and no midnight; a number is no time; a + that was not escaped arrives as a blank."""
    if not isinstance(value, str) or not _MOMENT.match(value):
        raise ValueError("write a day (2026-03-01) or a time (2026-03-01T02:30:00Z)")
    return value.replace(" ", "+") if "T" in value else date.fromisoformat(value)


Moment = Annotated[datetime | date, BeforeValidator(_moment)]
Srn = Annotated[str, Path(description="source:set:external_id; a / in it as it is, or as %2F", max_length=3_000)]


def reads(
    router: APIRouter, path: str, answer: Callable[..., Response | Awaitable[Response]], **described: Any
) -> None:
    """A path that is read: GET, and HEAD, which is not described beside it."""
    router.add_api_route(path, answer, methods=["GET"], **described)
    router.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)


class Asked(BaseModel):
    """What every question of this API refuses: parameters that it does not know."""

    model_config = ConfigDict(extra="forbid")


class ListAsked(Asked):
    """Of a list."""

    page_size: int = Field(USUAL, ge=1, le=MOST, description="Documents a page")
    cursor: str | None = Field(None, description="Where to go on: follow `next` as it is given")
    version: int | None = Field(None, ge=1, le=2**62, description="A version that is kept; else the current one")
    modified_since: Moment | None = Field(
        None,
        description="Only documents that are shown as they are since a later time than this, deletes among them. "
        "Send `as_of` of the last answer",
    )


class OneAsked(Asked):
    """Of a single document."""

    version: int | None = Field(None, ge=1, le=2**62, description="As it was in this version, if that is kept")
    at: Moment | None = Field(None, description="As it was shown at the end of a day, or at a time, if that is kept")


class _Metadata(msgspec.Struct):
    """What a sitemap needs; the other fields of an output are skipped over."""

    srn: str
    state: str | None = None
    modified_at: str | None = None
    language: Any = None


_metadata = msgspec.json.Decoder(_Metadata)


class DocumentRoutes:
    """The paths of one installation's documents."""

    def __init__(self, installation: Installation, cursors: Cursors, bounds: Bounds) -> None:
        self._installation, self._cursors, self._bounds = installation, cursors, bounds

    def router(self) -> APIRouter:
        """The paths of each entity, by its singular name."""
        router = APIRouter(responses=RESPONSES)
        for entity in self._installation.catalog.entities:
            path, tags = f"/{entity.singular}", list[str | Enum]([entity.name])
            add = partial(reads, router, tags=tags)
            dear = partial(add, **self._bounds.route(limits.OLD_VERSIONS))
            for kind, said in (("metadata", "what a sitemap needs"), ("", "as consumers see them")):
                below = f"{path}/{kind}/" if kind else f"{path}/"
                dear(below, self._listing(entity, kind), summary=f"{entity.name}: {said}", name=f"{entity.name}{kind}")
            add(f"{path}/raw/{{srn:path}}/", self._raw(entity), summary="What it was made from; needs scope read-raw")
            dear(f"{path}/metadata/{{srn:path}}/", self._one(entity, "metadata"), summary="One, for a sitemap")
            dear(f"{path}/{{srn:path}}/", self._one(entity, ""), summary=f"One {entity.singular}, as consumers see it")
        return router

    def _listing(self, entity: Entity, kind: str) -> Any:
        def listing(request: Request, asked: Annotated[ListAsked, Query()]) -> Response:
            with self._installation.reading.connection() as connection:
                return self._page(connection, request, entity, kind, asked)

        return listing

    def _page(
        self, connection: Connection[Any], request: Request, entity: Entity, kind: str, asked: ListAsked
    ) -> Response:
        walk = f"{entity.name}/{kind}"
        found, since, position = self._begun(connection, walk, asked)
        tag = answers.tag_of(found.seq, found.version_id, found.overlay, str(request.url))
        if answers.is_known(request, tag):
            return answers.not_modified(tag)
        if since is None:
            page = snapshots.page(connection, found, entity.name, position, asked.page_size)
        else:
            page = snapshots.page_since(connection, found, entity.name, since, position, asked.page_size)
        following = None
        if page.position is not None:
            said = [found.seq, found.version_id, since.isoformat() if since else None, *page.position]
            cursor = self._cursors.made(walk, said)
            following = answers.address(
                request, self._installation.config.web, page_size=asked.page_size, cursor=cursor
            )
        results = [_shown(entity, document, kind) for document in page.documents]
        return answers.sent(answers.envelope(results, following, found), tag)

    def _begun(
        self, connection: Connection[Any], walk: str, asked: ListAsked
    ) -> tuple[Snapshot, datetime | None, Position]:
        """The snapshot of a walk, since when it was asked, and where its page begins."""
        if asked.cursor is None:
            if asked.version is not None and asked.modified_since is not None:
                raise ApiProblem(
                    400, "Either version or modified_since", "what is shown since when is known of now only"
                )
            since = _utc(asked.modified_since, self._zone) if asked.modified_since else None
            found = (
                snapshots.of_version(connection, asked.version)
                if asked.version is not None
                else snapshots.now(connection)
            )
            return found, since, Position()
        if asked.version is not None or asked.modified_since is not None:
            raise ApiProblem(400, "A cursor says it all", "follow `next` as it is given")
        seq, version_id, text, key, external_id = self._cursors.read(walk, asked.cursor)
        found = snapshots.at(connection, seq)
        if found.version_id != version_id:
            found = snapshots.of_version(connection, version_id)
        return found, datetime.fromisoformat(text) if text else None, Position(key, external_id)

    def _one(self, entity: Entity, kind: str) -> Any:
        def one(request: Request, srn: Srn, asked: Annotated[OneAsked, Query()]) -> Response:
            with self._installation.reading.connection() as connection:
                document = self._document(connection, entity, srn, asked) if _NUL not in srn else None
            if document is None:
                raise ApiProblem(404, f"There is no such {entity.singular}", f"nothing is shown as {srn[:200]}")
            tag = f'"{document.digest}{kind[:1]}"'
            if answers.is_known(request, tag):
                return answers.not_modified(tag)
            body = document.body.encode()
            return answers.sent(_described(body) if kind else body, tag)

        return one

    def _document(self, connection: Connection[Any], entity: Entity, srn: str, asked: OneAsked) -> One | None:
        if asked.version is not None and asked.at is not None:
            raise ApiProblem(400, "Either version or at")
        if asked.version is not None:
            return snapshots.one(connection, snapshots.of_version(connection, asked.version), entity.name, srn)
        if asked.at is not None:
            then = _utc(asked.at, self._zone, end=True)
            return snapshots.one(connection, snapshots.on(connection, then), entity.name, srn)
        return snapshots.one_now(connection, entity.name, srn)

    def _raw(self, entity: Entity) -> Any:
        web = self._installation.config.web

        def raw_one(request: Request, srn: Srn, asked: Annotated[Asked, Query()]) -> Response:
            actor = guard.admitted(request, web, "read-raw", by_token=True)
            if isinstance(actor, str):
                raise ApiProblem(403, "This needs a token with the scope read-raw", actor)
            with self._installation.reading.connection() as connection:
                found = raw(connection, snapshots.now(connection), entity.name, srn) if _NUL not in srn else None
            if found is None:
                raise ApiProblem(404, f"There is no such {entity.singular}")
            return Response(found, media_type=answers.JSON, headers={"Cache-Control": "no-store"})

        return raw_one

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._installation.config.timezone)


def _utc(given: datetime | date, zone: ZoneInfo, end: bool = False) -> datetime:
    """A time in UTC; a day is its first moment in the installation's zone, or its last. At the ends of the calendar
    zones lead out of it: there it is the end."""
    try:
        if isinstance(given, datetime):
            return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
        return datetime.combine(given + timedelta(days=1) if end else given, time(), zone).astimezone(UTC)
    except OverflowError:
        return (datetime.min if given.year == 1 else datetime.max).replace(tzinfo=UTC)


def _shown(entity: Entity, document: PublishedDocument, kind: str) -> bytes:
    if document.body is None:
        return _tombstone(entity.name, document.srn)
    return _described(document.body) if kind else document.body


def _tombstone(entity: str, srn: str) -> bytes:
    """A document that is not shown any more."""
    return msgspec.json.encode({"srn": srn, "entity": entity, "state": "deleted"})


def _described(body: bytes) -> bytes:
    return msgspec.json.encode(_metadata.decode(body))
