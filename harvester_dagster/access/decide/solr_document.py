"""What Solr holds: a document and a page of them, as the enricher reads them.

Belongs here: field names, and decoding that survives a field of the wrong type (that field counts as absent, and is
reported). Does not belong here: requests, rules. Attribute names are the field names of the collection.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, get_type_hints

import msgspec

ACCESS_FIELD = "fulltext_availability_ss"
INFO_FIELD = "fulltext_info_ss"

Texts = tuple[str, ...]


class Problem(NamedTuple):
    """Bad data in a document or a journal: a kind to count by, and what was seen."""

    kind: str
    seen: str


class SolrDocument(msgspec.Struct, gc=False):
    """One document of the collection; `_version_` is 0 when it was not asked for. Cyclic garbage collection is off:
    it holds texts and tuples only."""

    id: str
    version: int = msgspec.field(name="_version_", default=0)
    cluster_id_ss: Texts = ()
    format: str = ""
    issn_ss: Texts = ()
    eissn_ss: Texts = ()
    isbn_ss: Texts = ()
    fulltext_list_ssf: Texts = ()
    pub_date_tis: tuple[int, ...] = ()
    source_ss: Texts = ()
    journal_title_ts: Texts = ()
    title_ts: Texts = ()
    holdings_ssf: Texts = ()
    embargo_ssf: Texts = ()
    superformat_s: str = ""
    fulltext_availability_ss: Texts = ()
    fulltext_info_ss: Texts = ()
    doi_ss: Texts = ()
    misread: tuple[Problem, ...] = msgspec.field(name="", default=())
    """Fields whose values had the wrong type."""


FIELDS = tuple(field for field in SolrDocument.__struct_encode_fields__ if field not in ("", "doi_ss"))
"""Asked for on every read; `doi_ss` only where a DOI resolver is configured."""

_NAMES = dict(zip(SolrDocument.__struct_encode_fields__, SolrDocument.__struct_fields__, strict=True))
_NUMBERS = {"pub_date_tis"}
_SINGLE = {name for name, hint in get_type_hints(SolrDocument).items() if hint is str}


class _Header(msgspec.Struct):
    partialResults: bool = False


class _Response(msgspec.Struct):
    numFound: int
    docs: list[SolrDocument]


class _Answer(msgspec.Struct):
    response: _Response
    responseHeader: _Header
    nextCursorMark: str = ""


class SolrPage(NamedTuple):
    """One page of a cursor's walk. The walk is over when a cursor repeats."""

    total: int
    documents: list[SolrDocument]
    next_cursor: str


class Undecodable(ValueError):
    """The body is not an answer of a Solr select handler; the message shows how it begins."""


_decoder = msgspec.json.Decoder(_Answer)
_raw_decoder = msgspec.json.Decoder(dict[str, Any])


def page(body: bytes) -> SolrPage:
    """Decode an answer of the select handler. Raises Undecodable."""
    try:
        answer = _decoder.decode(body)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return _tolerant_page(body)
    except msgspec.DecodeError as error:
        raise Undecodable(_beginning(body)) from error
    if answer.responseHeader.partialResults:
        raise Undecodable("partial results only: a shard or a time limit cut the answer short")
    return SolrPage(answer.response.numFound, answer.response.docs, answer.nextCursorMark)


def _tolerant_page(body: bytes) -> SolrPage:
    try:
        answer = _raw_decoder.decode(body.decode("utf-8", "replace"))
        response = answer["response"]
        if answer["responseHeader"].get("partialResults"):
            raise Undecodable("partial results only: a shard or a time limit cut the answer short")
        documents = [from_fields(raw) for raw in response["docs"]]
        return SolrPage(int(response["numFound"]), documents, str(answer.get("nextCursorMark", "")))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise Undecodable(_beginning(body)) from error


def from_fields(raw: Mapping[str, Any]) -> SolrDocument:
    """A document from fields of any shape: what cannot be read counts as absent and is listed in `misread`.

    Raises KeyError without an id: then it is no document of this collection.
    """
    misread: list[Problem] = []
    fields = {}
    for name, value in raw.items():
        if name not in _NAMES or name in ("id", "") or value is None:
            continue
        readable, ok = _read(name, value)
        if not ok:
            misread.append(Problem(f"{name}: wrong type", repr(value)[:200]))
        if readable is not None:
            fields[_NAMES[name]] = readable
    return SolrDocument(id=str(raw["id"]), misread=tuple(misread), **fields)


def _read(name: str, value: Any) -> tuple[Any, bool]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if name == "_version_":
        return (value, True) if isinstance(value, int) else (None, False)
    if name in _SINGLE:
        texts = [each for each in values if isinstance(each, str)]
        return (texts[0] if texts else None), len(values) == len(texts) == 1
    if name in _NUMBERS:
        # Only the first of several years counts: a first one that is no number must not let a later one count.
        numbers = [_year(each) for each in values]
        if numbers and numbers[0] is None:
            return None, False
        return tuple(each for each in numbers if each is not None), None not in numbers
    texts = [each for each in values if isinstance(each, str)]
    return tuple(texts), len(texts) == len(values)


def _year(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 12:
        return int(value)
    return None


def _beginning(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return f"not an answer of Solr's select handler; it begins with: {text[:160]!r}"
