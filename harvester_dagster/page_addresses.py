"""Addresses of our pages, as paths below `[web] public_url`: for the pages themselves, and for whoever links them.

Belongs here: how what comes from outside is written in a path. Does not belong here: what a page shows (`web/`).
"""

from urllib.parse import quote


def in_path(text: str) -> str:
    """A text as one part of a path."""
    return quote(text, safe=":")


def set_page(key: str) -> str:
    """The page of a set; its buttons lie below it. A set may be called `a/../b?c#d%e`."""
    return f"/set/{in_path(key)}/"


def run_page(run_id: str) -> str:
    """The page on which a run is followed that a button has begun."""
    return f"/run/{in_path(run_id)}/"
