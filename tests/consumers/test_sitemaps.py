"""Sitemaps: every page once, in parts, each since when it is shown as it is."""

from datetime import datetime
from urllib.parse import quote

from fastapi import FastAPI
from lxml import etree
from starlette.testclient import TestClient

from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from harvester_dagster.web.api.limits import Bounds
from harvester_dagster.web.api.sitemap_routes import SitemapRoutes
from tests.consumers.copies import client_of
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import World

__all__ = ["open_world", "source"]
WEB = {"web": {"page_url": "https://portal.example.org/x/{srn}?of={entity}"}}


def published(world: World, *ids: str, **values: object) -> versions.Version:
    world.source.put(*ids, **values)
    world.night()
    version = release.prepare(world.installation)
    assert version
    return versions.promote(world.installation, version)


def listed(client: TestClient, address: str) -> dict[str, datetime]:
    """The addresses of a sitemap, each with its date."""
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    root = etree.fromstring(answer.content)
    found = [[child.text for child in each] for each in root]
    return {at[0]: datetime.fromisoformat(at[1]) for at in found}


def pages(client: TestClient) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for part in listed(client, "/sitemap/product/"):
        found |= listed(client, part)
    return found


def page(srn: str) -> str:
    return f"https://portal.example.org/x/{quote(srn, safe='')}?of=product"


def test_each_page_since_it_is_shown_so(open_world: OpenWorld) -> None:
    world = open_world(installed=WEB, deletes="persistent", min_documents=1000)
    client = client_of(world.installation)
    first = published(world, "a", "b&<c", title="First")
    one, two = page("src:one:a"), page("src:one:b&<c")
    began = pages(client)
    assert began.keys() == {one, two}
    published(world, "a", title="Second")
    then = pages(client)
    assert then[one] > began[one] and then[two] == began[two]
    world.source.delete("b&<c")
    published(world)
    assert pages(client).keys() == {one}
    world.forward()
    versions.promote(world.installation, first, rollback=True)
    back = pages(client)
    assert back.keys() == {one, two} and min(back.values()) > then[one]
    client.get("/sitemap/product/part.xml?set=src:none&up_to=z").raise_for_status()
    assert client.get("/sitemap/product/part.xml?set=src:one&up_to=%00").status_code == 400
    assert client.get("/sitemap/file/").status_code == 404


def test_parts_are_the_whole(open_world: OpenWorld) -> None:
    world = open_world(installed=WEB)
    published(world, *(f"r{number}" for number in range(7)), files=("x",))
    app = FastAPI()
    app.include_router(SitemapRoutes(world.installation, Bounds(), most=3).router())
    client = TestClient(app)
    parts = listed(client, "/sitemap/product/")
    found = [listed(client, part.partition("https://harvester.example.org")[2] or part) for part in parts]
    assert [len(each) for each in found] == [3, 3, 1]
    assert set().union(*found) == {page(f"src:one:r{number}") for number in range(7)}


def test_without_pages_there_is_none(open_world: OpenWorld) -> None:
    world = open_world()
    published(world, "a")
    answer = client_of(world.installation).get("/sitemap/product/")
    assert answer.status_code == 404 and "page_url" in answer.json()["detail"]
