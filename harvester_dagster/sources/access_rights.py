"""Who may read something, as repositories write it: `OpenAccess`, `RestrictedAccess` or `ClosedAccess`.

Belongs here: the vocabularies of COAR, OpenAIRE (info:eu-repo), eprints and Pure, and labels in words. Does not
belong here: licences (`licences.py`), what holds where nothing is said (its format's module).
"""

import re
from functools import lru_cache

OPEN, RESTRICTED, CLOSED = "OpenAccess", "RestrictedAccess", "ClosedAccess"
LONGEST = 300
"""Characters of a text that are looked at."""
# COAR Access Rights 1.0, https://vocabularies.coar-repositories.org/access_rights/
_COAR = {"c_abf2": OPEN, "c_16ec": RESTRICTED, "c_14cb": CLOSED, "c_f1cf": CLOSED}
_WORDS = {
    "open": OPEN,
    "restricted": RESTRICTED,
    "beperkte": RESTRICTED,
    "closed": CLOSED,
    "gesloten": CLOSED,
    "embargoed": CLOSED,
    "metadataonly": CLOSED,
}
_LABEL = re.compile(
    r"(?<![a-z])((?:no|not|non|geen)[\s_-]+)?(open|restricted|beperkte|closed|gesloten|embargoed|metadata[\s_-]*only)"
    r"[\s_-]*(?:access|toegang)(?![a-z])"
)
_PURE = re.compile(r"openaccesspermission/(\w+)")


def read(written: str | None) -> str | None:
    """What a text says of access; null when it says nothing of it. Embargoed is closed."""
    return _read(written[:LONGEST]) if written else None


@lru_cache(maxsize=1_000)  # a repository says few things of it
def _read(written: str) -> str | None:
    low = written.lower().strip()
    if found := _PURE.search(low):
        return _WORDS.get(found[1], CLOSED)
    last = re.split(r"[/#]", low.rstrip("/#"))[-1]
    if last in _COAR:
        return _COAR[last]
    label = _LABEL.search(low if " " in low else last)
    return None if label is None or label[1] else _WORDS[re.sub(r"[\s_-]", "", label[2])]
