"""Plain text in a code page of DOS, which Tika takes for one of Windows or for nothing.

Belongs here: what is such a text, and which code page it is in (`charset-normalizer`). Does not belong here: other
texts and documents, whose encoding Tika finds out (`tika.py`); metadata.
"""

import re

LONGEST = 200_000
"""Bytes that the encoding is found out from."""
DOS = frozenset(("cp437", "cp737", "cp850", "cp852", "cp857", "cp866"))
ENCODINGS = [
    "cp1252", "cp850", "cp437", "cp1250", "cp852", "cp1251", "cp866", "koi8_r", "cp1253", "cp737", "cp1254", "cp857",
]  # fmt: skip
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x19\x1c-\x1f]")
_MARKED_UP = re.compile(rb"\s*[<{%]|\xef\xbb\xbf|\xff\xfe|\xfe\xff")
# What é, ë, ï, è, ê, à and ä of cp850 are in cp1252: signs that never stand inside a word.
_SIGN_IN_WORD = re.compile("[a-z][\u201a\u0192\u201e\u2020\u2021\u02c6\u2030\u2039](?=[a-z])")

# Lines and shades, which Windows has letters for: ÄÄÄÄ, ÍÍÍÍ, ÛÛÛÛ.
_DRAWN = re.compile(rb"([\xb0-\xb2\xc4\xcd\xdb])\1{3}")


def in_utf8(body: bytes) -> tuple[bytes, str | None]:
    """A plain text of DOS in UTF-8, and the code page that it was in; any other body as it is, and None."""
    if body.isascii() or _MARKED_UP.match(body) or _NO_TEXT.search(body) or _is_utf8(body):
        return body, None
    encoding = _code_page(body[:LONGEST])
    return (body.decode(encoding, "replace").encode(), encoding) if encoding else (body, None)


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _code_page(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=ENCODINGS).best()
    if best is not None and best.encoding in DOS:
        return best.encoding
    if _DRAWN.search(sample):
        return "cp437"
    if (
        best is not None
        and best.encoding in ("cp1252", "cp1250", "cp1254")
        and _SIGN_IN_WORD.search(sample.decode("cp1252", "replace"))
    ):
        return "cp850"
    return None
