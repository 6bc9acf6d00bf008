"""NL-LOM: every row of the mapping against the recordings of Edurep, and the cases that they do not have.

The expectations were written by reading the recordings.
"""

from collections.abc import Mapping
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.config import SetSettings
from harvester_dagster.sources.kind import Document, Record, Request
from harvester_dagster.sources.registry import KINDS
from tests.sources.misbehaving import lom_record, oai_list

OAI = KINDS["oai-pmh"]
CONCEPT = "http://purl.edustandaard.nl/concept/8f984395-e090-41be-96df-503f53ddaa09"
EXERCISES = "surfsharekit:oai:surfsharekit.nl:5af0e26f-c4d2-4ddd-94ab-7dd0bd531751"
VORTEX = "surfsharekit:oai:surfsharekit.nl:5be6dfeb-b9ad-41a8-b4f5-94b9438e4257"
DIDACTICS = "wikiwijs:oai:surfsharekit.nl:63903863-6c93-4bda-b850-277f3c9ec00e"
HISTORY = "surfsharekit:oai:surfsharekit.nl:3c2b4e81-e9a1-41bc-8b6a-97bfe7e4048b"
SUMMARY = "surfsharekit:oai:surfsharekit.nl:a18cdda7-e9c7-40d7-a7ad-6e875d9015ce"
BIG = "surfsharekit:oai:surfsharekit.nl:8936d0a3-4157-45f4-9595-c26d4c029d97"
LITTLE = "surfsharekit:oai:surfsharekit.nl:f929b625-5ef7-47b8-8fa8-94c969d0c427"
REUNIFY = "l4l:oai:surfsharekit.nl:befb515c-5dce-4f27-82a4-2f5a7a3618a4"
MIDI = "surfsharekit:oai:surfsharekit.nl:b35875c5-678b-4d58-af85-4111c321c5cd"
COOC = "surfsharekit:oai:surfsharekit.nl:b500d389-2fda-4696-ae51-9cd0603a48af"
WRONG = "surfsharekit:oai:surfsharekit.nl:wrong-copyright"
DELETED = "surfsharekit:oai:surfsharekit.nl:3d2940a0-9573-412e-8fa2-067c55e2a72f"
IN_ORDER = [DELETED, EXERCISES, VORTEX, DIDACTICS, HISTORY, SUMMARY, BIG, LITTLE, REUNIFY, MIDI, COOC, WRONG]


def request(**settings: Any) -> Request:
    return Request(SetSettings(kind="oai-pmh", url="http://example.org/oai", **settings), "surfsharekit", None)


def extracted(page: bytes, **settings: Any) -> list[Record]:
    found = list(OAI.extract(page, range(len(OAI.cut(page))), request(**settings)))
    assert all(isinstance(item, Record) for item in found), found
    return found  # type: ignore[return-value]


@pytest.fixture(scope="module")
def recorded() -> dict[str, Record]:
    folder = Path(__file__).parent / "recordings" / "edurep"
    records = [
        record
        for page in ("list-records.1.xml", "list-records.2.xml")
        for record in extracted((folder / page).read_bytes())
    ]
    assert [record.external_id for record in records] == IN_ORDER
    return {record.external_id: record for record in records}


def product(record: Record) -> Mapping[str, Any]:
    assert record.documents[0].entity == "products"
    return record.documents[0].properties


def files(record: Record) -> list[Document]:
    assert all(document.entity == "files" for document in record.documents[1:])
    return list(record.documents[1:])


def one(inside: str, **settings: Any) -> Record:
    return extracted(oai_list(lom_record("x", inside=inside)).encode(), **settings)[0]


def value(name: str, text: str) -> str:
    return f"<czp:{name}><czp:value><czp:langstring>{text}</czp:langstring></czp:value></czp:{name}>"


def classification(purpose: str, *taxons: str, source: str = "") -> str:
    path = f"<czp:source><czp:langstring>{source}</czp:langstring></czp:source>" if source else ""
    inside = "".join(f"<czp:taxon>{taxon}</czp:taxon>" for taxon in taxons)
    return (
        f"<czp:classification>{value('purpose', purpose)}<czp:taxonpath>{path}{inside}</czp:taxonpath>"
        "</czp:classification>"
    )


def level(*names: str) -> str:
    return classification(
        "educational level",
        *(f"<czp:entry><czp:langstring>{name}</czp:langstring></czp:entry>" for name in names),
    )


def identified(purpose: str, *ids: str, source: str = "") -> str:
    return classification(purpose, *(f"<czp:id>{one_id}</czp:id>" for one_id in ids), source=source)


def rights(restrictions: str, description: str | None = None) -> str:
    text = f"<czp:description><czp:langstring>{description}</czp:langstring></czp:description>" if description else ""
    return f"<czp:rights>{value('copyrightandotherrestrictions', restrictions)}{text}</czp:rights>"


def contribution(role: str, *cards: str, date: str = "") -> str:
    entities = "".join(f"<czp:centity><czp:vcard>{card}</czp:vcard></czp:centity>" for card in cards)
    when = f"<czp:date><czp:datetime>{date}</czp:datetime></czp:date>" if date else ""
    return f"<czp:contribute>{value('role', role)}{entities}{when}</czp:contribute>"


def card(name: str) -> str:
    return f"BEGIN:VCARD\nVERSION:3.0\n  FN:{name}\n  N:{name};;;;\nEND:VCARD"


# --- the recordings ---------------------------------------------------------------------------------------------------


def test_eleven_live_records_of_which_five_are_inactive(recorded: dict[str, Record]) -> None:
    states = {key: record.documents[0].state for key, record in recorded.items() if record.documents}
    assert len(states) == 11
    assert {key for key, state in states.items() if state == "inactive"} == {HISTORY, SUMMARY, BIG, LITTLE, REUNIFY}
    assert {key for key, state in states.items() if state == "active"} == states.keys() - {
        HISTORY, SUMMARY, BIG, LITTLE, REUNIFY,
    }  # fmt: skip


def test_the_reason_names_what_there_is_instead_of_a_level(recorded: dict[str, Record]) -> None:
    assert {document.reason for document in recorded[HISTORY].documents[:1]} == {
        "no educational level; only context: WO"
    }


def test_files_of_an_inactive_product_are_inactive(recorded: dict[str, Record]) -> None:
    assert [(file.state, bool(file.reason)) for file in files(recorded[HISTORY])] == [("inactive", True)]


def test_a_deleted_record_has_no_documents(recorded: dict[str, Record]) -> None:
    assert recorded[DELETED] == Record(DELETED, "2019-11-05T00:06:37Z", ())


def test_a_whole_record(recorded: dict[str, Record]) -> None:
    record = recorded[DIDACTICS]
    publisher = "AERES Hogeschool; HAS Hogeschool; Van Hall Larenstein"
    provider = {"ror": None, "external_id": None, "slug": None, "name": publisher}
    urls = [
        "https://surfsharekit.nl/objectstore/88c687c8-fbc4-4d69-a27d-45d9f30d642b",
        "https://surfsharekit.nl/objectstore/9f71f782-09de-48b1-a10f-15d882471df7",
        "https://maken.wikiwijs.nl/94812/Macro_meso_micro#!page-2935729",
    ]
    assert record.modified_at == "2019-12-11T13:06:23Z"
    assert record.notes == ()
    assert product(record) == {
        "external_id": DIDACTICS,
        "state": "active",
        "doi": None,
        "files": urls,
        "title": "Didactiek van macro-meso-micro denken bij scheikunde",
        "subtitle": None,
        "description": None,
        "language": "nl",
        "keywords": [
            "correspondentie", "didactiek", "eigenschappen", "macro", "macro-meso-micro", "meso", "micro",
            "scheikunde", "structuur",
        ],
        "copyright": "cc-by-sa-40",
        "copyright_description": "https://creativecommons.org/licenses/by-sa/4.0/",
        "authors": [
            {
                "name": "Ruud Kok", "email": None, "external_id": None, "dai": None, "orcid": None, "isni": None,
                "is_external": False,
            }
        ],
        "provider": provider,
        "organizations": {"root": {**provider, "type": "unknown"}, "departments": [], "associates": []},
        "publishers": [publisher],
        "publisher_date": "2017-09-27",
        "publisher_year": 2017,
        "technical_type": None,
        "is_part_of": [],
        "has_parts": [],
        "learning_material": {
            "material_types": ["unknown"],
            "aggregation_level": "4",
            "lom_educational_levels": ["HBO", "HBO - Bachelor"],
            "studies": [],
            "study_vocabulary": [CONCEPT],
            "disciplines": [],
            "consortium": None,
        },
        "research_product": {"research_object_type": None, "research_themes": [], "parties": []},
    }  # fmt: skip
    assert [(file.properties["mime_type"], file.properties["is_link"]) for file in files(record)] == [
        ("application/x-zip-compressed", False),
        ("application/pdf", False),
        ("text/html", True),
    ]
    key = sha1(urls[1].encode()).hexdigest()
    assert files(record)[1] == Document(
        "files",
        f"{DIDACTICS}:{key}",
        "active",
        {
            "external_id": f"{DIDACTICS}:{key}",
            "state": "active",
            "language": "nl",
            "url": urls[1],
            "hash": key,
            "mime_type": "application/pdf",
            "title": None,
            "copyright": "cc-by-sa-40",
            "access_rights": "OpenAccess",
            "product_id": DIDACTICS,
            "is_link": False,
            "provider": provider,
            "priority": 0,
        },
    )


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("title", {
            EXERCISES: "Exercises 5",
            VORTEX: "Using a Vortex | Wageningen UR",
            SUMMARY: "01. How can we summarize 13.8 billion years in one brief course?",
            COOC: "COOC (Community of Open Online Course)",
            WRONG: "We don't want to see this material",
        }),
        ("language", {EXERCISES: "en", MIDI: "nl", WRONG: "en"}),
        ("keywords", {
            EXERCISES: ["Exercise"],
            VORTEX: ["Video", "Practicum clip", "Instructie clip"],
            HISTORY: ["mooc"],
            MIDI: ["Instructie", "Praktische muzieknotatie en audiobewerking"],
            WRONG: [],
        }),
        ("copyright", {EXERCISES: "cc-by-nc-40", VORTEX: "cc-by-40", MIDI: "cc-by-nc-40", WRONG: "yes"}),
        ("copyright_description", {
            EXERCISES: "https://creativecommons.org/licenses/by-nc/4.0/", VORTEX: None, WRONG: None,
        }),
        ("publishers", {
            EXERCISES: [],
            HISTORY: ["Stimuleringsregeling Open en Online Onderwijs"],
            REUNIFY: ["SURFnet"],
            COOC: ["Hanze Hogeschool"],
        }),
        ("publisher_date", {
            EXERCISES: None, VORTEX: None, MIDI: None, COOC: "2019-04-01", REUNIFY: "2020-09-21", SUMMARY: None,
        }),
        ("publisher_year", {VORTEX: None, COOC: 2019, REUNIFY: 2020}),
        ("files", {
            EXERCISES: ["https://surfsharekit.nl/objectstore/182216be-31a2-43c3-b7de-e5dd355b09f7"],
            LITTLE: ["https://www.youtube.com/watch?v=D4w-EClY664&t=8s"],
            MIDI: ["http://online.codarts.nl/mod/page/view.php?id=313"],
            WRONG: [],
        }),
        ("doi", {DIDACTICS: None}),
        ("has_parts", {HISTORY: []}),
        ("is_part_of", {SUMMARY: []}),
    ],
)  # fmt: skip
def test_a_row_of_the_mapping(recorded: dict[str, Record], field: str, expected: Mapping[str, Any]) -> None:
    assert {key: product(recorded[key])[field] for key in expected} == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("material_types", {EXERCISES: ["unknown"], HISTORY: ["weblecture"], BIG: ["kennisclip"]}),
        ("aggregation_level", {EXERCISES: None, DIDACTICS: "4", HISTORY: "3", SUMMARY: "2", COOC: "1"}),
        ("lom_educational_levels", {
            EXERCISES: ["HBO", "HBO - Bachelor"], VORTEX: ["WO", "WO - Bachelor"], HISTORY: [],
            WRONG: ["WO", "WO - Bachelor"],
        }),
        ("study_vocabulary", {EXERCISES: [CONCEPT], DIDACTICS: [CONCEPT], VORTEX: [], HISTORY: []}),
        ("consortium", {EXERCISES: None}),
    ],
)  # fmt: skip
def test_a_row_about_learning(recorded: dict[str, Record], field: str, expected: Mapping[str, Any]) -> None:
    assert {key: product(recorded[key])["learning_material"][field] for key in expected} == expected


def test_authors_and_provider(recorded: dict[str, Record]) -> None:
    names = {key: [author["name"] for author in product(recorded[key])["authors"]] for key in (EXERCISES, BIG, COOC)}
    assert names == {EXERCISES: [], BIG: ["Robbert Dijkgraaf"], COOC: ["Dr. Ning Ding"]}
    providers = {key: product(recorded[key])["provider"]["name"] for key in (EXERCISES, HISTORY, COOC)}
    assert providers == {
        EXERCISES: "Edurep",
        HISTORY: "Stimuleringsregeling Open en Online Onderwijs",
        COOC: "Hanze Hogeschool",
    }


def test_a_description_keeps_its_lines(recorded: dict[str, Record]) -> None:
    assert product(recorded[COOC])["description"].startswith("Learning objective:\r\n")
    assert product(recorded[VORTEX])["description"] == "Instruction on how to use a Vortex mixer"


def test_the_sources_date_is_beside_the_properties(recorded: dict[str, Record]) -> None:
    assert recorded[COOC].modified_at == "2019-12-11T13:18:38Z"
    assert "modified_at" not in product(recorded[COOC])


# --- vCards -----------------------------------------------------------------------------------------------------------


def test_an_unreadable_vcard_is_skipped_and_counted() -> None:
    record = one(f"<czp:lifecycle>{contribution('author', 'nonsense', card('Ann'))}</czp:lifecycle>")
    assert [author["name"] for author in product(record)["authors"]] == ["Ann"]
    assert len(record.notes) == 1
    assert "nonsense" in record.notes[0]


# --- what the recordings do not have ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "state"),
    [
        (("HBO",), "active"),
        (("WO - Master",), "active"),
        (("HBO", "MBO"), "active"),
        (("BVE", "Volwasseneneducatie", "Beroepsonderwijs en Volwasseneneducatie", "WO"), "active"),
        (("HBO", "VWO"), "inactive"),
        (("PO",), "inactive"),
        (("MBO",), "inactive"),
        ((), "inactive"),
    ],
)
def test_the_state_by_educational_level(levels: tuple[str, ...], state: str) -> None:
    document = one(level(*levels)).documents[0]
    assert (document.state, bool(document.reason)) == (state, state == "inactive")
    assert document.properties["state"] == state


def test_the_reason_says_which_level() -> None:
    assert "VO" in one(level("HBO", "VO")).documents[0].reason
    assert "MBO" in one(level("MBO")).documents[0].reason


def test_a_sets_default_level_is_taken_where_there_is_none() -> None:
    record = one("", default_educational_level="WO")
    assert record.documents[0].state == "active"
    assert product(record)["learning_material"]["lom_educational_levels"] == ["WO"]
    assert one(level("PO"), default_educational_level="WO").documents[0].state == "inactive"


def test_the_default_level_belongs_to_the_mapping_version() -> None:
    assert OAI.mapping_version(request()) != OAI.mapping_version(request(default_educational_level="WO"))
    assert OAI.mapping_version(request()) == OAI.mapping_version(request(min_documents=5))


@pytest.mark.parametrize(
    ("restrictions", "description", "expected"),
    [
        ("no", "https://creativecommons.org/licenses/by/4.0/", "no"),
        ("cc-by-30", None, "cc-by-30"),
        ("yes", None, "yes"),
        ("yes", "Public Domain", "pdm-10"),
        ("yes", "Copyrighted", "yes"),
        ("yes", "https://creativecommons.org/licenses/by-sa/4.0/", "cc-by-sa-40"),
        ("yes", "http://www.creativecommons.org/licenses/by-nc-nd/3.0/nl/", "cc-by-nc-nd-30"),
        ("yes", "https://creativecommons.org/publicdomain/mark/1.0/", "pdm-10"),
        ("yes", "https://creativecommons.org/publicdomain/zero/1.0/deed.nl", "cc0-10"),
        ("yes", "CC BY SA", "cc-by-sa"),
        ("yes", "cc-by-nc 4.0", "cc-by-nc-40"),
        ("yes", "All rights reserved", "yes"),
    ],
)
def test_copyright(restrictions: str, description: str | None, expected: str) -> None:
    assert product(one(rights(restrictions, description)))["copyright"] == expected


def test_the_nth_format_is_the_nth_files() -> None:
    locations = "".join(
        f"<czp:location>{url}</czp:location>"
        for url in ("http://a/1", " http://a/my file.pdf ", "http://a/1", "", "http://a/5")
    )
    formats = "".join(f"<czp:format>{mime}</czp:format>" for mime in ("a/1", "text/html", "a/3", "a/4"))
    record = one(f"<czp:technical>{formats}{locations}</czp:technical>")
    assert product(record)["files"] == ["http://a/1", "http://a/my%20file.pdf", "http://a/5"]
    assert [(file.properties["mime_type"], file.properties["is_link"]) for file in files(record)] == [
        ("a/1", False),
        ("text/html", True),
        (None, False),
    ]
    assert files(record)[1].external_id == "x:" + sha1(b"http://a/my+file.pdf").hexdigest()
    assert files(record)[0].properties["access_rights"] == "ClosedAccess"


def test_studies_disciplines_and_vocabulary() -> None:
    record = one(
        identified("discipline", "d1", source="http://example.org/vocabulary/concept")
        + identified("discipline", "d2", source="http://example.org/other")
        + identified("idea", "http://example.org/concept/i1", source="http://example.org/ignored")
        + identified("access rights", "RestrictedAccess", "OpenAccess")
    )
    learning = product(record)["learning_material"]
    assert learning["studies"] == learning["disciplines"] == ["d1", "d2"]
    assert learning["study_vocabulary"] == [
        "http://example.org/vocabulary/concept/d1",
        "http://example.org/concept/i1",
    ]


def test_the_first_access_right_counts() -> None:
    technical = "<czp:technical><czp:location>http://a/1</czp:location></czp:technical>"
    record = one(technical + identified("access rights", "RestrictedAccess", "OpenAccess"))
    assert files(record)[0].properties["access_rights"] == "RestrictedAccess"


def test_the_nursing_consortium_by_keyword() -> None:
    page = oai_list(lom_record("x")).replace(
        "</czp:general>",
        "<czp:keyword><czp:langstring> #HBOVPK  2020 </czp:langstring></czp:keyword></czp:general>",
    )
    record = extracted(page.encode())[0]
    assert product(record)["learning_material"]["consortium"] == "HBO Verpleegkunde"
    assert product(record)["keywords"] == ["#HBOVPK 2020"]


def test_only_the_first_author_contribution_counts_with_all_its_cards() -> None:
    record = one(
        "<czp:lifecycle>"
        + contribution("editor", card("Ed"))
        + contribution("author", card("Ann"), card("Bo"))
        + contribution("author", card("Cy"))
        + contribution("publisher", card("Press\\; Books"), card("Second"), date="2019-05")
        + "</czp:lifecycle>"
    )
    assert [author["name"] for author in product(record)["authors"]] == ["Ann", "Bo"]
    assert product(record)["publishers"] == ["Press; Books", "Second"]
    assert product(record)["provider"]["name"] == "Press; Books"
    assert product(record)["publisher_date"] == "2019-05-01"


def test_a_date_that_is_none_is_noted() -> None:
    record = one(f"<czp:lifecycle>{contribution('publisher', date='yesterday')}</czp:lifecycle>")
    assert product(record)["publisher_date"] is None
    assert "yesterday" in record.notes[0]


def test_a_text_that_a_comment_cuts_in_two_is_whole() -> None:
    page = oai_list(lom_record("x", "One <!-- and --> two")).encode()
    assert product(extracted(page)[0])["title"] == "One two"


def test_the_first_filled_element_counts() -> None:
    described = [f"<czp:description><czp:langstring>{text}</czp:langstring></czp:description>" for text in ("", "Mine")]
    record = one(f"<czp:rights>{''.join(described)}</czp:rights>")
    assert product(record)["copyright_description"] == "Mine"
    empty = contribution("author", "BEGIN:VCARD\nFN:\nEND:VCARD")
    record = one(f"<czp:lifecycle>{empty}{contribution('author', card('Ann'))}</czp:lifecycle>")
    assert [author["name"] for author in product(record)["authors"]] == ["Ann"]


def test_the_first_filled_text_counts() -> None:
    texts = "<czp:langstring/><czp:langstring> </czp:langstring><czp:langstring>Second</czp:langstring>"
    record = one(f"<czp:rights><czp:description>{texts}</czp:description></czp:rights>")
    assert product(record)["copyright_description"] == "Second"


def test_markup_inside_a_text_is_text() -> None:
    assert product(extracted(oai_list(lom_record("x", "CO<sub>2</sub> in <i>water</i>")).encode())[0])["title"] == (
        "CO2 in water"
    )


def test_a_location_that_is_no_web_address_is_no_file() -> None:
    places = "<czp:location>see the library</czp:location><czp:location>http://a/1</czp:location>"
    record = one(f"<czp:technical>{places}</czp:technical>")
    assert product(record)["files"] == ["http://a/1"]
    assert "see the library" in record.notes[0]
