"""Cutting pages into records without parsing them is right, and no page of any kind breaks anything."""

import contextlib
import copy
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from harvester_dagster.config import SetSettings
from harvester_dagster.sources import oai_page
from harvester_dagster.sources.kind import Kind, Record, Request, Unreadable
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.sources.source_error import SourceError
from tests.sources.misbehaving import OAI_HEAD, deleted_record, lom_record, oai_list

OAI, SHAREKIT = KINDS["oai-pmh"], KINDS["sharekit"]
FOLDER = Path(__file__).parent / "recordings"
RECORDED_XML = [(FOLDER / "edurep" / f"list-records.{n}.xml").read_bytes() for n in (1, 2)]
RECORDED_JSON = [(FOLDER / "sharekit" / f"repo-items.{n}.json").read_bytes() for n in ("1", "2", "empty")]
REQUEST = Request(SetSettings(kind="oai-pmh", url="http://example.org"), "a", None)


def parsed_oai_ids(page: bytes) -> list[str]:
    found = etree.fromstring(page).iterfind("{*}ListRecords/{*}record/{*}header/{*}identifier")
    return [element.text or "" for element in found]


def extracted_ids(kind: Kind, page: bytes) -> list[str | None]:
    """By extraction; looked at alone they are the same."""
    found = [item.external_id for item in kind.extract(page, range(len(kind.cut(page))), REQUEST)]
    assert list(kind.ids(page, REQUEST)) == found
    return found


def shuffled_namespaces(page: str) -> str:
    return page.replace("<", "<o:").replace("<o:/", "</o:").replace("<o:?", "<?").replace("xmlns=", "xmlns:o=")


AWKWARD = {
    "plain": oai_list(lom_record("1"), deleted_record("2")),
    "none": oai_list(),
    "white space around": oai_list("\n ", lom_record("1"), "\n\t", lom_record("2"), "\n"),
    "attributes": oai_list(lom_record("1").replace("<record>", '<record id="r">')),
    "a comment that names records": oai_list(lom_record("1"), "<!-- <record></record> -->", lom_record("2")),
    "a comment inside": oai_list(lom_record("1", "<!-- </record> -->x"), lom_record("2")),
    "CDATA": oai_list(lom_record("1", "<![CDATA[</record><record>]]>"), lom_record("2")),
    "CDATA around records": oai_list(lom_record("1"), "<![CDATA[", lom_record("2"), lom_record("3"), "]]>"),
    "nothing but CDATA": oai_list("<![CDATA[", lom_record("1"), lom_record("2"), "]]>"),
    "a prefix": shuffled_namespaces(oai_list(deleted_record("1"), deleted_record("2"))),
    "a space in the end tag": oai_list(lom_record("1").replace("</record>", "</record >"), lom_record("2")),
    "records inside records": oai_list(
        '<record><header><identifier>1</identifier></header><metadata><m:record xmlns:m="m"/></metadata></record>',
        '<record><header><identifier>2</identifier></header><metadata><record xmlns="m"/></metadata></record>',
        '<record><header><identifier>3</identifier></header><metadata><record xmlns="m">x</record></metadata></record>',
    ),
    "a name that begins so": oai_list(lom_record("1", inside="<records/><record-x/>")),
    "its namespace on the record": oai_list(
        lom_record("1").replace("<record>", '<record xmlns="http://www.openarchives.org/OAI/2.0/">')
    ),
    "a prefix declared on the list": oai_list(
        lom_record("1").replace(' xmlns:czp="http://www.imsglobal.org/xsd/imsmd_v1p2"', "")
    ).replace("<ListRecords>", '<ListRecords xmlns:czp="http://www.imsglobal.org/xsd/imsmd_v1p2">'),
    "no declaration": oai_list(lom_record("1")).partition("\n")[2],
}


@pytest.mark.parametrize("page", AWKWARD.values(), ids=AWKWARD.keys())
def test_what_is_cut_is_what_a_parser_sees(page: str) -> None:
    body = page.encode()
    assert extracted_ids(OAI, body) == parsed_oai_ids(body)
    assert len(oai_page.read_page(body).records) == len(parsed_oai_ids(body))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_encodings(encoding: str) -> None:
    page = oai_list(lom_record("1", "Café"), lom_record("2")).replace("UTF-8", encoding.removesuffix("-sig"))
    body = page.encode(encoding)
    assert len(OAI.cut(body)) == 2
    found = next(OAI.extract(body, [0], REQUEST))
    assert isinstance(found, Record)
    assert found.documents[0].properties["title"] == "Café"


def test_a_record_is_cut_as_it_arrived_and_with_nothing_around_it() -> None:
    one, two = lom_record("1"), deleted_record("2")
    assert OAI.cut(oai_list(one, "\n", two, token="t").encode()) == [one.encode(), two.encode()]
    assert SHAREKIT.cut(b'{"data": [ {"id" : "1"} , {"id":"2"}]}') == [b'{"id" : "1"}', b'{"id":"2"}']


def test_the_recordings_are_cut_by_bytes() -> None:
    for page in RECORDED_XML:
        assert oai_page._cut_by_bytes(page) is not None
        assert [str(name) for name in extracted_ids(OAI, page)] == [name.strip() for name in parsed_oai_ids(page)]
    assert [len(OAI.cut(page)) for page in RECORDED_XML] == [9, 3]
    assert [len(SHAREKIT.cut(page)) for page in RECORDED_JSON] == [9, 2, 0]


def test_a_page_without_a_list_has_no_records() -> None:
    assert OAI.cut((OAI_HEAD + '<error code="noRecordsMatch"/></OAI-PMH>').encode()) == []


@pytest.mark.parametrize(("kind", "pages"), [(OAI, RECORDED_XML), (SHAREKIT, RECORDED_JSON)], ids=["xml", "json"])
def test_a_part_of_a_page_is_extracted_as_in_the_whole(kind: Kind, pages: list[bytes]) -> None:
    for page in pages:
        everything = list(kind.extract(page, range(len(kind.cut(page))), REQUEST))
        for indices in ([], [0], [len(everything) - 1], list(range(0, len(everything), 2))):
            if everything or not indices:
                wanted = [index for index in indices if 0 <= index < len(everything)]
                assert list(kind.extract(page, wanted, REQUEST)) == [everything[index] for index in wanted]


def mutated(pages: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A recorded page, a few bytes of which were cut out, doubled or overwritten."""
    change = st.tuples(
        st.integers(0, 1_000_000), st.integers(0, 300), st.binary(max_size=12) | st.sampled_from([b"<", b"]", b"null"])
    )

    def change_all(page: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
        for place, length, instead in changes:
            at = place % (len(page) + 1)
            page = page[:at] + instead + page[at + length :]
        return page

    return st.builds(change_all, st.sampled_from(pages), st.lists(change, min_size=1, max_size=3))


def rebuilt(pages: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A recorded page, well-formed, some elements of which were taken out, emptied, doubled or filled with anything."""
    texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), max_size=20)

    def change_all(page: bytes, changes: list[tuple[int, str, str]]) -> bytes:
        root = etree.fromstring(page)
        for place, how, instead in changes:
            elements = list(root.iter("{http://www.imsglobal.org/xsd/imsmd_v1p2}*"))
            if not elements:
                break
            element = elements[place % len(elements)]
            parent = element.getparent()
            if how == "remove" and parent is not None:
                parent.remove(element)
            elif how == "double" and parent is not None:
                parent.append(copy.deepcopy(element))
            else:
                element.text = instead
        return etree.tostring(root)

    change = st.tuples(st.integers(0, 10_000), st.sampled_from(["remove", "double", "fill"]), texts)
    return st.builds(change_all, st.sampled_from(pages), st.lists(change, min_size=1, max_size=8))


def survives(kind: Kind, page: bytes) -> None:
    try:
        records = kind.cut(page)
        found = list(kind.extract(page, range(len(records)), REQUEST))
    except SourceError as error:
        assert str(error)
        return
    assert len(found) == len(records)
    for item, name in zip(found, kind.ids(page, REQUEST), strict=True):
        assert item.external_id in (name, None), "a record that was purged is known by its id alone"
        assert isinstance(item, Record) or (isinstance(item, Unreadable) and item.reason)
        assert not isinstance(item, Unreadable) or "its mapping failed" not in item.reason


EXAMPLES = settings.default.max_examples
SMALL_XML = [oai_list(lom_record("1"), deleted_record("2"), lom_record("3"), token="t").encode()]


@settings(max_examples=EXAMPLES * 3 // 2)
@given(mutated(RECORDED_XML + SMALL_XML * 3))
def test_mutated_xml(page: bytes) -> None:
    survives(OAI, page)


def test_a_broken_record_on_a_page_of_another_protocol() -> None:
    page = SMALL_XML[0].replace(b"xmlns=", b"x-mlns=", 1).replace(b"<record>", b"<record ", 1)
    assert [type(item) for item in OAI.extract(page, range(3), REQUEST)] == [Unreadable] * 3
    assert extracted_ids(OAI, page)[1:] == ["2", "3"]


@settings(max_examples=EXAMPLES * 3 // 5)
@given(rebuilt(RECORDED_XML))
def test_rebuilt_lom(page: bytes) -> None:
    survives(OAI, page)
    assert len(OAI.cut(page)) in (9, 3)


@settings(max_examples=EXAMPLES * 3)
@given(mutated(RECORDED_JSON))
def test_mutated_json(page: bytes) -> None:
    survives(SHAREKIT, page)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
ATTRIBUTES = json.loads(RECORDED_JSON[1])["data"][1]["attributes"] | {
    "owner": {"id": "1", "name": "O"},
    "consortium": "C",
}


@settings(max_examples=EXAMPLES * 3)
@given(st.dictionaries(st.sampled_from(sorted(ATTRIBUTES)), VALUES, min_size=1, max_size=6), VALUES, VALUES)
def test_any_value_anywhere_in_an_item_is_read_or_left_out(
    changes: dict[str, object], meta: object, part: object
) -> None:
    attributes = ATTRIBUTES | changes
    attributes["files"] = [part, {"url": part, "fileName": part, "eTag": part, "important": part, "accessRight": part}]
    attributes["authors"] = [{"person": part}, {"person": {"name": part, "id": part}, "external": part}]
    page = json.dumps({"data": [{"id": "x", "meta": meta, "attributes": attributes}]}).encode()
    survives(SHAREKIT, page)


@settings(max_examples=EXAMPLES * 2)
@given(st.binary(max_size=200))
def test_anything(page: bytes) -> None:
    survives(OAI, page)
    survives(SHAREKIT, page)
    survives(OAI, OAI_HEAD.encode() + b"<ListRecords>" + page + b"</ListRecords></OAI-PMH>")
    survives(SHAREKIT, b'{"data": [' + page + b"]}")


@settings(max_examples=EXAMPLES * 2)
@given(
    st.lists(
        st.sampled_from(
            [
                lom_record("1"),
                deleted_record("2"),
                "<!--",
                "-->",
                "<![CDATA[",
                "]]>",
                "<record>",
                "</record>",
                "<?x",
                "?>",
                " ",
            ]
        ),
        max_size=8,
    )
)
def test_a_page_that_was_checked_is_cut_as_it_is_parsed(parts: list[str]) -> None:
    page = oai_list(*parts).encode()
    try:
        checked = oai_page.read_page(page)
    except SourceError:
        return
    assert extracted_ids(OAI, page) == [
        item.external_id for item in OAI.extract(page, range(len(checked.records)), REQUEST)
    ]
    with contextlib.suppress(etree.XMLSyntaxError):
        assert [identifier for identifier in extracted_ids(OAI, page) if identifier] == parsed_oai_ids(page)


def test_entities_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t")
    bombs = [
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>',
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY e "&b;&b;&b;&b;">]>',
        '<!-- x --><!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
    ]
    for doctype in bombs:
        for encoding in ("utf-8", "utf-16"):
            page = oai_list(lom_record("1", "&e;")).replace("\n", doctype, 1).replace("UTF-8", encoding)
            with pytest.raises(SourceError):
                oai_page.read_page(page.encode(encoding))
            with contextlib.suppress(SourceError):
                assert [type(found) for found in OAI.extract(page.encode(encoding), [0], REQUEST)] == [Unreadable]


def test_a_document_that_is_deeper_than_any_record_is_refused() -> None:
    with pytest.raises(SourceError):
        oai_page.read_page(oai_list("<a>" * 5000 + "</a>" * 5000).encode())
