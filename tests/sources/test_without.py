"""A page without some of its records: nothing of them is left, all others are as they were, and it has as many."""

import json
from collections.abc import Mapping, Sequence

import pytest

from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import SetSettings
from harvester_dagster.sources.kind import Record, Request

MARKER = "Zeldzaamwoord"


def oai(*records: str, begin: str = "<?xml version='1.0' encoding='UTF-8'?>", prefix: str = "") -> bytes:
    name = f"xmlns:{prefix[:-1]}" if prefix else "xmlns"
    listed = "".join(records)
    token = f"<{prefix}resumptionToken completeListSize='9'>abc</{prefix}resumptionToken>"
    inner = f"<{prefix}ListRecords>{listed}{token}</{prefix}ListRecords>"
    return f'{begin}<{prefix}OAI-PMH {name}="http://www.openarchives.org/OAI/2.0/">{inner}</{prefix}OAI-PMH>'.encode()


def record(name: str, title: str, prefix: str = "") -> str:
    head = f"<{prefix}header><{prefix}identifier>{name}</{prefix}identifier>"
    head += f"<{prefix}datestamp>2026-01-01</{prefix}datestamp></{prefix}header>"
    dc = '<oai_dc:dc xmlns:oai_dc="http://www.openarchives.org/OAI/2.0/oai_dc/" '
    dc += f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></oai_dc:dc>'
    return f"<{prefix}record>{head}<{prefix}metadata>{dc}</{prefix}metadata></{prefix}record>"


def titled(*titles: str, prefix: str = "") -> Sequence[str]:
    return [record(f"r{n}", title, prefix) for n, title in enumerate(titles)]


TITLES = ("One", f"{MARKER} é &amp; more", "Three")
BROKEN = record("r1", f"{MARKER} & <b>")
PAGES = {
    "plain": oai(*titled(*TITLES)),
    "prefixed": oai(*titled(*TITLES, prefix="o:"), prefix="o:"),
    "commented": oai("<!-- <record> -->", *titled(*TITLES)),
    "broken": oai(record("r0", "One"), BROKEN, record("r2", "Three")),
    "utf-16": oai(*titled(*TITLES), begin="<?xml version='1.0' encoding='UTF-16'?>").decode().encode("utf-16"),
}


def request_of(kind: str, **settings: str) -> Request:
    given = {"kind": kind, "url": "https://example.org", **settings}
    return Request(SetSettings.model_validate(given), "one", None)


def said(kind: str, page: bytes, request: Request) -> list[tuple[str | None, bool]]:
    """Of each record its id, and whether it has documents."""
    every = range(len(CATALOG.kinds[kind].cut(page)))
    records = CATALOG.kinds[kind].extract(page, every, request)
    return [(one.external_id, bool(isinstance(one, Record) and one.documents)) for one in records]


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_of_oai_pmh(page: bytes) -> None:
    request, kind = request_of("oai-pmh", format="oai_dc", metadata_prefix="oai_dc"), CATALOG.kinds["oai-pmh"]
    assert MARKER.encode() in page or MARKER.encode("utf-16-le") in page
    new = kind.without(page, {1: "removed:<1>"})
    assert MARKER.encode() not in new and MARKER.encode("utf-16-le") not in new
    assert said("oai-pmh", new, request) == [("r0", True), ("removed:<1>", False), ("r2", True)]
    assert b"abc" in new and b"completeListSize" in new
    again = kind.without(new, {0: "x", 2: "y"})
    assert [name for name, _ in said("oai-pmh", again, request)] == ["x", "removed:<1>", "y"]


def resource(name: str, **attributes: str) -> Mapping[str, object]:
    return {"id": name, "meta": {"status": "active"}, "attributes": {"title": "T", **attributes}}


@pytest.mark.parametrize("broken", ["", '"attributes":{"title":"x" "y"}', '"attributes":{"title":"\\ud800"}'])
def test_of_json(broken: str) -> None:
    request, kind = request_of("sharekit"), CATALOG.kinds["sharekit"]
    first, last = json.dumps(resource("a")), json.dumps(resource("c"))
    middle = json.dumps(resource("b", title=MARKER)) if not broken else f'{{"id":"b","x":"{MARKER}",{broken}}}'
    page = f'{{"data":[{first},{middle},{last}],"links":{{"next":"?page=2"}},"meta":{{"n":1}}}}'.encode()
    new = kind.without(page, {1: "removed:1"})
    assert MARKER.encode() not in new
    assert said("sharekit", new, request) == [("a", True), ("removed:1", False), ("c", True)]
    assert json.loads(new)["links"] == {"next": "?page=2"} and json.loads(new)["meta"] == {"n": 1}
