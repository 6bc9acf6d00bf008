"""One record that is not well-formed costs itself: any bytes inside of it leave all the others as they were."""

import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from harvester_dagster.config import SetSettings
from harvester_dagster.sources import oai_borders, oai_page
from harvester_dagster.sources.kind import Record, Request, Unreadable
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.sources.source_error import SourceError
from tests.sources.misbehaving import deleted_record, lom_record, oai_list

OAI = KINDS["oai-pmh"]
REQUEST = Request(SetSettings(kind="oai-pmh", url="http://example.org"), "a", None)
HOLE = "HOLE"
OTHERS = (
    lom_record("1", "Plain"),
    lom_record("2", "<![CDATA[</record><record>]]> in CDATA"),
    lom_record("3", inside='<record xmlns="m">x</record><!-- </record> --><?x </record> ?>'),
    deleted_record("4"),
)
TAGS = ["<a>", "</a>", "</record>", "<record>", "<record/>", "</metadata>", "</ListRecords>", "<resumptionToken>"]
PIECES = st.sampled_from([*TAGS, "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "<?xml?>", "&", "<", ">", '"', "&#0;"])
INSIDE = st.binary(max_size=30) | st.lists(PIECES, max_size=6).map(lambda pieces: "".join(pieces).encode())


def extracted(page: bytes) -> list[Record | Unreadable]:
    """Whose ids are known by themselves, too."""
    found = list(OAI.extract(page, range(len(OAI.cut(page))), REQUEST))
    assert all(item.external_id in (name, None) for item, name in zip(found, OAI.ids(page, REQUEST), strict=True))
    return found


def prefixed(page: str) -> str:
    for name in ("OAI-PMH", "ListRecords", "header", "identifier", "metadata", "resumptionToken"):
        page = page.replace(f"<{name}", f"<o:{name}").replace(f"</{name}>", f"</o:{name}>")
    page = page.replace("<record><o:header", "<o:record><o:header")
    page = page.replace("</o:metadata></record>", "</o:metadata></o:record>")
    page = page.replace("</o:header></record>", "</o:header></o:record>")
    return (
        page.replace("<datestamp>", "<o:datestamp>")
        .replace("</datestamp>", "</o:datestamp>")
        .replace(' xmlns="http://www.openarchives', ' xmlns:o="http://www.openarchives')
    )


@pytest.mark.parametrize("written", [oai_list, lambda *parts, token: prefixed(oai_list(*parts, token=token))])
@given(INSIDE, st.integers(0, 4), st.sampled_from(["", "\n", "<!-- between -->"]))
@example(b"<![CDATA[</record><!--", 0, "")
@example(b"--></record><resumptionToken>", 1, "")
@example(b"]]></record><resumptionToken>x</resumptionToken>", 4, "")
def test_any_bytes_inside_one_record_leave_the_others_as_they_were(
    written: Callable[..., str], inside: bytes, place: int, between: str
) -> None:
    records = [*OTHERS[:place], lom_record("broken", HOLE), *OTHERS[place:]]
    page = written(between.join(records), token="t")
    before = [found for found in extracted(page.encode()) if found.external_id != "broken"]
    found = oai_page.read_page(page.encode().replace(HOLE.encode(), inside))
    assert found.token == "t"
    after = extracted(page.encode().replace(HOLE.encode(), inside))
    assert len(after) == len(found.records)
    assert [one for one in after if one.external_id in {"1", "2", "3", "4"}] == before
    assert "broken" in {one.external_id for one in after}


@pytest.mark.parametrize(
    ("title", "why"),
    [
        ("R&D in classrooms", "line 1, character"),
        ("caf&eacute;", "undefined entity"),
        ('<?xml version="1.0"?>x', "XML or text declaration not at start"),
        ("<b>bold</i>", "mismatched tag"),
        ("<![CDATA[never closed", "unclosed CDATA"),
    ],
)
def test_a_record_that_is_not_well_formed_is_named_with_the_place_and_what_is_wrong(title: str, why: str) -> None:
    first, broken, last = extracted(oai_list(lom_record("1"), lom_record("x", title), lom_record("3")).encode())
    assert isinstance(first, Record) and isinstance(last, Record)
    assert isinstance(broken, Unreadable)
    assert broken.external_id == "x"
    assert "not well-formed" in broken.reason and why in broken.reason


@pytest.mark.parametrize("written", ["a<b>&amp;c</b>", "<![CDATA[a&c]]>", "  a&amp;c "])
def test_the_identifier_is_found_in_what_no_parser_reads(written: str) -> None:
    written = written.replace("<b>", "").replace("</b>", "")
    broken = lom_record(written, "R&D")
    assert extracted(oai_list(lom_record("1"), broken).encode())[1].external_id in {"a&c"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a\x0bb", "ab"),
        ("a&#3;b&#x1A;c", "abc"),
        ("a&#0;b", "ab"),
        ("a&#55349;&#56322;b", "a\U0001d402b"),
        ("a&#xD835;&#xdc02;b", "a\U0001d402b"),
        ("a&#xD835;b&#56322;c", "abc"),
        ("a\ufffeb", "ab"),
    ],
)
def test_what_xml_forbids_is_dropped_with_a_note_on_its_record_only(written: str, read: str) -> None:
    one, two = extracted(oai_list(lom_record("1", written), lom_record("2")).encode())
    assert isinstance(one, Record) and isinstance(two, Record)
    assert one.documents[0].properties["title"] == read
    assert any("forbids" in note for note in one.notes)
    assert not any("forbids" in note for note in two.notes)


@pytest.mark.parametrize("before", [b" \n", b"\xef\xbb\xbf\n", b"\xef\xbb\xbf\xef\xbb\xbf"])
def test_what_nobody_sees_in_front_of_a_page_is_dropped_with_a_note(before: bytes) -> None:
    page = before + oai_list(lom_record("1"), lom_record("2")).encode()
    assert len(oai_page.read_page(page).records) == 2
    one, two = extracted(page)
    assert isinstance(one, Record) and isinstance(two, Record)
    assert "before the XML declaration" in one.notes[-1] + one.notes[0]
    assert not any("declaration" in note for note in two.notes)


CUT_OFF = oai_list(lom_record("1"), lom_record("2", "R&D"), token="t").encode()


@given(st.integers(1, len(CUT_OFF) - 1))
def test_a_page_that_is_cut_off_is_none(length: int) -> None:
    with pytest.raises(SourceError):
        oai_page.read_page(CUT_OFF[:length])


@pytest.mark.parametrize("between", ["<br>", "& so on", "<b>Warning</b><br>"])
def test_what_is_broken_between_records_is_a_broken_page(between: str) -> None:
    with pytest.raises(SourceError):
        oai_page.read_page(oai_list(lom_record("1"), between, lom_record("2")).encode())


@pytest.mark.parametrize(
    "repeated",
    [b"<record", b"<record>", b"<record><header>", b"<!--", b"<![CDATA[", b"</record> ", b"<?", b"<record><!--x-->"],
)
def test_borders_are_found_in_time_that_grows_with_the_page(repeated: bytes) -> None:
    def seconds(size: int) -> float:
        page = b"<OAI-PMH><ListRecords>" + repeated * (size // len(repeated)) + b"</ListRecords></OAI-PMH>"
        began = time.process_time()
        oai_borders.pieces(page)
        return time.process_time() - began

    small = min(seconds(100_000) for _ in range(3))
    assert seconds(800_000) < 8 * 4 * max(small, 0.002)


def test_a_page_with_one_broken_record_costs_little_more_than_a_good_one() -> None:
    def seconds(records: Sequence[str]) -> float:
        page = oai_list(*records).encode()
        taken = []
        for _ in range(5):
            began = time.process_time()
            oai_page.read_page(page)
            extracted(page)
            taken.append(time.process_time() - began)
        return min(taken)

    good = [lom_record(str(number), "A title " * 20) for number in range(100)]
    assert seconds([*good[:50], lom_record("x", "R&D"), *good[51:]]) < 3 * seconds(good)


def test_a_parser_agrees_with_the_borders_of_a_page_that_is_well_formed() -> None:
    page = oai_list(*OTHERS, token="t").encode()
    found = oai_borders.pieces(page)
    assert found is not None
    assert [etree.tostring(etree.fromstring(raw)[0]) for raw in found.records if b"czp" not in raw[:1]]
    assert [raw.decode() for raw in found.records] == list(OTHERS)
