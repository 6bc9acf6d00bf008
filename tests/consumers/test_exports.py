"""Exports: the same bytes as are stored, whole or in pieces, in each form; what is cut goes on; manifests."""

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jsonschema_rs
import psycopg
import pytest
import requests
import zstandard
from starlette.testclient import TestClient

from harvester_dagster.consumers import exports, snapshots
from harvester_dagster.consumers.exports import Manifest, Manifests, Remembered, SrnRange
from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from harvester_dagster.web.api.limits import EXPORTS
from tests.consumers.copies import client_of
from tests.consumers.serving import listening
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import World

__all__ = ["open_world", "source"]
ODD = ["a/b c", 'back\\slash "quoted"', "é", "tab\there", "zz"]


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    return open_world(installed={"web": {}}, deletes="persistent", min_documents=1000)


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    with client_of(world.installation) as client:
        yield client


def published(world: World, *ids: str, **values: object) -> versions.Version:
    world.source.put(*ids, **values)
    world.night()
    version = release.prepare(world.installation)
    assert version
    return versions.promote(world.installation, version)


def stored(world: World, entity: str = "products") -> bytes:
    rows = world.rows(
        """SELECT body FROM output_body JOIN output o USING (doc_id, from_gen) JOIN document d USING (doc_id)
           WHERE o.published AND o.to_gen IS NULL AND d.entity = %s ORDER BY external_id""",
        entity,
    )
    return b"".join(body.encode() + b"\n" for (body,) in rows)


def snapshot(world: World) -> snapshots.Snapshot:
    with world.installation.reading.connection() as connection:
        return snapshots.now(connection)


def test_each_form_is_what_is_stored(world: World, client: TestClient) -> None:
    published(world, *ODD, title='Back\\slash, "quotes",\nlines \x85 and \\N', files=("x",))
    expected = stored(world)
    assert expected.count(b"\n") == len(ODD)
    plain = client.get("/export/product/documents.ndjson")
    assert plain.content == expected and plain.headers["content-type"].startswith("application/x-ndjson")
    assert 'filename="edusources-products-1.ndjson"' in plain.headers["content-disposition"]
    assert gzip.decompress(client.get("/export/product/documents.ndjson.gz").content) == expected
    packed = client.get("/export/product/documents.ndjson.zst").content
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == expected
    assert client.get("/export/file/documents.ndjson").content == stored(world, "files")
    assert client.head("/export/product/documents.ndjson").headers["etag"] == plain.headers["etag"]


def test_an_earlier_version_and_what_a_client_has(world: World, client: TestClient) -> None:
    published(world, "a", title="First")
    first = client.get("/export/product/documents.ndjson")
    manifest = client.get("/export/product/")
    for answer in (first, manifest):
        known = {"If-None-Match": answer.headers["etag"]}
        assert client.get(str(answer.url), headers=known).status_code == 304
    published(world, "b")
    assert client.get(str(first.url), headers={"If-None-Match": first.headers["etag"]}).status_code == 200
    assert client.get("/export/product/documents.ndjson?version=1").content == first.content
    assert client.get("/export/product/?version=1").json()["documents"] == 1
    assert client.get("/export/product/").json()["documents"] == 2
    for path in ("/export/product/", "/export/product/documents.ndjson.gz"):
        assert client.get(f"{path}?version=9").status_code == 404
    assert client.get("/export/product/documents.ndjson?set=src:none").status_code == 404
    assert client.get("/export/product/documents.ndjson?after=%00").status_code == 400


def test_pieces_are_the_whole(world: World) -> None:
    published(world, *(f"r{number:02}" for number in range(23)), *ODD)
    pool, found = world.installation.reading, snapshot(world)
    made = exports.manifest(pool, found, "products", at_once=5)
    assert [piece.documents for piece in made.pieces] == [5, 5, 5, 5, 5, 3]
    whole = b""
    for piece in made.pieces:
        read = b"".join(
            exports.lines(pool, found, "products", SrnRange(piece.after, piece.up_to, piece.set), at_once=2)
        )
        assert hashlib.sha256(read).hexdigest() == piece.sha256
        assert (len(read), read.count(b"\n")) == (piece.bytes, piece.documents)
        whole += read
    assert whole == stored(world) and made.documents == 28 and made.bytes == len(whole)


def test_what_was_cut_goes_on_behind_its_last_line(world: World, client: TestClient) -> None:
    published(world, *(f"r{number:02}" for number in range(7)), *ODD)
    whole = client.get("/export/product/documents.ndjson").content
    had = b"".join(whole.splitlines(keepends=True)[:4])
    last = json.loads(had.splitlines()[-1])["srn"]
    rest = client.get("/export/product/documents.ndjson", params={"version": 1, "after": last})
    assert had + rest.content == whole
    assert client.get("/export/product/documents.ndjson?after=zzz").content == b""
    assert client.get("/export/product/documents.ndjson?up_to=aaa").content == b""


def test_the_manifest_leads_to_its_pieces(world: World, client: TestClient) -> None:
    published(world, *ODD)
    (piece,) = client.get("/export/product/").json()["pieces"]
    published(world, "later")
    for form, opened in (("ndjson", bytes), ("gzip", gzip.decompress)):
        assert hashlib.sha256(opened(client.get(piece[form]).content)).hexdigest() == piece["sha256"]


def test_two_who_ask_at_once_make_one_manifest() -> None:
    manifests, made, go = Manifests(), [], threading.Event()

    def make() -> Manifest:
        made.append(1)
        go.wait(10)
        return Manifest(())

    key = Remembered("products", 1, 1)
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(manifests.get, key, make) for _ in range(4)]
        go.set()
        assert {each.result() for each in asked} == {Manifest(())}
    assert len(made) == 1
    manifests.get(Remembered("products", 1, 2), make)
    assert len(made) == 2, "another seq: something may have been taken back"

    def fail() -> Manifest:
        raise psycopg.OperationalError("gone")

    other = Remembered("products", 2, 2)
    with pytest.raises(psycopg.OperationalError):
        manifests.get(other, fail)
    assert manifests.get(other, make) == Manifest(())


def test_what_is_erased_from_an_earlier_version_is_not_in_its_manifest_any_more(
    world: World, client: TestClient
) -> None:
    """As a document that is taken back will be: erased, and noted in the log."""
    published(world, "a", "b")
    published(world, "c")
    before = client.get("/export/product/?version=1").json()
    world.change(
        """UPDATE output SET published = false WHERE doc_id = (SELECT doc_id FROM document WHERE external_id = 'b'
           AND entity = 'products')"""
    )
    world.change(
        """INSERT INTO publication (seq, set_id, at, version_id, from_gen, to_gen)
           SELECT max(seq) + 1, set_id, max(at) + interval '1 s', 2, 2, 3 FROM publication GROUP BY set_id"""
    )
    after = client.get("/export/product/?version=1", headers={"If-None-Match": '"x"'}).json()
    assert (before["documents"], after["documents"]) == (2, 1)
    line = client.get(after["pieces"][0]["ndjson"]).content
    assert hashlib.sha256(line).hexdigest() == after["pieces"][0]["sha256"]


def test_every_document_keeps_to_the_schema(world: World, client: TestClient) -> None:
    published(world, *ODD, files=("x", "y"))
    for entity in ("product", "file"):
        answer = client.get(f"/schema/{entity}/")
        assert answer.headers["content-type"].startswith("application/schema+json")
        assert answer.json()["$id"].endswith(f"/api/v1/schema/{entity}/")
        validator = jsonschema_rs.validator_for(answer.json())
        for line in client.get(f"/export/{entity}/documents.ndjson").content.splitlines():
            validator.validate(json.loads(line))


def test_so_many_exports_at_once_and_none_holds_what_it_has_left(open_world: OpenWorld) -> None:
    world = open_world(installed={"web": {}})
    world.source.page_size = 100
    published(world, *(f"r{number}" for number in range(600)), title="A long title " * 3_000)
    assert len(stored(world)) > 40_000_000, "more than sockets take in"
    with listening(world.installation) as api:
        address = f"{api}/export/product/documents.ndjson"
        begun = [requests.get(address, stream=True, timeout=30) for _ in range(EXPORTS.at_once)]
        refused = requests.get(f"{api}/export/product/documents.ndjson.gz", timeout=30)
        assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
        assert requests.get(f"{api}/product/", timeout=30).status_code == 200
        for each in begun:
            each.close()
        whole = None
        for _ in range(100):
            whole = requests.get(address, timeout=30)
            if whole.status_code == 200:
                break
            threading.Event().wait(0.1)
        assert whole is not None and whole.content == stored(world)
