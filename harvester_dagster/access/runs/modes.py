"""Which documents a run looks at: one row a mode.

Belongs here: names, filters, and what is said about them. Does not belong here: how `changed` finds its documents
(`changed.py`), schedules (the configuration).
"""

from typing import NamedTuple

from harvester_dagster.access.solr.collection import BIB


class Mode(NamedTuple):
    """One way to choose documents: Solr's filter queries, and a sentence about them for people."""

    name: str
    filters: tuple[str, ...]
    says: str
    whole: bool = False
    """It looks at every document, so that afterwards the index is known completely."""


MODES = {
    mode.name: mode
    for mode in (
        Mode("full", (BIB,), "every document", whole=True),
        Mode("partial", (BIB, "fulltext_availability_ss:UNDETERMINED"), "documents that were never decided"),
        Mode("sfx", (BIB, "fulltext_info_ss:sfx"), "documents decided by SFX: licences change"),
        Mode("no_access", (BIB, "fulltext_info_ss:none"), "documents without access: after the rules changed"),
        Mode(
            "changed",
            (BIB,),
            "documents that moved since the last complete run, whose decision expired, or whose journal changed",
        ),
    )
}
