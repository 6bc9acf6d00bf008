"""Lists and single documents: what they show, what they refuse, what a client may keep."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from tests.consumers.copies import client_of, walked
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import World

__all__ = ["open_world", "source"]
TOKEN = {"Authorization": "Bearer s3cret"}
HOSTILE = [
    "/product/?cursor=forged",
    "/product/?cursor=" + "A" * 10_000,
    "/product/?page_size=0",
    "/product/?page_size=1001",
    "/product/?page_size=" + "9" * 400,
    "/product/?version=0",
    "/product/?version=999999999999999999999",
    "/product/?modified_since=yesterday",
    "/product/?modified_since=2026-01-01&version=1",
    "/changes/",
    "/changes/?after=-1",
    "/changes/?after=0&cursor=x",
    "/changes/?after=0&entity=%00",
    "/product/?page=2",
]


@pytest.fixture
def world(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    return open_world(deletes="persistent", min_documents=1000)


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    with client_of(world.installation) as client:
        yield client


def published(world: World, *ids: str, **values: object) -> None:
    """A night, and its release."""
    world.source.put(*ids, **values)
    world.night()
    version = release.prepare(world.installation)
    if version:
        versions.promote(world.installation, version)


def test_before_the_first_version_there_is_nothing(client: TestClient) -> None:
    for path in ("/product/", "/product/src:one:a/", "/file/metadata/"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (417, "application/problem+json")
    answer = client.get("/changes/?after=0")
    assert (answer.status_code, answer.json()["results"], answer.json()["seq"]) == (200, [], 0)
    assert client.get("/changes/?after=7").status_code == 410


def test_a_document_goes_out_as_it_is_stored(world: World, client: TestClient) -> None:
    published(world, "a/b c", "é", files=("x",))
    (stored,) = world.rows(
        """SELECT body FROM output_body JOIN output USING (doc_id, from_gen) JOIN document USING (doc_id)
           WHERE external_id = 'a/b c'"""
    )
    for path in ("/product/src:one:a/b c/", "/product/src:one:a%2Fb%20c/"):
        assert client.get(path).text == stored[0]
    page = walked(client, "/product/", {})
    assert page is not None and page["results"][0] == json.loads(stored[0])
    assert {each["srn"] for each in page["results"]} == {"src:one:a/b c", "src:one:é"}
    assert client.get("/product/src:one:é/").status_code == 200
    assert client.get("/file/src:one:é/").status_code == client.get("/product/src:one:none/").status_code == 404
    assert client.head("/product/").status_code == 200


def test_metadata_is_what_a_sitemap_needs(world: World, client: TestClient) -> None:
    published(world, "a", files=("x",))
    page = client.get("/product/metadata/").json()
    assert [list(each) for each in page["results"]] == [["srn", "state", "modified_at", "language"]]
    assert client.get("/product/metadata/src:one:a/").json() == page["results"][0]
    assert len(client.get("/file/metadata/").json()["results"]) == 1


def test_raw_needs_its_scope_wherever_one_sits(world: World, client: TestClient) -> None:
    published(world, "a")
    assert client.get("/product/raw/src:one:a/").status_code == 403
    answer = client.get("/product/raw/src:one:a/", headers=TOKEN)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert found["properties"]["title"] == "Title of a" or found["properties"]["external_id"] == "a"
    assert {"tasks", "state", "reason"} <= found.keys()
    assert client.get("/product/raw/src:one:none/", headers=TOKEN).status_code == 404


def test_a_version_a_day_and_what_is_no_longer_kept(world: World, client: TestClient) -> None:
    published(world, "a", title="First")
    first = world.now + timedelta(minutes=1)
    published(world, "a", title="Second")
    title = {"version=1": "First", "version=2": "Second", "": "Second", f"at={world.now:%Y-%m-%d}": "Second"}
    title[f"at={first:%Y-%m-%dT%H:%M:%SZ}"] = title[f"at={first.isoformat().replace('+', '%2B')}"] = "First"
    title[f"at={first.isoformat()}"] = "First"  # a + that nobody escaped
    for asked, expected in title.items():
        answer = client.get(f"/product/src:one:a/?{asked}")
        assert answer.status_code == 200, (asked, answer.text)
        assert answer.json()["title"] == expected, asked
    assert client.get("/product/?version=1").json()["results"][0]["title"] == "First"
    for unknown in ("/product/?version=9", "/product/src:one:a/?version=9", "/difference/?old=1&new=99"):
        answer = client.get(unknown)
        assert (answer.status_code, answer.json()["title"]) == (404, "There is no such version")
    assert client.get("/product/src:one:a/?at=2001-01-01").status_code == 417


def test_the_ends_of_the_calendar_are_times(world: World, client: TestClient) -> None:
    published(world, "a")
    assert len(client.get("/product/?modified_since=0001-01-01").json()["results"]) == 1
    for late in ("9999-12-31", "9999-12-31T23:59:59-10:00"):
        assert client.get(f"/product/?modified_since={late}").json()["results"] == []
        assert client.get(f"/product/src:one:a/?at={late}").status_code == 200
    assert client.get("/product/src:one:a/?at=0001-01-01T00:00:00%2B10:00").status_code == 417


def test_a_client_keeps_what_it_has(world: World, client: TestClient) -> None:
    published(world, "a")
    for path in ("/product/", "/product/src:one:a/", "/changes/?after=1", "/product/metadata/"):
        answer = client.get(path)
        again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (answer.headers["cache-control"], again.status_code, again.content) == ("no-cache", 304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
    etag = client.get("/product/src:one:a/").headers["etag"]
    published(world, "b")
    assert client.get("/product/src:one:a/", headers={"If-None-Match": etag}).status_code == 304
    published(world, "a", title="Another")
    assert client.get("/product/src:one:a/", headers={"If-None-Match": etag}).status_code == 200


@pytest.mark.parametrize("path", HOSTILE)
def test_what_cannot_be_answered_is_a_problem(world: World, client: TestClient, path: str) -> None:
    published(world, "a")
    answer = client.get(path)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json" and answer.json()["status"] == 400


def test_unknown_parameters_name_the_known_ones(world: World, client: TestClient) -> None:
    published(world, "a")
    said = client.get("/product/?pagesize=3").json()["detail"]
    assert "pagesize" in said and "page_size" in said and "modified_since" in said


def test_a_cursor_is_of_its_list_and_its_installation(world: World, client: TestClient) -> None:
    published(world, "a", "b", "c")
    following = client.get("/product/?page_size=1").json()["next"]
    cursor = following.partition("cursor=")[2]
    assert client.get(f"/product/?cursor={cursor}").status_code == 200
    for other in ("/file/", "/product/metadata/", "/changes/"):
        assert client.get(f"{other}?cursor={cursor}").status_code == 400
    assert client.get(f"/product/?cursor={cursor[:-2]}xx").status_code == 400
    assert client.get(f"/product/?cursor={cursor}&modified_since=2026-01-01").status_code == 400


@pytest.mark.parametrize("srn", ["%00", "src:one:%00", "..", "../../etc/passwd", "src:one:‮a", "x" * 2_999, "%ff"])
def test_odd_names_are_no_documents(world: World, client: TestClient, srn: str) -> None:
    published(world, "a")
    assert client.get(f"/product/{srn}/").status_code in (400, 404)


def test_two_versions_differ_field_by_field(world: World, client: TestClient) -> None:
    published(world, "a", "b", title="First")
    world.source.delete("b")
    published(world, "a", title="Second")
    published(world, "c")
    whole = client.get("/difference/?old=1&new=3").json()["results"]
    found = {each["srn"]: each for each in whole}
    assert {srn: each["change"] for srn, each in found.items() if each["entity"] == "products"} == {
        "src:one:a": "changed",
        "src:one:c": "added",
        "src:one:b": "removed",
    }
    assert found["src:one:a"]["fields"]["title"] == {"before": "First", "after": "Second"}
    paged, following = [], "/difference/?old=1&new=3&page_size=1"
    while following:
        page = client.get(following).json()
        paged += page["results"]
        following = page["next"]
    assert paged == whole
    assert client.get("/difference/?old=1").status_code == 400
    assert client.get("/difference/?old=1&new=99").status_code == 404
