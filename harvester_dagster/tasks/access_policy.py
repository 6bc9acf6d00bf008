"""Which files may be looked into, and as what: the conditions that content tasks share.

Belongs here: pure rules over a file's properties and what `check_url` saw; each answers None (it applies) or why
not, in a few words. Whoever uses a rule names what it reads in `Task.reads` (`ANALYSIS_READS`, …).
Does not belong here: fetching, and what a body turns out to be (magic bytes): that is an outcome, not a condition.
"""

from collections.abc import Mapping
from functools import lru_cache
from mimetypes import MimeTypes
from typing import Any
from urllib.parse import urlsplit

from harvester_dagster.tasks.task import Context, Subject

ANALYSIS_READS = ("$.url", "$.access_rights", "$.copyright")
MIME_READS = ("$.url", "$.mime_type")
FETCH_READS = ("check_url.validator",)

_PDF = frozenset({"application/pdf", "application/x-pdf"})
_BY_EXTENSION = MimeTypes()
"""Python's own table, whatever files the machine has, and what it lacks."""
_BY_EXTENSION.add_type("image/heic", ".heic")
_BY_EXTENSION.add_type("image/heif", ".heif")
_BY_EXTENSION.add_type("image/vnd.adobe.photoshop", ".psd")
_PHOTOSHOP = frozenset({"application/photoshop", "application/psd", "application/x-photoshop"})
_SVG = frozenset({"image/svg+xml", "image/svg"})
_SAYS_NOTHING = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/x-download"})
NOT_FOLLOWED = "not followed"
"""In place of a validator, for what redirects to YouTube while nobody is to be contacted there."""
_YOUTUBE = ("youtube.com", "youtu.be", "youtube-nocookie.com", "ytimg.com")


def analysis_refused(properties: Mapping[str, Any]) -> str | None:
    """Why a file's content may not be analysed; None: it may. It must be OpenAccess, or RestrictedAccess under a
    licence that allows derivatives."""
    rights = properties.get("access_rights")
    if rights == "OpenAccess":
        return None
    if rights != "RestrictedAccess":
        return f"analysis not allowed: access rights are {rights or 'not given'}"
    licence = str(properties.get("copyright") or "").lower()
    if not licence or licence in ("yes", "unknown") or "nd" in licence:
        return f"analysis not allowed: RestrictedAccess with copyright {licence or 'not given'}"
    return None


def not_reachable(subject: Subject) -> str | None:
    """Why a file cannot be fetched, by `check_url`; None: it was found (the 203 of URLs that are not checked
    counts)."""
    checked = subject.results.get("check_url")
    if checked is None:
        return "URL not checked yet"
    if checked.kind != "success":
        return f"URL check: {checked.reason or checked.kind}"
    return None


def contact_refused(subject: Subject, context: Context) -> str | None:
    """Why nobody may contact the file's host; None: anybody may. `tasks.youtube = false` rules out YouTube, whoever
    asks."""
    if not context.config.tasks.youtube and is_youtube(str(subject.properties.get("url") or "")):
        return "contact with YouTube is switched off (tasks.youtube)"
    return None


def content_refused(subject: Subject, context: Context) -> str | None:
    """Why no task may read a file's content; None: each may, as far as all of them are concerned."""
    return (
        analysis_refused(subject.properties)
        or contact_refused(subject, context)
        or not_reachable(subject)
        or _leads_to_youtube(subject)
    )


def _leads_to_youtube(subject: Subject) -> str | None:
    checked = subject.results.get("check_url")
    if checked and (checked.data or {}).get("validator") == NOT_FOLLOWED:
        return "it redirects to YouTube, and contact with it is switched off (tasks.youtube)"
    return None


def media_type(properties: Mapping[str, Any]) -> str:
    """The source's MIME type without parameters, else guessed from the URL; "" when neither tells."""
    said = properties.get("mime_type")
    given = _bare(said) if isinstance(said, str) else ""
    return given or _guessed(str(properties.get("url") or ""))


def not_pdf(properties: Mapping[str, Any]) -> str | None:
    """Why a file is no PDF, by its MIME type; None: it is one."""
    kind = media_type(properties)
    return None if kind in _PDF else f"not a PDF: {kind or 'type unknown'}"


def not_image(subject: Subject) -> str | None:
    """Why a file is no image, by its MIME type and what its server says; None: it is one. SVG is no picture of
    pixels."""
    checked = subject.results.get("check_url")
    seen = _bare((checked.data or {}).get("content_type") or "") if checked else ""
    said = media_type(subject.properties)
    kinds = [kind for kind in (said, seen) if kind not in _SAYS_NOTHING]
    for kind in kinds:
        if kind in _SVG:
            return "not applicable to SVG"
        if not kind.startswith("image/") and kind not in _PHOTOSHOP:
            return f"not an image: {kind}"
    return None if kinds else "not an image: type unknown"


def is_youtube(url: str) -> bool:
    """Whether the URL is on a host of YouTube."""
    return on_hosts(url, _YOUTUBE)


def on_hosts(url: str, hosts: tuple[str, ...]) -> bool:
    """Whether the URL's host is one of these or below one of them."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".").lower()
    except ValueError:
        return False
    return any(host == known or host.endswith(f".{known}") for known in hosts)


@lru_cache(maxsize=1_000)
def _bare(mime_type: str) -> str:
    return mime_type.partition(";")[0].strip().lower()


def _guessed(url: str) -> str:
    return _BY_EXTENSION.guess_type(urlsplit(url).path)[0] or ""
