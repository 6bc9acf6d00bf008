"""The bytes of an answer come out as UTF-8, whatever its header and its declaration say of them."""

import codecs
import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.config import SetSettings
from harvester_dagster.outside.http import Outside
from harvester_dagster.sources import encodings, oai_page
from harvester_dagster.sources.kind import Record, Request
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.walk import Walk
from tests.sources.misbehaving import Asked, Reply, deleted_record, lom_record, oai_list, server

OAI = KINDS["oai-pmh"]
REQUEST = Request(SetSettings(kind="oai-pmh", url="http://example.org"), "a", None)
TITLE = "Café – één"


def page(declared: str, *titles: str) -> str:
    records = [lom_record(str(number), title) for number, title in enumerate(titles)]
    return oai_list(*records).replace('encoding="UTF-8"', f'encoding="{declared}"')


def read(body: bytes, content_type: str = "text/xml") -> list[Record]:
    body = encodings.decoded(body, {"Content-Type": content_type})
    indices = range(len(oai_page.read_page(body).records))
    found = list(OAI.extract(body, indices, REQUEST))
    return [one for one in found if isinstance(one, Record)]


def titles(body: bytes, content_type: str = "text/xml") -> list[str]:
    return [record.documents[0].properties["title"] for record in read(body, content_type)]


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", "; charset=ISO-8859-1", "; charset=nonsense"])
@pytest.mark.parametrize("declared", ["UTF-8", "utf8", "ISO-8859-1", "UTF-16", "us-ascii", "windows-1252", "nonsense"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_what_decodes_as_utf8_is_utf8_whatever_is_said(charset: str, declared: str, mark: bytes) -> None:
    assert titles(mark + page(declared, TITLE, "x").encode(), f"text/xml{charset}") == [TITLE, "x"]


@pytest.mark.parametrize(
    ("written", "declared", "charset"),
    [
        ("windows-1252", "windows-1252", ""),
        ("windows-1252", "ISO-8859-1", ""),
        ("windows-1252", "UTF-8", "; charset=ISO-8859-1"),
        ("windows-1252", "windows-1252", "; charset=utf-8"),
        ("windows-1252", "us-ascii", ""),
        ("utf-16", "UTF-16", ""),
        ("utf-16", "UTF-8", "; charset=utf-8"),
        ("utf-16-le", "UTF-16", ""),
        ("utf-16-be", "UTF-16", "; charset=utf-16"),
        ("utf-32", "UTF-32", ""),
    ],
)
def test_other_encodings_are_read(written: str, declared: str, charset: str) -> None:
    assert titles(page(declared, TITLE).encode(written), f"text/xml{charset}") == [TITLE]


@pytest.mark.parametrize("charset", ["iso-8859-15", "koi8-r", "shift_jis", "gb18030", "windows-1251"])
def test_an_encoding_that_was_said_and_fits_is_taken(charset: str) -> None:
    text = {"iso-8859-15": "Œuvre à 5 €", "shift_jis": "日本語の教科書", "gb18030": "荷兰语教材"}.get(
        charset, "Учебник"
    )
    assert titles(page(charset, text).encode(charset)) == [text]
    assert titles(page("UTF-8", text).encode(charset), f"text/xml; charset={charset}") == [text]


@pytest.mark.parametrize("said", ["unicode_escape", "idna", "punycode", "hex", "utf-7", "undefined", "rot13", "zlib"])
def test_what_is_no_encoding_of_texts_is_not_taken(said: str) -> None:
    assert titles(page(said, TITLE).encode(), f"text/xml; charset={said}") == [TITLE]


def test_a_byte_that_fits_nothing_is_read_with_a_note_on_its_record_only() -> None:
    one, two = read(page("UTF-8", "RiXver banks", TITLE).encode().replace(b"X", b"\x92", 1))
    assert one.documents[0].properties["title"] == "Ri’ver banks"
    assert any("0x92" in note for note in one.notes)
    assert not any("windows-1252" in note for note in two.notes)
    assert two.documents[0].properties["title"] == TITLE


def test_single_bytes_of_a_page_in_utf8_do_not_make_it_latin() -> None:
    body = page("ISO-8859-1", TITLE, "aXb", TITLE).encode().replace(b"X", b"\x92", 1)
    assert titles(body, "text/xml; charset=ISO-8859-1") == [TITLE, "a’b", TITLE]


@pytest.mark.parametrize("written", ["cafÃ© bar", "itâ€™s", "lost \ufffd here"])
def test_text_that_was_spoilt_before_leaves_a_note_on_its_record_only(written: str) -> None:
    one, two = read(page("UTF-8", written, TITLE).encode())
    assert one.documents[0].properties["title"] == written
    assert any("stand" in note for note in one.notes)
    assert not any("stand" in note for note in two.notes)


@given(st.text(), st.sampled_from(["", "; charset=utf-8", "; charset=iso-8859-1"]))
def test_utf8_stays_byte_for_byte(text: str, charset: str) -> None:
    body = ('<?xml version="1.0" encoding="UTF-8"?><a>é' + text).encode("utf-8", "replace")
    assert encodings.decoded(body, {"Content-Type": f"text/xml{charset}"}) is body


@given(st.binary(max_size=200), st.sampled_from(["", "gzip", "br"]), st.text(max_size=20))
def test_any_bytes_are_read_or_refused(body: bytes, packing: str, charset: str) -> None:
    try:
        found = encodings.decoded(body, {"Content-Type": f"a/b; charset={charset}", "Content-Encoding": packing})
    except SourceError as error:
        assert str(error).isprintable()
        return
    assert encodings.decoded(found, {}) is not None
    encodings.as_utf8(found).body.decode()


PAGE = oai_list(lom_record("1"), lom_record("2")).encode()


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda body: gzip.compress(gzip.compress(body))])
def test_what_is_packed_and_not_announced_is_read(pack: Callable[[bytes], bytes], outside: Outside) -> None:
    with server([pack(PAGE)]) as running:
        settings = SetSettings(kind="oai-pmh", url=running.url, metadata_prefix="lom")
        (body,) = _pages(settings, outside)
    assert body == PAGE


def _pages(settings: SetSettings, outside: Outside) -> list[bytes]:
    return list(OAI.pages(Request(settings, "a", None), outside, Walk(settings)))


NOT_READ = {
    "zstd": b"\x28\xb5\x2f\xfd\x04\x00",
    "zip": b"PK\x03\x04\x14\x00",
    "cut off": gzip.compress(PAGE)[:-20],
    "a bomb": gzip.compress(b" " * (encodings.MAX_BYTES + 1)),
    "all bytes": bytes(range(256)),
}


@pytest.mark.parametrize("body", NOT_READ.values(), ids=NOT_READ.keys())
def test_what_is_not_read_is_told_without_its_bytes(body: bytes, outside: Outside) -> None:
    with server([Reply(body)] * 3) as running, pytest.raises(SourceError) as caught:
        _pages(SetSettings(kind="oai-pmh", url=running.url, metadata_prefix="lom"), outside)
    assert str(caught.value).isprintable() and "\\x" not in str(caught.value)


def test_what_was_packed_as_nobody_asked_is_named() -> None:
    with pytest.raises(SourceError, match="br"):
        encodings.decoded(b"\x1b\xff\x00\x9d" * 20, {"Content-Encoding": "br"})


JAVA = {
    "halves": (b"a\xed\xa0\xb5\xed\xb0\x82b", "a\U0001d402b"),
    "half": (b"a\xed\xa0\xb5b", "ab"),
    "nul": (b"a\xc0\x80b", "ab"),
    "nothing": (b"\x81", "\ufffd"),
}


@pytest.mark.parametrize(("raw", "read"), JAVA.values(), ids=JAVA.keys())
def test_what_java_and_databases_make_of_characters_is_read(raw: bytes, read: str) -> None:
    found = encodings.as_utf8(raw)
    assert (found.body.decode(), len(found.notes)) == (read, 1)


def test_what_is_not_packed_as_it_says_is_asked_for_without_packing(outside: Outside) -> None:
    page = oai_list(deleted_record("a"), token="").encode()

    def answer(asked: Asked) -> Reply:
        plain = asked.headers["accept-encoding"] == "identity"
        return Reply(page, headers={} if plain else {"Content-Encoding": "gzip"})

    with server(answer) as source:
        assert list(OAI.pages(_request(source.url), outside)) == [page]
        assert len(source.asked) == 2


@pytest.mark.parametrize("announced", ["gzip", "deflate"])
def test_what_is_never_packed_as_it_says_is_a_clear_error(announced: str, outside: Outside) -> None:
    page = oai_list(deleted_record("a"), token="").encode()
    with server(lambda _: Reply(page, headers={"Content-Encoding": announced})) as source:
        with pytest.raises(SourceError, match=r"is not encoded as it says; it announces a Content-Encoding"):
            list(OAI.pages(_request(source.url), outside))
        assert len(source.asked) == 2


def _request(url: str) -> Request:
    return Request(SetSettings(kind="oai-pmh", url=url), "*", None)
