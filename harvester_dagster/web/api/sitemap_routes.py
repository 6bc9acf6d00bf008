"""Sitemaps of the portal's own pages, for search engines: an index, and parts of 50,000.

Belongs here: addresses and XML. Does not belong here: which documents (`consumers/sitemaps.py`).
"""

from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.catalog import Entity
from harvester_dagster.consumers import sitemaps, snapshots
from harvester_dagster.consumers.sitemaps import ListedPage, SitemapPart
from harvester_dagster.installation import Installation
from harvester_dagster.web.api import answers, limits
from harvester_dagster.web.api.document_routes import Asked, reads
from harvester_dagster.web.api.limits import Bounds
from harvester_dagster.web.api.problem_details import RESPONSES, ApiProblem

XML = "application/xml"
_NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"


class PartAsked(Asked):
    """Of a part, as the index names it."""

    set: str = Field(max_length=1_000, description="Of this set")
    after: str = Field("", max_length=3_000, description="Documents behind this external id")
    up_to: str = Field(max_length=3_000, description="Documents up to this external id, with it")


class SitemapRoutes:
    """The paths of one installation's sitemaps. The borders of the newest seq are remembered."""

    def __init__(self, installation: Installation, bounds: Bounds, most: int = sitemaps.MOST) -> None:
        self._installation, self._bounds, self._most = installation, bounds, most
        self._borders: dict[str, tuple[int, list[SitemapPart]]] = {}

    def router(self) -> APIRouter:
        """Of each entity that has pages of its own: not of what is part of another."""
        router = APIRouter(responses=RESPONSES, tags=list[str | Enum](["sitemaps"]))
        add = partial(reads, router, response_class=Response)
        for entity in self._installation.catalog.entities:
            if entity.owned_by is None:
                said = self._bounds.route(limits.SITEMAPS)
                said["responses"][200] = {"description": "A sitemap", "content": {XML: {}}}
                path, summary = f"/sitemap/{entity.singular}/", f"Sitemap index of the pages of {entity.name}"
                add(path, self._index(entity), summary=summary, **said)
                add(f"{path}part.xml", self._part(entity), summary="A part of it, as the index names it", **said)
        return router

    def _index(self, entity: Entity) -> Any:
        def index(request: Request, asked: Annotated[Asked, Query()]) -> Response:
            """Parts of at most 50,000 pages, of what is shown when they are asked for."""
            self._page_url()
            with self._installation.reading.connection() as connection:
                found = snapshots.now(connection)
                tag = answers.tag_of("sitemap", found.seq, str(request.url))
                if answers.is_known(request, tag):
                    return answers.not_modified(tag)
                seq, parts = self._borders.get(entity.name, (0, []))
                if seq != found.seq:
                    parts = list(sitemaps.parts(connection, found, entity.name, self._most))
                    self._borders[entity.name] = found.seq, parts
            addresses = ((self._address(request, part), part.changed_at) for part in parts)
            return _sent("sitemapindex", "sitemap", addresses, tag)

        return index

    def _part(self, entity: Entity) -> Any:
        def part(request: Request, asked: Annotated[PartAsked, Query()]) -> Response:
            """`lastmod` is since when consumers see a document as it is."""
            template = self._page_url()
            if "\x00" in asked.after + asked.up_to:
                raise ApiProblem(400, "A parameter cannot be read", "an id has no NUL")
            with self._installation.reading.connection() as connection:
                found = snapshots.now(connection)
                tag = answers.tag_of("sitemap", found.seq, str(request.url))
                if answers.is_known(request, tag):
                    return answers.not_modified(tag)
                pages = sitemaps.pages(connection, found, entity.name, asked.set, asked.after, asked.up_to, self._most)
            addresses = ((_page(template, entity, asked.set, page), page.changed_at) for page in pages)
            return _sent("urlset", "url", addresses, tag)

        return part

    def _page_url(self) -> str:
        template = self._installation.config.web.page_url
        if not template:
            raise ApiProblem(404, "This installation knows no pages of documents", "set page_url of [web]")
        return template

    def _address(self, request: Request, part: SitemapPart) -> str:
        asked = {"set": part.key, "after": part.after, "up_to": part.up_to}
        base, _, query = answers.address(request, self._installation.config.web, **asked).partition("?")
        return f"{base}part.xml?{query}"


def _page(template: str, entity: Entity, key: str, page: ListedPage) -> str:
    values = {"srn": f"{key}:{page.external_id}", "external_id": page.external_id, "entity": entity.singular}
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", quote(value, safe=""))
    return template


def _sent(root: str, element: str, addresses: Iterable[tuple[str, datetime]], tag: str) -> Response:
    listed = "\n".join(
        f"<{element}><loc>{escape(address)}</loc><lastmod>{at:%Y-%m-%dT%H:%M:%SZ}</lastmod></{element}>"
        for address, at in addresses
    )
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{_NAMESPACE}">\n{listed}\n</{root}>\n'
    return Response(body.encode(), media_type=XML, headers={"ETag": tag, **answers.CACHING})
