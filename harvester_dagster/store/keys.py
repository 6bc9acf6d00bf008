"""The key layout of the object store: where each kind of large thing lies, and what a key says of itself.

    bodies/dd/DIGEST                         what stands behind URLs, once per content
    derived/dd/DIGEST/TASK-VERSION/...       what tasks made of a body, whoever made it
    pages/ATTEMPT/N.zst                      raw pages of a source
    vocabularies/DIGEST.json                 harvested SKOS
    previews|texts/TASK-VERSION/DIGEST/...   what tasks made of a body before there was `derived/`: read, never written

A DIGEST is SHA-256 in hexadecimal, dd its first two digits, TASK-VERSION a *maker*. Keys that are stored in results and
outputs stay as they are. Does not belong here: when an object may go (`releases/retention.py`).
"""

import re
from typing import NamedTuple

DERIVED = "derived/"
VOCABULARIES = "vocabularies/"
EARLIER = ("previews/", "texts/")
"""Roots under which a maker's folder comes first."""
OF_BODIES = ("bodies/", DERIVED, *EARLIER)
_EARLIER_OF = {
    "tika-1": "texts/tika-1",
    "pdf_preview-1": "previews/pdf_preview-1",
    "image_preview-1": "previews/image_preview-1",
    "video_preview-1": "previews/video_preview-1",
}
"""All makers that wrote under the earlier roots."""

_DIGEST = "[0-9a-f]{64}"
_MAKER = "[A-Za-z0-9_]+-[0-9]+"
NAMED = f"bodies/[0-9a-f]{{2}}/{_DIGEST}|derived/[0-9a-f]{{2}}/{_DIGEST}/{_MAKER}|(?:previews|texts)/{_MAKER}/{_DIGEST}"
"""A regular expression, for Python and PostgreSQL alike: of a key that a text names, the part that says whose it is."""


class Place(NamedTuple):
    """Whose an object is: of which body, and which maker made it (empty: it is the body)."""

    digest: str
    maker: str


def body(digest: str) -> str:
    """A body, by the hexadecimal SHA-256 of its content."""
    return f"bodies/{digest[:2]}/{digest}"


def maker(task: str, version: int) -> str:
    """What a version of a task is called in keys."""
    return f"{task}-{version}"


def derived_of(digest: str) -> str:
    """The prefix of all that was made of a body."""
    return f"{DERIVED}{digest[:2]}/{digest}/"


def derived(digest: str, made_by: str) -> str:
    """The prefix of what one maker made of a body."""
    return f"{derived_of(digest)}{made_by}/"


def derived_before(digest: str, made_by: str) -> str | None:
    """Where this maker put it before there was `derived/`; None: it came later."""
    folder = _EARLIER_OF.get(made_by)
    return f"{folder}/{digest}/" if folder else None


def pages_of(attempt_id: int) -> str:
    """The prefix of an attempt's raw pages."""
    return f"pages/{attempt_id}/"


def page_bundle(attempt_id: int, number: int) -> str:
    """One object of an attempt's raw pages; they count from 0, in the order in which they arrived."""
    return f"{pages_of(attempt_id)}{number}.zst"


def vocabulary(digest: str) -> str:
    """A harvested vocabulary, by the hexadecimal digest of what was sent."""
    return f"{VOCABULARIES}{digest}.json"


def place(key: str) -> Place | None:
    """Whose it is, of a body's key or of what was made of one; None: something else."""
    if not re.match(NAMED, key):
        return None
    root, second, third, *rest = key.split("/")
    if root == "bodies":
        return Place(third, "")
    return Place(third, rest[0]) if root == "derived" else Place(third, second)
