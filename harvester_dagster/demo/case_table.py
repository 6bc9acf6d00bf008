"""The cases that the sample source server can play, a line each: what the source does, and what an operator sees.

Belongs here: the words for `--help`, the documentation and the report. Does not belong here: the answers
(`cases/NAME`), who gives them (`served_cases.py`), what must come out (the tests know it).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class PlayedCase(NamedTuple):
    """A source of the field."""

    does: str
    seen: str


_READ = "accepted, nothing to see: it is read as it is meant"
_NOTED = "accepted, with a note on the record"
CASES: Final[Mapping[str, PlayedCase]] = {
    "amp": PlayedCase("a record with a bare &", "accepted; that record unreadable, with identifier and place"),
    "badutf8": PlayedCase("a byte that is no UTF-8", _NOTED),
    "busy": PlayedCase("503 with Retry-After, then its list", "accepted, after a wait"),
    "cookie": PlayedCase("a token that holds with its cookie only", "accepted: the cookie is sent back"),
    "date00": PlayedCase("the date `ca. 1998`", "accepted; the year 1998, the text in a note"),
    "date01": PlayedCase("the date `[2004?]`", "accepted; the year 2004, the text in a note"),
    "dc_markup": PlayedCase("a title with markup", "accepted, with the whole title"),
    "dc_terms": PlayedCase("dcterms where dc is empty", "accepted; date and description from dcterms"),
    "delnodate": PlayedCase("deleted records without a date, or with metadata", "accepted; one record, two deleted"),
    "deltacut": PlayedCase(
        "a delta that announces 40 records and sends 10", "failed: not whole, 10 of 40; asked again"
    ),
    "emptymeta": PlayedCase("three records without metadata", "accepted; three unreadable"),
    "enc1252": PlayedCase("windows-1252, as it says", _READ),
    "enclatin": PlayedCase("says ISO-8859-1 and sends UTF-8", _READ),
    "errafter": PlayedCase("an error behind its records", "failed: not whole"),
    "etx": PlayedCase("control characters", _NOTED),
    "gran": PlayedCase("says seconds and takes days", "accepted; the list has a note that it was asked by day"),
    "ident_words": PlayedCase("words around the address of a file", _NOTED),
    "jctrl": PlayedCase("JSON with escaped control characters and half a surrogate pair", _NOTED),
    "jrawctrl": PlayedCase("JSON with raw control characters", _NOTED),
    "jrel": PlayedCase("JSON with a relative next link", _READ),
    "jselflast": PlayedCase("JSON whose last page leads to itself", "accepted; a note on the list"),
    "jtypes": PlayedCase("JSON with values of wrong types", "accepted; what is no object unreadable, the rest read"),
    "lom_emptylang": PlayedCase("an empty langstring before a filled one", "accepted, with the filled one"),
    "lom_ims_root": PlayedCase("LOM of another namespace", "accepted; the record unreadable, with the namespace"),
    "noident": PlayedCase("no Identify", "accepted; the list has a note that it was asked by day"),
    "nsrecord": PlayedCase("namespaces declared on each record", _READ),
    "phpwarn": PlayedCase("a PHP warning before its XML", "failed, and the warning is shown; or read"),
    "prefix": PlayedCase("prefixed elements of OAI-PMH", _READ),
    "prolog": PlayedCase("an XML declaration inside a record", "accepted; that record unreadable"),
    "redirect": PlayedCase("302 to where its list is", _READ),
    "rights_ccname": PlayedCase("a licence by its name", "accepted; cc-by-40, OpenAccess"),
    "rights_coar": PlayedCase("access rights as COAR writes them", "accepted; OpenAccess"),
    "s422": PlayedCase("noRecordsMatch with status 422", "accepted: an empty delta, nothing changes"),
    "s422token": PlayedCase(
        "badResumptionToken with status 422, once", "accepted; a note that its list was begun anew"
    ),
    "surrogate": PlayedCase("a surrogate pair as two references", _NOTED),
    "tok414": PlayedCase("a token too long for a URL (414)", "accepted: asked by POST"),
    "toklast": PlayedCase("a token behind its last page", "accepted; a note on the list"),
    "tokorder": PlayedCase("a record deleted and present in one list", "accepted; what came last counts"),
    "tokplus": PlayedCase("a token with + = & % # ?", _READ),
    "tokshort": PlayedCase(
        "500 records announced, 3 sent", "failed: not whole, 3 of 500; nothing is published or deleted"
    ),
    "tokspace": PlayedCase("a token in white space", _READ),
    "utf16": PlayedCase("UTF-16", _READ),
    "vcard_folded": PlayedCase("a vCard with folded lines", "accepted, with the whole name"),
    "vcard_qp": PlayedCase("a vCard in quoted-printable", "accepted, with the name decoded"),
}
