"""The route of pictures, asked by a real client: what a published output names, and nothing else of the objects."""

import io
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest
import requests
from PIL import Image

from harvester_dagster.config import Web
from harvester_dagster.releases import release
from harvester_dagster.store import keys
from harvester_dagster.tasks import check_url, pictures
from harvester_dagster.tasks.task import Outcome
from harvester_dagster.web.app import create_app
from harvester_dagster.web.picture_pages import PicturePages
from tests.served import served
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import Scripted, World, catalog

__all__ = ["open_world", "source"]

DIGEST = "ab" * 32
MADE = keys.derived(DIGEST, "image_preview-2")
BEFORE = f"previews/image_preview-1/{DIGEST}/"


class Site(NamedTuple):
    url: str
    world: World

    def get(self, address: str, **headers: str) -> requests.Response:
        """What an address of an output answers, whatever host it names."""
        parts = urlsplit(address)
        return requests.get(f"{self.url}{parts.path}?{parts.query}", headers=headers, timeout=10)


def picture(form: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(out, form)
    return out.getvalue()


def released(world: World) -> dict[str, Any]:
    """A night and its release; the output of a file."""
    world.night()
    version = release.prepare(world.installation)
    assert version is not None
    release.publish(world.installation, version)
    return next(body for body in world.outputs().values() if body["entity"] == "files")


@pytest.fixture
def site(open_world: OpenWorld) -> Iterator[Site]:
    drawn = Scripted("image_preview", "files", reads=("$.url",), publishes=(pictures.PREVIEWS,))
    drawn.answer = lambda item: Outcome("success", {size: f"{MADE}{size}.jpg" for size in pictures.SIZES})
    world = open_world(catalog=catalog(check_url.TASK, drawn.row), min_documents=0)
    for size in pictures.SIZES:
        world.installation.objects.put(f"{MADE}{size}.jpg", picture())
    world.source.put("a/ü?#", files=("x",))
    app = create_app(Web(), PicturePages(world.installation).routes())
    with served(app) as url:
        yield Site(url, world)


@pytest.fixture
def previews(site: Site) -> Mapping[str, str]:
    shown: Mapping[str, str] = released(site.world)["previews"]
    return shown


def test_what_an_output_names_is_served(site: Site, previews: Mapping[str, str]) -> None:
    for address in previews.values():
        answer = site.get(address)
        assert (answer.status_code, answer.content) == (200, picture())
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert "max-age=60" in answer.headers["cache-control"]
        again = site.get(address, **{"If-None-Match": f'W/"x", {answer.headers["etag"]}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
        head = requests.head(answer.url, timeout=10)
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(picture())))


@pytest.mark.parametrize(("form", "kind"), [("PNG", "image/png"), ("WEBP", "image/webp")])
def test_what_it_is_is_seen_by_its_bytes(site: Site, previews: Mapping[str, str], form: str, kind: str) -> None:
    site.world.installation.objects.put(f"{MADE}preview.jpg", picture(form))
    assert site.get(previews["preview"]).headers["content-type"] == kind


@pytest.mark.parametrize("content", [b"", b"<svg onload=alert(1)>", b"<html>", b"GIF89a", b"RIFF1234WEB"])
def test_what_is_no_picture_is_not_served(site: Site, previews: Mapping[str, str], content: bytes) -> None:
    site.world.installation.objects.put(f"{MADE}preview.jpg", content)
    assert site.get(previews["preview"]).status_code == 404


def test_an_object_that_is_gone_is_not_found(site: Site, previews: Mapping[str, str]) -> None:
    site.world.installation.objects.delete([f"{MADE}preview.jpg"])
    assert site.get(previews["preview"]).status_code == 404


def test_before_the_release_nothing_is_served(site: Site) -> None:
    site.world.night()
    shown = next(body for body in site.world.outputs().values() if body["entity"] == "files")["previews"]
    assert site.get(shown["preview"]).status_code == 404


def test_after_its_document_is_gone_nothing_is_served(site: Site, previews: Mapping[str, str]) -> None:
    site.world.source.delete("a/ü?#")
    site.world.source.put("b", files=("y",))
    released(site.world)
    assert site.get(previews["preview"]).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        f"bodies/ab/{DIGEST}",
        f"{MADE}outcome.json",
        f"{MADE}other.jpg",
        f"derived/ab/{'cd' * 32}/image_preview-2/preview.jpg",
        "pages/1/0.zst",
        "..%2f..%2fetc%2fpasswd",
        "",
    ],
)
def test_nothing_else_of_the_objects_is_served(site: Site, previews: Mapping[str, str], path: str) -> None:
    for key in (f"bodies/ab/{DIGEST}", f"{MADE}outcome.json", f"{MADE}other.jpg", "pages/1/0.zst"):
        site.world.installation.objects.put(key, picture())
    query = urlsplit(previews["preview"]).query
    for asked in (query, "", "of=", f"of={quote('src:one:a/ü?#')}", "of=nobody"):
        assert requests.get(f"{site.url}/pictures/{path}?{asked}", timeout=10).status_code == 404, asked


def test_a_document_is_asked_for_its_own_pictures_only(site: Site, previews: Mapping[str, str]) -> None:
    address, _, _ = previews["preview"].partition("?")
    assert site.get(f"{address}?of=src:one:a/ü%3F%23").status_code == 404, "the product has no picture of its own"


def test_where_pictures_lay_before_they_are_served_too(open_world: OpenWorld, site: Site) -> None:
    drawn = Scripted("image_preview", "files", version=2, reads=("$.url",), publishes=(pictures.PREVIEWS,))
    body = keys.body(DIGEST)
    drawn.answer = lambda item: Outcome(
        "success", {"full_size": body, **{size: f"{BEFORE}{size}.jpg" for size in pictures.THUMBNAILS}}
    )
    world = open_world(catalog=catalog(check_url.TASK, drawn.row), min_documents=0)
    for size in pictures.THUMBNAILS:
        world.installation.objects.put(f"{BEFORE}{size}.jpg", picture())
    world.installation.objects.put(body, picture())
    shown = released(world)["previews"]
    assert shown["full_size"] == shown["preview"] and BEFORE in shown["preview"]
    assert [site.get(address).status_code for address in shown.values()] == [200] * 3
    assert site.get(shown["full_size"].replace(f"{BEFORE}preview.jpg", body)).status_code == 404


def test_pages_of_this_application_keep_their_own_headers(site: Site) -> None:
    answer = requests.get(f"{site.url}/static/nothing", timeout=10)
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["x-content-type-options"] == "nosniff"
