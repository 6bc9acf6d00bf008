"""Sharekit: every row of the mapping against the recordings, and the cases that they do not have.

The expectations were written by reading the recordings.
"""

import json
from collections.abc import Mapping
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.config import SetSettings
from harvester_dagster.sources.kind import Document, Record, Request, Unreadable
from harvester_dagster.sources.registry import KINDS

SHAREKIT = KINDS["sharekit"]
EXERCISES = "5af0e26f-c4d2-4ddd-94ab-7dd0bd531751"
VORTEX = "5be6dfeb-b9ad-41a8-b4f5-94b9438e4257"
DIDACTICS = "63903863-6c93-4bda-b850-277f3c9ec00e"
HISTORY = "3c2b4e81-e9a1-41bc-8b6a-97bfe7e4048b"
SUMMARY = "a18cdda7-e9c7-40d7-a7ad-6e875d9015ce"
BIG = "8936d0a3-4157-45f4-9595-c26d4c029d97"
LITTLE = "f929b625-5ef7-47b8-8fa8-94c969d0c427"
REUNIFY = "befb515c-5dce-4f27-82a4-2f5a7a3618a4"
DELETED = "9887d1e7-f5aa-45e8-8e92-a9772a0663ad"
MIDI = "b35875c5-678b-4d58-af85-4111c321c5cd"
LABOUR = "b500d389-2fda-4696-ae51-9cd0603a48af"
IN_ORDER = [EXERCISES, VORTEX, DIDACTICS, HISTORY, SUMMARY, BIG, LITTLE, REUNIFY, DELETED, MIDI, LABOUR]


def request(production: bool = False, **settings: Any) -> Request:
    return Request(
        SetSettings(kind="sharekit", url="http://example.org/api", **settings), "edusources", None, production
    )


def extracted(page: bytes, production: bool = False, **settings: Any) -> list[Record | Unreadable]:
    return list(SHAREKIT.extract(page, range(len(SHAREKIT.cut(page))), request(production, **settings)))


def read(resource: Any, production: bool = False, **settings: Any) -> Record | Unreadable:
    return extracted(json.dumps({"data": [resource]}).encode(), production, **settings)[0]


def one(production: bool = False, settings: Mapping[str, Any] | None = None, **attributes: Any) -> Record:
    """A record with these attributes, beside a title."""
    found = read({"id": "x", "attributes": {"title": "T", **attributes}}, production, **(settings or {}))
    assert isinstance(found, Record), found
    return found


@pytest.fixture(scope="module")
def recorded() -> dict[str, Record]:
    folder = Path(__file__).parent / "recordings" / "sharekit"
    found = [
        record
        for page in ("repo-items.1.json", "repo-items.2.json", "repo-items.empty.json")
        for record in extracted((folder / page).read_bytes())
    ]
    assert [record.external_id for record in found] == IN_ORDER
    return {record.external_id: record for record in found if isinstance(record, Record)}


def product(record: Record) -> Mapping[str, Any]:
    return record.documents[0].properties


def files(record: Record) -> list[Mapping[str, Any]]:
    assert all(document.entity == "files" for document in record.documents[1:])
    return [document.properties for document in record.documents[1:]]


# --- the recordings ---------------------------------------------------------------------------------------------------


def test_every_recorded_record_is_read_without_a_note(recorded: dict[str, Record]) -> None:
    assert len(recorded) == 11
    assert {key: record.notes for key, record in recorded.items() if record.notes} == {}
    assert {record.documents[0].state for key, record in recorded.items() if key != DELETED} == {"active"}


def test_a_delete_has_empty_attributes_and_its_own_time(recorded: dict[str, Record]) -> None:
    assert recorded[DELETED] == Record(DELETED, "2021-10-07T09:16:44Z", ())


def test_a_whole_record(recorded: dict[str, Record]) -> None:
    record = recorded[EXERCISES]
    provider = {"ror": None, "external_id": None, "slug": None, "name": "Codarts Rotterdam"}
    url = "https://surfsharekit.nl/objectstore/182216be-31a2-43c3-b7de-e5dd355b09f7"
    key = sha1(url.encode()).hexdigest()
    assert record.modified_at == "2017-12-11T12:52:09Z"
    assert record.documents == (
        Document(
            "products",
            EXERCISES,
            "active",
            {
                "external_id": EXERCISES,
                "state": "active",
                "doi": None,
                "files": [url],
                "title": "Exercises 5",
                "subtitle": None,
                "description": "Fifth exercises of the course",
                "language": "en",
                "keywords": ["exercise", "#Vaktherapie"],
                "copyright": "cc-by-nc-40",
                "copyright_description": None,
                "authors": [],
                "provider": provider,
                "organizations": {"root": {**provider, "type": "unknown"}, "departments": [], "associates": []},
                "publishers": ["SURFnet"],
                "publisher_date": "1970-01-01",
                "publisher_year": 1970,
                "technical_type": None,
                "is_part_of": [],
                "has_parts": [],
                "learning_material": {
                    "material_types": ["unknown"],
                    "aggregation_level": "3",
                    "lom_educational_levels": ["HBO"],
                    "studies": [],
                    "study_vocabulary": ["http://purl.edustandaard.nl/concept/8f984395-e090-41be-96df-503f53ddaa09"],
                    "disciplines": ["kunst_cultuur"],
                    "consortium": "Projectgroep Vaktherapie",
                },
                "research_product": {"research_object_type": None, "research_themes": [], "parties": []},
            },
        ),
        Document(
            "files",
            f"{EXERCISES}:{key}",
            "active",
            {
                "external_id": f"{EXERCISES}:{key}",
                "state": "active",
                "language": "en",
                "url": url,
                "hash": key,
                "mime_type": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                "title": "40. Exercises 5.docx",
                "copyright": "cc-by-nc-40",
                "access_rights": "OpenAccess",
                "product_id": EXERCISES,
                "is_link": False,
                "provider": provider,
                "priority": 0,
            },
        ),
    )


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("title", {LITTLE: "03. What are little big histories?", MIDI: "Les 12 - Audio en MIDI 1"}),
        ("description", {VORTEX: "Instruction on how to use a Vortex mixer", DIDACTICS: None}),
        ("language", {DIDACTICS: "nl", LABOUR: "en"}),
        ("technical_type", {HISTORY: "video", SUMMARY: None}),
        ("copyright", {EXERCISES: "cc-by-nc-40", LABOUR: "cc-by-sa-40"}),
        ("publishers", {VORTEX: ["SURFnet"], HISTORY: ["Stimuleringsregeling Open en Online Onderwijs"]}),
        ("publisher_date", {MIDI: "2017-01-01", LABOUR: "2019-04-01"}),
        ("publisher_year", {MIDI: 2017, LABOUR: 2019}),
        ("is_part_of", {EXERCISES: [], SUMMARY: [HISTORY], LABOUR: ["0937a9fa-e368-4227-aa9e-d36afdffdd72"]}),
        ("has_parts", {HISTORY: [SUMMARY, BIG, LITTLE, REUNIFY], SUMMARY: []}),
        ("keywords", {HISTORY: ["mooc"], MIDI: ["instructie", "Praktische muzieknotatie en audiobewerking"]}),
        ("files", {
            VORTEX: ["https://www.youtube.com/watch?v=Zl59P5ZNX3M"],
            DIDACTICS: [
                "https://surfsharekit.nl/objectstore/88c687c8-fbc4-4d69-a27d-45d9f30d642b",
                "https://surfsharekit.nl/objectstore/9f71f782-09de-48b1-a10f-15d882471df7",
                "https://maken.wikiwijs.nl/94812/Macro_meso_micro#!page-2935729",
            ],
        }),
    ],
)  # fmt: skip
def test_a_row_of_the_mapping(recorded: dict[str, Record], field: str, expected: Mapping[str, Any]) -> None:
    assert {key: product(recorded[key])[field] for key in expected} == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("material_types", {
            VORTEX: ["unknown"], MIDI: ["unknown"], SUMMARY: ["kennisoverdracht"], BIG: ["kennisoverdracht"],
        }),
        ("aggregation_level", {DIDACTICS: "4", SUMMARY: "2"}),
        ("lom_educational_levels", {EXERCISES: ["HBO"], VORTEX: ["WO"]}),
        ("disciplines", {VORTEX: ["aarde_milieu"], LABOUR: ["economie_bedrijf"]}),
        ("consortium", {DIDACTICS: "Domain Applied Science", VORTEX: None}),
    ],
)  # fmt: skip
def test_a_row_about_learning(recorded: dict[str, Record], field: str, expected: Mapping[str, Any]) -> None:
    assert {key: product(recorded[key])["learning_material"][field] for key in expected} == expected


def test_recorded_authors(recorded: dict[str, Record]) -> None:
    assert product(recorded[BIG])["authors"] == [
        {
            "name": name, "email": name, "external_id": key, "dai": None, "orcid": None, "isni": None,
            "is_external": False,
        }
        for name, key in (
            ("Esther Quaedackers", "ceecade2-3e57-4d09-bf63-806420ab25c4"),
            ("Robbert Dijkgraaf", "1ac508bb-0e9c-48d9-9497-d7393e533e7c"),
        )
    ]  # fmt: skip


def test_files_come_before_links_and_a_link_is_a_page(recorded: dict[str, Record]) -> None:
    assert [(file["title"], file["mime_type"], file["is_link"]) for file in files(recorded[DIDACTICS])] == [
        ("IMSCP_94812.zip", "application/x-zip", False),
        ("Didactiek van macro-meso-micro denken bij scheikunde.pdf", "application/pdf", False),
        (None, "text/html", True),
    ]


# --- what is sent today, and worse ------------------------------------------------------------------------------------


def test_a_file_as_it_is_sent_today() -> None:
    record = one(
        termsOfUse="cc-by-sa-40",
        files=[
            {
                "fileName": "a.pdf",
                "url": "https://example.org/a.pdf",
                "eTag": '"5f2c"',
                "accessRight": "OpenAccess",
                "usageRight": "cc-by-40",
                "important": "1",
                "resourceMimeType": "application/pdf",
            }
        ],
        links=[{"urlName": "A  page", "url": "https://example.org/", "important": "0"}],
    )
    first, second = files(record)
    assert [first[key] for key in ("hash", "title", "copyright", "access_rights", "priority", "is_link")] == [
        "5f2c", "a.pdf", "cc-by-40", "OpenAccess", 1, False,
    ]  # fmt: skip
    assert [second[key] for key in ("hash", "title", "copyright", "access_rights", "priority", "is_link")] == [
        sha1(b"https://example.org/").hexdigest(), "A page", "cc-by-sa-40", "ClosedAccess", 0, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "access_rights", "notes"),
    [
        ("openaccess", "OpenAccess", 0),
        ("RestrictedAccess", "RestrictedAccess", 0),
        ("closedaccess", "ClosedAccess", 0),
        (None, "ClosedAccess", 0),
        ("whoever", "ClosedAccess", 1),
    ],
)
def test_access_rights(written: str | None, access_rights: str, notes: int) -> None:
    record = one(files=[{"url": "http://a/", "accessRight": written}])
    assert (files(record)[0]["access_rights"], len(record.notes)) == (access_rights, notes)


@pytest.mark.parametrize(
    ("important", "priority"),
    [("1", 1), (3, 3), ("0", 0), (None, 0), ("yes", 0), ("", 0), (True, 0), ("-1", 0), ("9" * 50, 0), ([1], 0)],
)
def test_priority_is_a_number_or_nothing(important: Any, priority: int) -> None:
    assert files(one(files=[{"url": "http://a/", "important": important}]))[0]["priority"] == priority


@pytest.mark.parametrize("etag", ['""', "", None, 7.5, []])
def test_an_etag_that_says_nothing_leaves_the_url(etag: Any) -> None:
    found = files(one(files=[{"url": "http://a/", "eTag": etag}]))[0]["hash"]
    assert found == ("7.5" if etag == 7.5 else sha1(b"http://a/").hexdigest())


def test_the_same_url_twice_is_one_file_the_first() -> None:
    record = one(
        files=[{"url": " http://a/b c.pdf", "fileName": "1"}, {"url": "http://a/b%20c.pdf", "fileName": "2"}],
        links=[{"url": "http://a/b+c.pdf"}],
    )
    assert [(file["title"], file["url"], file["external_id"]) for file in files(record)] == [
        ("1", "http://a/b%20c.pdf", "x:" + sha1(b"http://a/b+c.pdf").hexdigest())
    ]
    assert product(record)["files"] == ["http://a/b%20c.pdf"]


@pytest.mark.parametrize(
    "nothing", [None, [], [None], [{}], [{"url": None}], [{"url": "  "}], "x", {"url": "http://a"}]
)
def test_a_product_may_have_no_files(nothing: Any) -> None:
    record = one(files=nothing, links=nothing)
    assert (product(record)["files"], files(record)) == ([], [])


def test_owner_author_and_organization_as_they_are_sent_today() -> None:
    record = one(
        owner={"id": "o1", "name": "Hanze  Hogeschool", "type": "organisation"},
        institutes="Somebody else",
        authors=[
            {"person": {"id": "p1", "name": "A  B", "email": "a@b.nl", "orcid": "0000"}, "external": "1"},
            {"person": None},
            None,
            {"person": {"name": "C"}, "external": "0"},
        ],
    )
    provider = {"ror": None, "external_id": "o1", "slug": None, "name": "Hanze Hogeschool"}
    assert product(record)["provider"] == provider
    assert product(record)["organizations"]["root"] == {**provider, "type": "organisation"}
    assert [(author["name"], author["is_external"]) for author in product(record)["authors"]] == [
        ("A B", True),
        ("C", False),
    ]


def test_publishers_may_be_a_list_and_nursing_is_added_once() -> None:
    assert product(one(publishers=["A", None, " B  C "]))["publishers"] == ["A", "B C"]
    assert product(one(publishers="A", keywords="x #HBOVPK"))["publishers"] == ["A", "HBO Verpleegkunde"]
    assert product(one(publishers="HBO Verpleegkunde", keywords=["hbovpk"]))["publishers"] == ["HBO Verpleegkunde"]


def test_a_consortium_of_its_own_wins_over_a_keyword() -> None:
    assert product(one(consortium="C", keywords=["vaktherapie"]))["learning_material"]["consortium"] == "C"


def test_every_vocabulary_gives_its_terms() -> None:
    record = one(vocabularies={"a": [{"source": "u1"}, {"source": None}], "b": [{"source": "u2"}], "c": None, "d": "x"})
    assert product(record)["learning_material"]["study_vocabulary"] == ["u1", "u2"]


def test_research() -> None:
    record = one(typeResearchObject="Poster", themesResearchObject="gezondheid")
    assert product(record)["research_product"] == {
        "research_object_type": "Poster",
        "research_themes": ["gezondheid"],
        "parties": [],
    }


def test_a_date_that_is_none_is_noted() -> None:
    record = one(publishedAt="2019-13-45")
    assert product(record)["publisher_date"] is None
    assert "2019-13-45" in record.notes[0]


def test_a_record_has_no_more_than_some_notes() -> None:
    assert len(one(files=[{"url": f"http://a/{n}", "accessRight": "x"} for n in range(100)]).notes) == 20


def test_test_organizations_are_skipped_in_production_with_their_files() -> None:
    settings = {"test_organizations": ["SURF edusources test"]}
    sent = {"owner": {"name": "SURF edusources test"}, "files": [{"url": "http://a/"}]}
    assert {document.state for document in one(False, settings, **sent).documents} == {"active"}
    found = one(True, settings, **sent).documents
    assert {document.state for document in found} == {"skipped"}
    assert all("SURF edusources test" in document.reason for document in found)
    assert one(True, settings, owner={"name": "Other"}).documents[0].state == "active"


def test_test_organizations_belong_to_the_mapping_version_in_production() -> None:
    tests = {"test_organizations": ["A"]}
    assert SHAREKIT.mapping_version(request(False, **tests)) == SHAREKIT.mapping_version(request(False))
    assert SHAREKIT.mapping_version(request(True, **tests)) != SHAREKIT.mapping_version(request(True))


@pytest.mark.parametrize("attributes", [[], {}, None])
def test_a_delete_may_have_any_kind_of_empty_attributes(attributes: Any) -> None:
    found = read({"id": "x", "meta": {"status": "deleted", "deletedAt": "2021"}, "attributes": attributes})
    assert found == Record("x", "2021", ())


def test_an_unknown_status_is_not_for_publication() -> None:
    found = read({"id": "x", "meta": {"status": "draft"}, "attributes": {"title": "T"}})
    assert isinstance(found, Record)
    assert (found.documents[0].state, "draft" in found.documents[0].reason) == ("inactive", True)


@pytest.mark.parametrize(
    ("resource", "external_id"),
    [
        ({"id": "x", "attributes": []}, "x"),
        ({"id": "x"}, "x"),
        ({"attributes": {"title": "T"}}, None),
        ({"id": " ", "attributes": {"title": "T"}}, None),
        (["x"], None),
        ({"id": "x" * 1001, "attributes": {"title": "T"}}, None),
        (None, None),
    ],
)
def test_what_is_no_record_is_kept_with_its_reason(resource: Any, external_id: str | None) -> None:
    found = read(resource)
    assert isinstance(found, Unreadable)
    assert (found.external_id, bool(found.reason)) == (external_id, True)


def test_characters_that_no_store_takes_are_dropped() -> None:
    page = rb'{"data": [{"id": "x", "attributes": {"title": "a\u0000b \ud800 c \\u0000"}}]}'
    found = extracted(page)[0]
    assert isinstance(found, Record)
    assert product(found)["title"] == "ab c \\u0000"


def test_bytes_that_are_no_utf8_cost_themselves_and_not_the_record() -> None:
    found = extracted(b'{"data": [{"id": "x", "attributes": {"title": "Caf\xe9"}}]}')[0]
    assert isinstance(found, Record)
    assert product(found)["title"] == "Café"
