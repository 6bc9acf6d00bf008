"""The cases that the sample source server can play, a line each: what the source does, and what an operator sees.

Belongs here: the words for `--help`, the documentation and the report. Does not belong here: the answers
(`cases/NAME`), who gives them (`served_cases.py`), what must come out (the tests know it).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Case(NamedTuple):
    """A source of the field."""

    does: str
    seen: str


_READ = "accepted, nothing to see: it is read as it is meant"
_NOTED = "accepted, with a note on the record"
CASES: Final[Mapping[str, Case]] = {
    "amp": Case("a record with a bare &", "accepted; that record unreadable, with identifier and place"),
    "badutf8": Case("a byte that is no UTF-8", _NOTED),
    "busy": Case("503 with Retry-After, then its list", "accepted, after a wait"),
    "cookie": Case("a token that holds with its cookie only", "accepted: the cookie is sent back"),
    "date00": Case("the date `ca. 1998`", "accepted; the year 1998, the text in a note"),
    "date01": Case("the date `[2004?]`", "accepted; the year 2004, the text in a note"),
    "dc_markup": Case("a title with markup", "accepted, with the whole title"),
    "dc_terms": Case("dcterms where dc is empty", "accepted; date and description from dcterms"),
    "delnodate": Case("deleted records without a date, or with metadata", "accepted; one record, two deleted"),
    "deltacut": Case("a delta that announces 40 records and sends 10", "failed: not whole, 10 of 40; asked again"),
    "emptymeta": Case("three records without metadata", "accepted; three unreadable"),
    "enc1252": Case("windows-1252, as it says", _READ),
    "enclatin": Case("says ISO-8859-1 and sends UTF-8", _READ),
    "errafter": Case("an error behind its records", "failed: not whole"),
    "etx": Case("control characters", _NOTED),
    "gran": Case("says seconds and takes days", "accepted; the list has a note that it was asked by day"),
    "ident_words": Case("words around the address of a file", _NOTED),
    "jctrl": Case("JSON with escaped control characters and half a surrogate pair", _NOTED),
    "jrawctrl": Case("JSON with raw control characters", _NOTED),
    "jrel": Case("JSON with a relative next link", _READ),
    "jselflast": Case("JSON whose last page leads to itself", "accepted; a note on the list"),
    "jtypes": Case("JSON with values of wrong types", "accepted; what is no object unreadable, the rest read"),
    "lom_emptylang": Case("an empty langstring before a filled one", "accepted, with the filled one"),
    "lom_ims_root": Case("LOM of another namespace", "accepted; the record unreadable, with the namespace"),
    "noident": Case("no Identify", "accepted; the list has a note that it was asked by day"),
    "nsrecord": Case("namespaces declared on each record", _READ),
    "phpwarn": Case("a PHP warning before its XML", "failed, and the warning is shown; or read"),
    "prefix": Case("prefixed elements of OAI-PMH", _READ),
    "prolog": Case("an XML declaration inside a record", "accepted; that record unreadable"),
    "redirect": Case("302 to where its list is", _READ),
    "rights_ccname": Case("a licence by its name", "accepted; cc-by-40, OpenAccess"),
    "rights_coar": Case("access rights as COAR writes them", "accepted; OpenAccess"),
    "s422": Case("noRecordsMatch with status 422", "accepted: an empty delta, nothing changes"),
    "s422token": Case("badResumptionToken with status 422, once", "accepted; a note that its list was begun anew"),
    "surrogate": Case("a surrogate pair as two references", _NOTED),
    "tok414": Case("a token too long for a URL (414)", "accepted: asked by POST"),
    "toklast": Case("a token behind its last page", "accepted; a note on the list"),
    "tokorder": Case("a record deleted and present in one list", "accepted; what came last counts"),
    "tokplus": Case("a token with + = & % # ?", _READ),
    "tokshort": Case("500 records announced, 3 sent", "failed: not whole, 3 of 500; nothing is published or deleted"),
    "tokspace": Case("a token in white space", _READ),
    "utf16": Case("UTF-16", _READ),
    "vcard_folded": Case("a vCard with folded lines", "accepted, with the whole name"),
    "vcard_qp": Case("a vCard in quoted-printable", "accepted, with the name decoded"),
}
