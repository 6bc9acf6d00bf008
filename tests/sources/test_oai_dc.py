"""Dublin Core: every row of its mapping against a page in the forms that repositories send."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.config import SetSettings
from harvester_dagster.sources.oai_dc import doi
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.sources.source import Record, Request
from tests.sources.misbehaving import oai_list

OAI = KINDS["oai-pmh"]


def extracted(page: bytes) -> list[Record]:
    request = Request(
        SetSettings(kind="oai-pmh", url="http://example.org/oai", metadata_prefix="oai_dc"), "col_1", None
    )
    found = list(OAI.extract(page, range(len(OAI.cut(page))), request))
    assert all(isinstance(item, Record) for item in found), found
    return found  # type: ignore[return-value]


@pytest.fixture(scope="module")
def recorded() -> dict[str, Record]:
    page = (Path(__file__).parent / "recordings" / "oai_dc" / "list-records.xml").read_bytes()
    return {record.external_id: record for record in extracted(page)}


THESIS = "oai:repository.example.org:123456789/42"
DATA = "oai:zenodo.example.org:77"
GONE = "oai:repository.example.org:123456789/43"


def product(record: Record) -> Mapping[str, Any]:
    return record.documents[0].properties


def one(inside: str) -> Record:
    record = (
        "<record><header><identifier>x</identifier></header><metadata>"
        '<oai_dc:dc xmlns:oai_dc="http://www.openarchives.org/OAI/2.0/oai_dc/" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/">{inside}</oai_dc:dc></metadata></record>'
    )
    return extracted(oai_list(record).encode())[0]


def test_a_thesis(recorded: dict[str, Record]) -> None:
    record = recorded[THESIS]
    properties = product(record)
    assert record.documents[0].state == "active"
    assert record.modified_at == "2025-06-01T08:00:00Z"
    assert {
        key: properties[key]
        for key in ("title", "description", "language", "keywords", "publishers", "publisher_date", "publisher_year",
                    "copyright", "copyright_description", "doi", "files")
    } == {
        "title": "Windmills and the water board",
        "description": "First abstract,\n      on two lines.",
        "language": "nl",
        "keywords": ["Hydrology", "Water boards"],
        "publishers": ["University of Somewhere"],
        "publisher_date": "2024-05-01",
        "publisher_year": 2024,
        "copyright": "cc-by-nc-40",
        "copyright_description": "http://creativecommons.org/licenses/by-nc/4.0/",
        "doi": "10.1234/abc.42",
        "files": ["https://repository.example.org/bitstream/42/a%20thesis.pdf", "http://hdl.handle.net/123456789/42"],
    }  # fmt: skip
    assert [author["name"] for author in properties["authors"]] == ["Jansen, Ann", "Bo"]
    assert properties["provider"]["name"] == "University of Somewhere"
    assert properties["research_product"]["research_object_type"] == "masterThesis"
    assert [(file.properties["mime_type"], file.properties["is_link"]) for file in record.documents[1:]] == [
        ("application/pdf", False),
        ("text/html", True),
    ]
    assert {file.properties["access_rights"] for file in record.documents[1:]} == {"OpenAccess"}


def test_a_data_set_whose_only_address_is_its_doi(recorded: dict[str, Record]) -> None:
    record = recorded[DATA]
    assert product(record)["doi"] == "10.5281/zenodo.77"
    assert product(record)["files"] == ["https://doi.org/10.5281/zenodo.77"]
    assert product(record)["publisher_date"] is None
    assert product(record)["provider"]["name"] is None
    assert record.documents[1].properties["is_link"] is True
    assert record.documents[1].properties["access_rights"] == "ClosedAccess"
    assert any("in press" in note for note in record.notes)


def test_a_deleted_record(recorded: dict[str, Record]) -> None:
    assert recorded[GONE] == Record(GONE, "2025-06-02T08:00:00Z", ())


@pytest.mark.parametrize(
    ("written", "expected"),
    [("nld", "nl"), ("dut", "nl"), ("nl-NL", "nl"), ("EN", "en"), ("eng", "en"), ("Klingon", "Klingon")],
)
def test_languages(written: str, expected: str) -> None:
    assert product(one(f"<dc:language>{written}</dc:language>"))["language"] == expected


@pytest.mark.parametrize(
    ("rights", "expected"),
    [
        ("info:eu-repo/semantics/openAccess", "OpenAccess"),
        ("info:eu-repo/semantics/restrictedAccess", "RestrictedAccess"),
        ("info:eu-repo/semantics/embargoedAccess", "ClosedAccess"),
        ("Open Access", "OpenAccess"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "OpenAccess"),
        ("All rights reserved", "ClosedAccess"),
    ],
)
def test_access_rights(rights: str, expected: str) -> None:
    record = one(f"<dc:identifier>http://a/</dc:identifier><dc:rights>{rights}</dc:rights>")
    assert record.documents[1].properties["access_rights"] == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("10.1234/a", "10.1234/a"),
        ("doi:10.1234/a", "10.1234/a"),
        ("DOI: 10.1234/A", "10.1234/A"),
        ("https://doi.org/10.1234/a", "10.1234/a"),
        ("http://dx.doi.org/10.1234/a", "10.1234/a"),
        ("https://example.org/10.1234/a", None),
        ("10.1234", None),
    ],
)
def test_doi(written: str, expected: str | None) -> None:
    assert doi(written) == expected


def test_a_record_with_nothing_in_it_is_a_product() -> None:
    record = one("")
    assert (product(record)["title"], len(record.documents)) == (None, 1)
