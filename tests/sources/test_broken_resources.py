"""One resource of JSON:API that is no valid JSON costs itself: any bytes inside of it leave the others as they were."""

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.config import SetSettings
from harvester_dagster.sources import json_borders
from harvester_dagster.sources.kind import Record, Request, Unreadable
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.sources.source_error import SourceError

SHAREKIT = KINDS["sharekit"]
REQUEST = Request(SetSettings(kind="sharekit", url="http://example.org"), "a", None)
HOLE = "HOLE"
PIECES = st.sampled_from(['"', "{", "}", "[", "]", ",", ":", "\\", "}},", "]}", '},{"id":"n"},', "null", "\x00", "\n"])
INSIDE = st.binary(max_size=20) | st.lists(PIECES, max_size=6).map(lambda pieces: "".join(pieces).encode())


def resource(name: str, title: str = "T") -> str:
    files = [{"url": f"http://example.org/{number}", "fileName": "], {"} for number in range(2)]
    attributes = {"title": title, "files": files, "keywords": ["a", '"b"']}
    return json.dumps({"type": "repoItem", "id": name, "attributes": attributes})


DELETED = '{"id": "4", "meta": {"status": "deleted"}}'


def page(*resources: str) -> bytes:
    return (
        f'{{"links": {{"next": "/x?page[number]=2"}}, "data": [{", ".join(resources)}], "meta": {{"a": []}}}}'.encode()
    )


def extracted(body: bytes) -> list[Record | Unreadable]:
    """Whose ids are known by themselves, too."""
    found = list(SHAREKIT.extract(body, range(len(SHAREKIT.cut(body))), REQUEST))
    assert all(item.external_id in (name, None) for item, name in zip(found, SHAREKIT.ids(body, REQUEST), strict=True))
    return found


@given(INSIDE, st.integers(0, 3))
def test_any_bytes_inside_one_resource_leave_the_others_as_they_were(inside: bytes, place: int) -> None:
    others = [resource("1"), resource("2"), DELETED]
    whole = page(*others[:place], resource("broken", HOLE), *others[place:])
    before = [one for one in extracted(whole) if one.external_id != "broken"]
    after = extracted(whole.replace(HOLE.encode(), inside))
    assert [one for one in after if one.external_id in {"1", "2", "4"}] == before
    assert "broken" in {one.external_id for one in after}


@pytest.mark.parametrize("written", ['a"b', '"}}, ', '", "x": [', '", "x": tru, "y": "'])
def test_a_broken_resource_is_unreadable_with_its_id(written: str) -> None:
    whole = page(resource("1"), resource("2", HOLE), resource("3")).replace(HOLE.encode(), written.encode())
    found = extracted(whole)
    assert [one.external_id for one in found] == ["1", "2", "3"]
    assert isinstance(found[1], Unreadable) and "not valid JSON" in found[1].reason


@pytest.mark.parametrize("written", [b"a\x01b", b"a\x00b", b"a\\u0000b", b"a\\ud83db"])
def test_what_no_text_holds_is_dropped_with_a_note_on_its_record_only(written: bytes) -> None:
    one, two = extracted(page(resource("1", HOLE), resource("2")).replace(HOLE.encode(), written))
    assert isinstance(one, Record) and isinstance(two, Record)
    assert one.documents[0].properties["title"] == "ab"
    assert any("dropped" in note for note in one.notes) and not any("dropped" in note for note in two.notes)


WHOLE = page(resource("1"), resource("2", HOLE)).replace(HOLE.encode(), b'a"b')


@given(st.integers(1, len(WHOLE) - 1))
def test_a_page_that_is_cut_off_is_none(length: int) -> None:
    with pytest.raises(SourceError):
        SHAREKIT.cut(WHOLE[:length])


def test_a_trailing_comma_of_the_list_is_an_error() -> None:
    with pytest.raises(SourceError, match="comma"):
        SHAREKIT.cut(b'{"data": [{"id": "1", "attributes": {}},], "links": {}}')


@pytest.mark.parametrize("repeated", ['{"a":[', "},{", '},{"a":[{},{"a":[', "]}", "]},", '"', "[", "{}", "],"])
def test_borders_are_found_in_bounded_time(repeated: str) -> None:
    text = '{"data": [' + repeated * (300_000 // len(repeated)) + "]}"
    began = time.process_time()
    with contextlib.suppress(SourceError):
        json_borders.pieces(text)
    assert time.process_time() - began < 10
