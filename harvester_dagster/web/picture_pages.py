"""The route that serves pictures: what a published output names of the object store, and nothing else of it.

Belongs here: requests, headers, what is a picture. Does not belong here: addresses (`documents/object_addresses.py`),
the making of pictures (`tasks/pictures.py`). Whoever took a document back takes its pictures with it, within a minute:
an answer is good for so long, and then asked for again by its ETag.
"""

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harvester_dagster import canonical
from harvester_dagster.documents import object_addresses
from harvester_dagster.explain import thumbnails
from harvester_dagster.explain.why import UnknownDocument, look_up
from harvester_dagster.failures import PermanentError, StorageError
from harvester_dagster.installation import Installation
from harvester_dagster.store import keys

HEADERS = {
    "cache-control": "public, max-age=60",
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "cross-origin",
}
"""Of every answer that shows a picture. Pages of other sites show them."""
_KEY = re.compile(f"(?:{keys.NAMED})/[A-Za-z0-9_-]+\\.[a-z]+")


class PicturePages:
    """The route of one installation."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [Route(f"{object_addresses.ROUTE}{{key:path}}", self.picture, methods=["GET"])]

    def picture(self, request: Request) -> Response:
        """A picture by its key, for the document that names it."""
        key, srn = request.path_params["key"], request.query_params.get(object_addresses.OF, "")
        if not _KEY.fullmatch(key) or not self._is_published(key, srn):
            raise HTTPException(404, "no published document has this picture")
        try:
            content = self._installation.objects.get(key)
        except PermanentError:
            raise HTTPException(404, "this picture is gone") from None
        except StorageError as error:
            raise HTTPException(503, f"the store of objects: {error}") from None
        kind = kind_of(content)
        if kind is None:
            raise HTTPException(404, "this is no picture")
        tag = f'"{canonical.digest(content).hex()}"'
        headers = {**HEADERS, "etag": tag}
        if {tag, "*"} & set(re.findall(r'"[^"]*"|\*', request.headers.get("if-none-match", ""))):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    def _is_published(self, key: str, srn: str) -> bool:
        with self._installation.pool.connection() as connection:
            try:
                found = look_up(self._installation, connection, srn)
            except UnknownDocument:
                return False
            published = thumbnails.shown(self._installation, connection, found)
        return any(object_addresses.names(value, key) for value in published)


def kind_of(content: bytes) -> str | None:
    """The media type of a picture that browsers show, by its first bytes; None: it is none of these."""
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    return None
