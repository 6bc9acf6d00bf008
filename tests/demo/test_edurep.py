"""Edurep's side of the sample source server keeps the promises of OAI-PMH 2.0."""

import xml.etree.ElementTree as ET

import pytest

from harvester_dagster.demo.records import HERE
from harvester_dagster.demo.server import SampleServer
from tests.demo.clients import OAI, error_code, oai, oai_pages, oai_records

RECORDED = "surfsharekit:oai:surfsharekit.nl:5af0e26f-c4d2-4ddd-94ab-7dd0bd531751"
LOM = "{http://www.imsglobal.org/xsd/imsmd_v1p2}"


def test_recordings_come_on_two_pages_as_they_were_recorded(sample: SampleServer) -> None:
    pages = oai_pages(sample, set="surfsharekit")
    assert [len(list(page.iter(f"{OAI}record"))) for page in pages] == [9, 3]
    assert pages[1].find(f"{OAI}ListRecords/{OAI}resumptionToken") is not None  # empty: the end
    recorded = (HERE / "recordings/edurep/list-records.1.xml").read_text(encoding="utf-8")
    title = oai_records(sample, set="surfsharekit")[RECORDED].findtext(f".//{LOM}title/{LOM}langstring")
    assert title == "Exercises 5"
    assert recorded.count("<record>") == 9


def test_a_set_holds_its_records_only_and_no_set_holds_all(sample: SampleServer) -> None:
    recorded, wikiwijs = oai_records(sample, set="surfsharekit"), oai_records(sample, set="wikiwijs")
    assert len(recorded) == 12
    assert len(wikiwijs) == 12
    assert oai_records(sample).keys() == recorded.keys() | wikiwijs.keys()


def test_deleted_records_have_a_header_only(sample: SampleServer) -> None:
    for spec in ("surfsharekit", "wikiwijs"):
        deleted = [record for record in oai_records(sample, set=spec).values() if _is_deleted(record)]
        assert len(deleted) == 1
        assert [child.tag for child in deleted[0]] == [f"{OAI}header"]


@pytest.mark.parametrize(
    ("window", "found"),
    [
        ({"from": "2023-11-02T09:00:00Z"}, 2),
        ({"from": "2023-11-02T09:00:01Z"}, 1),
        ({"until": "2023-02-01T08:15:00Z"}, 1),
        ({"until": "2023-02-01T08:14:59Z"}, 0),
        ({"from": "2023-03-12", "until": "2023-03-12"}, 1),
        ({"from": "2026-01-01"}, 0),
    ],
)
def test_a_window_includes_its_borders(sample: SampleServer, window: dict[str, str], found: int) -> None:
    answer = oai(sample, verb="ListRecords", metadataPrefix="lom", set="wikiwijs", **window)
    assert len(list(answer.iter(f"{OAI}record"))) == found
    assert error_code(answer) == (None if found else "noRecordsMatch")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, "badVerb"),
        ({"verb": "Steal"}, "badVerb"),
        ({"verb": "ListRecords"}, "badArgument"),
        ({"verb": "Identify", "set": "wikiwijs"}, "badArgument"),
        ({"verb": "ListRecords", "metadataPrefix": "lom", "from": "yesterday"}, "badArgument"),
        ({"verb": "ListRecords", "metadataPrefix": "lom", "from": "2023-02-30"}, "badArgument"),
        ({"verb": "ListRecords", "metadataPrefix": "lom", "from": "2023-01-01", "until": "2022-01-01"}, "badArgument"),
        (
            {"verb": "ListRecords", "metadataPrefix": "lom", "from": "2022-01-01", "until": "2023-01-01T00:00:00Z"},
            "badArgument",
        ),
        ({"verb": "ListRecords", "resumptionToken": "c9|u|f|mlom|ssurfsharekit", "set": "wikiwijs"}, "badArgument"),
        ({"verb": "ListRecords", "resumptionToken": "made up"}, "badResumptionToken"),
        ({"verb": "ListRecords", "resumptionToken": "c99|u|f|mlom|swikiwijs"}, "badResumptionToken"),
        ({"verb": "ListRecords", "metadataPrefix": "marc21"}, "cannotDisseminateFormat"),
        ({"verb": "GetRecord", "metadataPrefix": "lom", "identifier": "nobody"}, "idDoesNotExist"),
        ({"verb": "ListRecords", "metadataPrefix": "lom", "set": "nowhere"}, "noRecordsMatch"),
    ],
)
def test_what_is_wrong_gets_the_protocols_error(sample: SampleServer, arguments: dict[str, str], code: str) -> None:
    assert error_code(oai(sample, **arguments)) == code


def test_the_server_introduces_itself(sample: SampleServer) -> None:
    identify = oai(sample, verb="Identify")
    assert identify.findtext(f".//{OAI}granularity") == "YYYY-MM-DDThh:mm:ssZ"
    assert identify.findtext(f".//{OAI}deletedRecord") == "persistent"
    sets = oai(sample, verb="ListSets").iter(f"{OAI}setSpec")
    assert [found.text for found in sets] == ["surfsharekit", "wikiwijs"]
    formats = oai(sample, verb="ListMetadataFormats").iter(f"{OAI}metadataPrefix")
    assert [found.text for found in formats] == ["lom", "oai_dc"]


def test_one_record_is_the_same_as_in_the_list(sample: SampleServer) -> None:
    alone = oai(sample, verb="GetRecord", metadataPrefix="lom", identifier=RECORDED).find(f".//{OAI}record")
    listed = oai_records(sample, set="surfsharekit")[RECORDED]
    assert alone is not None
    assert list(alone.itertext()) == list(listed.itertext())


def test_every_record_has_a_dublin_core_form(sample: SampleServer) -> None:
    dublin_core = "{http://purl.org/dc/elements/1.1/}"
    for identifier, record in oai_records(sample, prefix="oai_dc").items():
        if not _is_deleted(record):
            assert record.findtext(f".//{dublin_core}title"), identifier
    first = oai_records(sample, prefix="oai_dc")["wikiwijs:oai:wikiwijs.example.org:100001"]
    assert [name.text for name in first.iter(f"{dublin_core}creator")] == ["Anneke de Wit", "Joost van Dam"]
    assert first.findtext(f".//{dublin_core}date") == "2023-01-20"


def _is_deleted(record: ET.Element) -> bool:
    header = record.find(f"{OAI}header")
    return header is not None and header.get("status") == "deleted"
