"""Addresses of our pages, as paths below `[web] public_url`: for the pages themselves, and for whoever links them.

Belongs here: how what comes from outside is written in a path. Does not belong here: what a page shows (`web/`).
"""

from collections.abc import Collection
from urllib.parse import quote


def in_path(text: str) -> str:
    """A text as one part of a path."""
    return quote(text, safe=":")


def set_page(key: str) -> str:
    """The page of a set; its buttons lie below it. A set may be called `a/../b?c#d%e`."""
    return f"/set/{in_path(key)}/"


def document_page(srn: str) -> str:
    """The page of a document."""
    return f"/document/?srn={quote(srn, safe='')}"


def subject_page(act: str, subject: str, keys: Collection[str]) -> str:
    """The page of what an act of the audit was done to, where it has one; `keys`: the sets that there are."""
    if subject in keys:
        return set_page(subject)
    if any(subject.startswith(f"{key}:") for key in keys):
        return document_page(subject)
    if not subject.isdigit():
        return ""
    return f"/night/{subject}/" if act in ("night", "stop night") else "/versions/"


def run_page(run_id: str) -> str:
    """The page on which a run is followed that a button has begun."""
    return f"/run/{in_path(run_id)}/"
