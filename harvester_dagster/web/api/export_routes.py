"""Exports: every document of an entity as lines of JSON, whole or in pieces, plain or compressed; JSON Schemas.

Belongs here: what these paths take and give, and the compression. Does not belong here: reading
(`consumers/exports.py`).
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from enum import Enum
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol
from urllib.parse import urlencode

import anyio
import msgspec
import zstandard
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from harvester_dagster.catalog import Entity
from harvester_dagster.consumers import exports, snapshots
from harvester_dagster.consumers.exports import Manifests, Piece, Remembered, SrnRange
from harvester_dagster.consumers.snapshots import Snapshot
from harvester_dagster.installation import Installation
from harvester_dagster.publication import log
from harvester_dagster.web.api import answers, limits
from harvester_dagster.web.api.document_routes import Asked, reads
from harvester_dagster.web.api.limits import Bounds
from harvester_dagster.web.api.problem_details import RESPONSES, ApiProblem

SLOWEST = 60
"""Seconds in which a client takes a block; else its export is cut, for it holds a connection."""
LINES = "application/x-ndjson"
SCHEMA = "application/schema+json"


_ANY = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["srn", "entity"],
    "properties": {"srn": {"type": "string"}, "entity": {"type": "string"}},
}
"""Of an entity whose outputs may all be published."""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Form(NamedTuple):
    """How lines go out: the ending of the name, the media type, what makes a compressor (None: as they are)."""

    ending: str
    media_type: str
    compressor: Callable[[], _Compressor] | None


_FORMS = (
    _Form("ndjson", LINES, None),
    _Form("ndjson.gz", "application/gzip", lambda: zlib.compressobj(5, wbits=31)),
    _Form("ndjson.zst", "application/zstd", lambda: zstandard.ZstdCompressor(level=3).compressobj()),
)


class ManifestAsked(Asked):
    """Of a manifest."""

    version: int | None = Field(None, ge=1, le=2**62, description="A version that is kept; else the current one")


class LinesAsked(ManifestAsked):
    """Of the lines."""

    set: str | None = Field(None, max_length=1_000, description="Only documents of this set, by its key source:set")
    after: str = Field("", max_length=3_000, description="Only documents behind this srn: where you were cut off")
    up_to: str | None = Field(None, max_length=3_000, description="Only documents up to this srn, with it")


class ExportRoutes:
    """The paths of one installation's exports."""

    def __init__(self, installation: Installation, bounds: Bounds, at_once: int = exports.PIECE) -> None:
        self._installation, self._bounds, self._at_once = installation, bounds, at_once
        self._manifests = Manifests()

    def router(self) -> APIRouter:
        """The paths of each entity, by its singular name."""
        router = APIRouter(responses=RESPONSES, tags=list[str | Enum](["exports"]))
        add, dear = partial(reads, router), self._bounds.route
        for entity in self._installation.catalog.entities:
            path = f"/export/{entity.singular}/"
            add(path, self._manifest(entity), summary=f"{entity.name}: the pieces", **dear(limits.MANIFESTS))
            for form in _FORMS:
                said = dear(limits.EXPORTS)
                said["responses"][200] = {"description": "A document a line", "content": {form.media_type: {}}}
                summary = f"{entity.name}: a document a line, as .{form.ending}"
                add(
                    f"{path}documents.{form.ending}",
                    self._lines(entity, form),
                    summary=summary,
                    response_class=Response,
                    **said,
                )
            described: dict[int | str, dict[str, Any]] = {200: {"content": {SCHEMA: {}}}}
            add(
                f"/schema/{entity.singular}/",
                self._schema(entity),
                summary=f"JSON Schema of a {entity.singular}",
                response_class=Response,
                responses=described,
            )
        return router

    def _manifest(self, entity: Entity) -> Any:
        def manifest(request: Request, asked: Annotated[ManifestAsked, Query()]) -> Response:
            """Each piece with its number of `documents`, its `bytes` and `sha256` without compression, and its address
            in each form (`ndjson`, `gzip`, `zstd`). Reads the whole version when it is asked for first."""
            found, newest = self._found(asked.version)
            tag = answers.tag_of("manifest", newest, found.version_id, str(request.url))
            if answers.is_known(request, tag):
                return answers.not_modified(tag)
            made = self._manifests.get(
                Remembered(entity.name, found.version_id, newest),
                lambda: exports.manifest(self._installation.reading, found, entity.name, self._at_once),
            )
            base = answers.address(request, self._installation.config.web).rstrip("?")
            body = {
                "entity": entity.name,
                "version": found.version_id,
                "seq": found.seq,
                "as_of": answers.moment(found.as_of),
                "documents": made.documents,
                "bytes": made.bytes,
                "pieces": [_piece(base, found, piece) for piece in made.pieces],
            }
            return answers.sent(msgspec.json.encode(body), tag)

        return manifest

    def _lines(self, entity: Entity, form: _Form) -> Any:
        def lines(request: Request, asked: Annotated[LinesAsked, Query()]) -> Response:
            """In the order of srns, set by set. Cut off? Ask again with `after`, the srn of the last whole line, and
            `version`."""
            if any("\x00" in text for text in (asked.after, asked.up_to or "", asked.set or "")):
                raise ApiProblem(400, "A parameter cannot be read", "an srn has no NUL")
            found, newest = self._found(asked.version)
            if asked.set is not None and asked.set not in {one.key for one in found.sets}:
                raise ApiProblem(404, "There is no such set", f"version {found.version_id} shows nothing of it")
            tag = answers.tag_of(form.ending, newest, found.version_id, str(request.url))
            if answers.is_known(request, tag):
                return answers.not_modified(tag)
            headers = {**_named(self._installation, entity, found, form), "ETag": tag, **answers.CACHING}
            if request.method == "HEAD":
                return Response(media_type=form.media_type, headers=headers)
            within = SrnRange(asked.after, asked.up_to, asked.set)
            plain = exports.lines(self._installation.reading, found, entity.name, within, self._at_once)
            return Patient(_compressed(plain, form), media_type=form.media_type, headers=headers)

        return lines

    def _schema(self, entity: Entity) -> Any:
        web = self._installation.config.web

        def schema(request: Request, asked: Annotated[Asked, Query()]) -> Response:
            """What every published document keeps to; fields are added within v1."""
            described = self._installation.catalog.schema(entity.name) or _ANY
            said = {**described, "$id": answers.address(request, web).rstrip("?")}
            body = msgspec.json.encode(said)
            tag = answers.tag_of(body)
            if answers.is_known(request, tag):
                return answers.not_modified(tag)
            return Response(body, media_type=SCHEMA, headers={"ETag": tag, **answers.CACHING})

        return schema

    def _found(self, version: int | None) -> tuple[Snapshot, int]:
        """What is asked for, and the newest seq, read before it."""
        with self._installation.reading.connection() as connection:
            newest = log.newest(connection)
            found = snapshots.now(connection) if version is None else snapshots.of_version(connection, version)
            snapshots.check_kept(connection, found)
        return found, newest


def _piece(base: str, found: Snapshot, piece: Piece) -> dict[str, Any]:
    asked = urlencode({"version": found.version_id, "set": piece.set, "after": piece.after, "up_to": piece.up_to})
    names = {"ndjson": "ndjson", "gzip": "ndjson.gz", "zstd": "ndjson.zst"}
    return {
        **msgspec.structs.asdict(piece),
        **{name: f"{base}documents.{ending}?{asked}" for name, ending in names.items()},
    }


def _named(installation: Installation, entity: Entity, found: Snapshot, form: _Form) -> Mapping[str, str]:
    name = f"{installation.config.platform}-{entity.name}-{found.version_id}.{form.ending}"
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _compressed(plain: Iterator[bytes], form: _Form) -> Generator[bytes, None, None]:
    if form.compressor is None:
        yield from plain
        return
    compressor = form.compressor()
    for block in plain:
        if some := compressor.compress(block):
            yield some
    yield compressor.flush()


class Patient(StreamingResponse):
    """A stream whose blocks are read in a thread; it is cut when a client takes one not in time, and what it holds is
    given back at once, however it ends."""

    def __init__(self, blocks: Generator[bytes, None, None], **options: Any) -> None:
        super().__init__(_in_thread(blocks), **options)
        self._blocks = blocks

    async def stream_response(self, send: Send) -> None:
        """Send it; raises TimeoutError."""

        async def patient(message: Message) -> None:
            async with asyncio.timeout(SLOWEST):
                await send(message)

        try:
            await super().stream_response(patient)
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self._blocks.close)


async def _in_thread(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (block := await run_in_threadpool(next, blocks, None)) is not None:
        yield block
