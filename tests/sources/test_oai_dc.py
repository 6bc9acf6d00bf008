"""Dublin Core: every row of its mapping against a page in the forms that repositories send."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.config import SetSettings
from harvester_dagster.sources.kind import Record, Request, Unreadable
from harvester_dagster.sources.registry import KINDS
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
    ("rights", "expected"),
    [
        ("info:eu-repo/semantics/openAccess", "OpenAccess"),
        ("info:eu-repo/semantics/restrictedAccess", "RestrictedAccess"),
        ("info:eu-repo/semantics/embargoedAccess", "ClosedAccess"),
        ("Open Access", "OpenAccess"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "OpenAccess"),
        ("http://purl.org/coar/access_right/c_abf2", "OpenAccess"),
        ("Creative Commons Attribution 4.0 International", "OpenAccess"),
        ("All rights reserved", "ClosedAccess"),
    ],
)
def test_access_rights(rights: str, expected: str) -> None:
    record = one(f"<dc:identifier>http://a/</dc:identifier><dc:rights>{rights}</dc:rights>")
    assert record.documents[1].properties["access_rights"] == expected


def test_a_record_with_nothing_in_it_is_a_product() -> None:
    record = one("")
    assert (product(record)["title"], len(record.documents)) == (None, 1)


def test_markup_inside_a_text_is_text() -> None:
    record = one(
        "<dc:title>Water <i>en</i> CO<sub>2</sub> in de bodem</dc:title>"
        "<dc:description><p>One <b>bold</b> word.</p><p>Two<br/>lines.</p></dc:description>"
    )
    assert product(record)["title"] == "Water en CO2 in de bodem"
    assert [line for line in product(record)["description"].splitlines() if line] == ["One bold word.", "Two", "lines."]


def test_a_language_is_the_first_that_says_one() -> None:
    assert product(one("<dc:language>und</dc:language><dc:language>nl-NL</dc:language>"))["language"] == "nl"


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<dc:date>ca. 1998</dc:date>", ("1998-01-01", 1998, "ca. 1998")),
        ("<dc:date>s.a.</dc:date><dc:date>[2004?]</dc:date>", ("2004-01-01", 2004, "[2004?]")),
        ("<dc:date>info:eu-repo/date/embargoEnd/2030-01-01</dc:date><dc:date>2011</dc:date>", ("2011-01-01", 2011, "")),
        ("<dc:date>z.j.</dc:date>", (None, None, "z.j.")),
    ],
)
def test_a_date_that_is_not_plain_is_kept_in_a_note(inside: str, expected: tuple[object, object, str]) -> None:
    record = one(inside)
    assert (product(record)["publisher_date"], product(record)["publisher_year"]) == expected[:2]
    assert expected[2] in " ".join(record.notes) and len(record.notes) == bool(expected[2])


def test_dcterms_fill_what_dc_leaves_empty() -> None:
    terms = (
        '<t:issued xmlns:t="http://purl.org/dc/terms/">2011-02-03</t:issued>'
        '<t:abstract xmlns:t="http://purl.org/dc/terms/">About rivers</t:abstract>'
        '<t:license xmlns:t="http://purl.org/dc/terms/">http://creativecommons.org/licenses/by/4.0/</t:license>'
        '<t:accessRights xmlns:t="http://purl.org/dc/terms/">restricted access</t:accessRights>'
        '<t:isPartOf xmlns:t="http://purl.org/dc/terms/">oai:a:1</t:isPartOf>'
    )
    filled = product(one(terms))
    assert (filled["publisher_date"], filled["description"]) == ("2011-02-03", "About rivers")
    assert (filled["copyright"], filled["is_part_of"]) == ("cc-by-40", ["oai:a:1"])
    both = one(
        f"{terms}<dc:date>2009</dc:date><dc:description>Mine</dc:description><dc:identifier>http://a/b</dc:identifier>"
    )
    assert (product(both)["publisher_date"], product(both)["description"]) == ("2009-01-01", "Mine")
    assert both.documents[1].properties["access_rights"] == "RestrictedAccess"


def test_words_around_a_web_address_are_noted() -> None:
    record = one(
        "<dc:identifier>http://example.org/c.pdf (full text)</dc:identifier>"
        "<dc:identifier>URL: http://example.org/d.pdf</dc:identifier><dc:identifier>ISBN 90 274</dc:identifier>"
    )
    assert product(record)["files"] == ["http://example.org/c.pdf", "http://example.org/d.pdf"]
    assert len(record.notes) == 2 and "(full text)" in record.notes[0]


def test_metadata_of_another_kind_is_unreadable() -> None:
    page = oai_list(
        "<record><header><identifier>x</identifier></header><metadata>"
        '<dc xmlns="http://example.org/discovery"><call>1</call></dc></metadata></record>'
    ).encode()
    asked = Request(SetSettings(kind="oai-pmh", url="http://example.org", metadata_prefix="oai_dc"), "*", None)
    (found,) = OAI.extract(page, [0], asked)
    assert isinstance(found, Unreadable) and "http://example.org/discovery" in found.reason
