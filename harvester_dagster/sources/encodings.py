"""The bytes of an answer as UTF-8: what they are packed in, which encoding they are in, and which bytes fit none.

A byte order mark says it before the header, the header before the XML declaration (RFC 7303, 3); but servers say it
wrongly so often that what decodes as UTF-8 is UTF-8, and ISO-8859-1 is windows-1252, as browsers read it. A page in
UTF-8 stays as it arrived, also where single bytes do not fit: they are read, and told of, with their record.

Belongs here: bytes before anybody reads them. Does not belong here: which characters XML or JSON forbid (`xml.py`,
`json_api.py`), what an answer is.
"""

import codecs
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from harvester_dagster.sources.source_error import SourceError

MAX_BYTES = 32 * 1024 * 1024
"""Of an answer, unpacked."""
# The first character of XML and JSON is ASCII, and so is mostly the second.
_FIRST_BYTES = (
    (re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff"), "utf-32"),
    (re.compile(rb"\xff\xfe|\xfe\xff"), "utf-16"),
    (re.compile(rb"[\t\n\r -~]\0\0\0"), "utf-32-le"),
    (re.compile(rb"\0\0\0[\t\n\r -~]"), "utf-32-be"),
    (re.compile(rb"[\t\n\r -~]\0[\t\n\r -~]\0"), "utf-16-le"),
    (re.compile(rb"\0[\t\n\r -~]\0[\t\n\r -~]"), "utf-16-be"),
)
_UNREAD = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ\x00": "packed with xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"%PDF-": "a PDF",
    b"\x89PNG": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"GIF8": "a picture (GIF)",
}
_GZIP = b"\x1f\x8b\x08"
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_UNPACKED_ON_THE_WAY = ("", "identity", "gzip", "x-gzip", "deflate")
_DECLARATION = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<\?xml\s[^<>]{0,100}?\bencoding\s*=\s*(?:\"([^\"<>]{0,60})\"|'([^'<>]{0,60})')"
)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_WESTERN = frozenset({"iso8859-1", "ascii"})
_OF_TEXTS = re.compile(r"ascii|iso8859|cp\d|koi8|mac-|gb|big5|euc_|shift_jis|johab|iso2022|tis-620|hz")
_STRAY = re.compile("[\udc80-\udcff]+")
_LOST = "\ufffd".encode()
_HALVES = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]|\xed[\xa0-\xbf][\x80-\xbf]|\xc0\x80")
# "Ã" or "Â" with what windows-1252 has for a byte from 80 to BF; "â€" begins every quotation mark and dash.
_ENCODED_TWICE = re.compile(
    rb"\xc3[\x82\x83](?:\xc2[\x80-\xbf]|\xe2\x80[\x93\x94\x98-\x9a\x9c-\x9e\xa0-\xa2\xa6\xb0\xb9\xba]|\xe2\x82\xac"
    rb"|\xe2\x84\xa2|\xc5[\x92\x93\xa0\xa1\xb8\xbd\xbe]|\xc6\x92|\xcb[\x86\x9c])|\xc3\xa2\xe2\x82\xac"
)


class Read(NamedTuple):
    """Bytes that are UTF-8 now, and what had to be done for that."""

    body: bytes
    notes: tuple[str, ...] = ()


def decoded(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The body of an answer with these headers, unpacked and in UTF-8, its XML declaration with it. UTF-8 comes back
    as it is, single bytes that are none with it. Raises SourceError for what is packed otherwise, or is a file."""
    body = _unpacked(body, headers.get("Content-Encoding") or "")
    declaration = _DECLARATION.match(body)
    declared = (declaration[1] or declaration[2] or b"").decode("latin-1").strip() if declaration else ""
    charset = _CHARSET.search(headers.get("Content-Type") or "")
    encoding = _marked(body) or _fitting(body, (charset[1] if charset else "", declared))
    if encoding:
        body = body.decode(encoding, "replace").removeprefix("\ufeff").encode("utf-8", "replace")
        declaration = _DECLARATION.match(body)
    elif declared.lower() == "utf-8":
        return body
    return _declared_as_utf8(body, declaration) if declaration else body


def _declared_as_utf8(body: bytes, declaration: re.Match[bytes]) -> bytes:
    start, end = declaration.span(1) if declaration[1] is not None else declaration.span(2)
    return body[:start] + b"UTF-8" + body[end:]


def _marked(body: bytes) -> str:
    """The encoding other than UTF-8 that the first bytes show; empty: none."""
    start = body[:4]
    if b"\0" not in start and start[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return ""
    return next((encoding for looks, encoding in _FIRST_BYTES if looks.match(start)), "")


def _fitting(body: bytes, said: Iterable[str]) -> str:
    """The first encoding that was said and fits; empty for UTF-8, and where no other was said."""
    others = [codec for name in said if (codec := _codec(name))]
    if not others or body.startswith(codecs.BOM_UTF8) or (body.isascii() and b"\x1b" not in body):
        return ""
    kept = body.decode("utf-8", "surrogateescape")
    stray = sum(map(len, _STRAY.findall(kept)))
    if not body.isascii() and stray * 2 <= len(body) - len(kept):  # so many bytes more than characters are UTF-8
        return ""
    return next((codec for codec in others if _fits(body, codec)), "")


def _fits(body: bytes, codec: str) -> bool:
    try:
        body.decode(codec)
    except UnicodeDecodeError:
        return codec == "cp1252"  # where five bytes are nothing
    return True


def _codec(name: str) -> str:
    """The codec of that name that texts of one or several bytes a character are in, windows-1252 for its parts; empty
    for UTF-8, for what the first bytes show, for all else."""
    try:
        codec = codecs.lookup(name).name
    except (LookupError, ValueError):
        return ""
    return ("cp1252" if codec in _WESTERN else codec) if _OF_TEXTS.match(codec) else ""


# --- packed -----------------------------------------------------------------------------------------------------------


def _unpacked(body: bytes, announced: str) -> bytes:
    for _ in range(2):  # packed once by an application and once by what stands before it
        if body.startswith(_GZIP):
            body = _inflated(body, 16 + zlib.MAX_WBITS)
        elif body.startswith(_ZLIB) and (found := _zlib(body)) is not None:
            body = found
    for start, what in _UNREAD.items():
        if body.startswith(start):
            raise SourceError(f"an answer that is {what}, and no page")
    packings = [packing.strip().lower() for packing in announced.split(",")]
    unread = [packing for packing in packings if packing not in _UNPACKED_ON_THE_WAY]
    if unread and not body[:64].isascii():
        raise SourceError(f"an answer that is packed ({', '.join(unread):.40}) though it was not asked for so")
    return body


def _zlib(body: bytes) -> bytes | None:
    """None: it is a text that begins so."""
    try:
        return _inflated(body, zlib.MAX_WBITS)
    except SourceError:
        if body[:64].isascii():
            return None
        raise


def _inflated(body: bytes, window: int) -> bytes:
    found, size = [], 0
    while body:
        stream = zlib.decompressobj(window)
        try:
            found.append(stream.decompress(body, MAX_BYTES + 1 - size))
        except zlib.error as error:
            if found:  # what follows what was packed is no part of it
                break
            raise SourceError(f"an answer that is packed (gzip or deflate), and broken: {error}") from None
        size += len(found[-1])
        if size > MAX_BYTES:
            raise SourceError(f"an answer that is packed, and larger than {MAX_BYTES:,} bytes without it")
        if not stream.eof:
            raise SourceError("an answer that is packed (gzip or deflate), and cut off")
        body = stream.unused_data
    return b"".join(found)


# --- one record -------------------------------------------------------------------------------------------------------


def as_utf8(raw: bytes) -> Read:
    """A record whose every byte is UTF-8: halves of surrogate pairs together, others dropped, what fits nothing as
    windows-1252 has it, with a note on each."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        notes = []
        raw, halves = _HALVES.subn(_joined, raw)
        if halves:
            notes.append(f"halves of surrogate pairs, encoded each by itself, were joined or dropped: {halves}")
        text = raw.decode("utf-8", "surrogateescape")
        strays = _STRAY.findall(text)
        if strays:
            shown = ", ".join(f"0x{ord(stray[0]) - 0xDC00:02x}" for stray in strays[:3])
            notes.append(f"bytes that are no UTF-8 were read as windows-1252: {sum(map(len, strays))} ({shown})")
            text = _STRAY.sub(
                lambda found: found[0].encode("utf-8", "surrogateescape").decode("cp1252", "replace"), text
            )
        return Read(text.encode(), tuple(notes))
    return Read(raw)


def _joined(found: re.Match[bytes]) -> bytes:
    if len(found[0]) < 6:
        return b""
    return found[0].decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16").encode()


def doubts(raw: bytes) -> tuple[str, ...]:
    """Notes on text (UTF-8) that was lost before, or was encoded twice ("cafÃ©"). It is not mended: it may be meant."""
    notes = []
    if lost := raw.count(_LOST):
        notes.append(f"characters that were lost on the way stand as U+FFFD: {lost}")
    if found := _ENCODED_TWICE.search(raw):
        around = raw[max(0, found.start() - 12) : found.end() + 12].decode("utf-8", "ignore")
        notes.append(f"text that was encoded twice stands as it came: {around!r:.60}")
    return tuple(notes)


def is_doubtful(page: bytes) -> bool:
    """Whether `doubts` of some record of a page is worth a look; quick."""
    return any(mark in page for mark in (_LOST, b"\xc3\x83", b"\xc3\x82", b"\xc3\xa2\xe2\x82\xac"))
