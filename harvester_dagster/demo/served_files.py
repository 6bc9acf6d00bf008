"""What is behind the URLs of the sample records: small real files, and all that goes wrong with URLs.

Belongs here: validators, ranges, redirects, dead links, slow, oversized and lying files, the video pages.
Does not belong here: making the files (`make_files.py`, whose results are in `files/`).
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from email.message import Message
from functools import cache
from pathlib import PurePosixPath
from typing import Final

from harvester_dagster.demo.lies import SampleAnswer
from harvester_dagster.demo.records import HERE, UrlOf

HUGE: Final = 2 * 1024**3
SLOW_SECONDS: Final = 3.0
LAST_MODIFIED: Final = "Mon, 01 Jan 2024 12:00:00 GMT"
_TYPES: Final = {
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".zip": "application/zip",
    ".epub": "application/epub+zip",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".tiff": "image/tiff",
    ".svg": "image/svg+xml",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".mp4": "video/mp4",
}
_REDIRECTS: Final = {
    "/files/moved/literature.pdf": (301, "/files/literature.pdf"),
    "/files/chain/1": (302, "/files/chain/2"),
    "/files/chain/2": (302, "/files/chain/3"),
    "/files/chain/3": (301, "/files/lesson.html"),
    "/files/loop/1": (302, "/files/loop/2"),
    "/files/loop/2": (302, "/files/loop/1"),
}
_VIDEOS: Final = {
    "/video/vortex": ("Using a vortex mixer", "PT1M30S", "picture.jpg"),
    "/video/big-history": ("A first exploration of big history", "PT12M5S", "photo.jpg"),
}


def answer(method: str, path: str, headers: Message, url_of: UrlOf) -> SampleAnswer:
    """The answer to a request for a file, an odd URL or a video's page."""
    if path in _REDIRECTS:
        status, target = _REDIRECTS[path]
        return SampleAnswer(status=status, headers={"Location": url_of(target)})
    if path in _VIDEOS:
        return _page(_video_page(path, url_of))
    if path == "/video/no-video":
        return _page("<html><head><title>Nothing to see</title></head><body><p>The clip is gone.</p></body></html>")
    folder, _, name = path.removeprefix("/files/").rpartition("/")
    odd = _ODD.get(folder or name)
    return odd(method, name, headers) if odd else _file(name if not folder else "", headers)


def _file(name: str, headers: Message) -> SampleAnswer:
    """A file as a good server gives it: validators, 304, ranges."""
    content = _content(name)
    if content is None:
        return SampleAnswer(b"<html><body>404: there is no such file</body></html>", 404)
    etag = f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"'
    known = {"ETag": etag, "Last-Modified": LAST_MODIFIED, "Accept-Ranges": "bytes"}
    if_none_match = headers.get("If-None-Match")
    if if_none_match is None and headers.get("If-Modified-Since") == LAST_MODIFIED:
        return SampleAnswer(status=304, headers=known)
    if if_none_match and etag in if_none_match:
        return SampleAnswer(status=304, headers=known)
    whole = SampleAnswer(content, content_type=_TYPES[PurePosixPath(name).suffix], headers=known)
    return _ranged(whole, headers.get("Range", ""))


def _ranged(whole: SampleAnswer, wanted: str) -> SampleAnswer:
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
    if not found:
        return whole
    size, start = len(whole.body), int(found[1])
    end = min(int(found[2] or size), size - 1)
    if start > end:
        return SampleAnswer(status=416, headers={"Content-Range": f"bytes */{size}"})
    headers = {**whole.headers, "Content-Range": f"bytes {start}-{end}/{size}"}
    return whole._replace(body=whole.body[start : end + 1], status=206, headers=headers)


@cache
def _content(name: str) -> bytes | None:
    if PurePosixPath(name).suffix not in _TYPES or "/" in name:
        return None
    file = HERE / "files" / name
    return file.read_bytes() if file.is_file() else None


def _page(html: str) -> SampleAnswer:
    return SampleAnswer(html.encode())


def _gone(_method: str, _name: str, _headers: Message) -> SampleAnswer:
    return SampleAnswer(b"<html><body>410: taken away for good</body></html>", 410)


def _slow(_method: str, name: str, headers: Message) -> SampleAnswer:
    return _file(name, headers)._replace(wait=SLOW_SECONDS)


def _huge(_method: str, _name: str, _headers: Message) -> SampleAnswer:
    start = b"%PDF-1.7\n"
    return SampleAnswer(start, content_type="application/pdf", zeros=HUGE - len(start))


def _liar_pdf(_method: str, _name: str, headers: Message) -> SampleAnswer:
    return _file("lesson.html", headers)._replace(content_type="application/pdf")


def _liar_jpg(_method: str, _name: str, headers: Message) -> SampleAnswer:
    return _file("handout.pdf", headers)._replace(content_type="image/jpeg")


def _no_head(method: str, name: str, headers: Message) -> SampleAnswer:
    if method == "HEAD":
        return SampleAnswer(status=405, headers={"Allow": "GET"})
    return _file(name, headers)


def _head_404(method: str, name: str, headers: Message) -> SampleAnswer:
    return SampleAnswer(status=404) if method == "HEAD" else _file(name, headers)


def _no_validator(_method: str, name: str, _headers: Message) -> SampleAnswer:
    return _file(name, Message())._replace(headers={})


def _download(_method: str, _name: str, headers: Message) -> SampleAnswer:
    whole = _file("chemistry-nl.pdf", headers)
    disposition = {"Content-Disposition": 'attachment; filename="chemistry.pdf"'}
    return whole._replace(content_type="application/octet-stream", headers={**whole.headers, **disposition})


def _error(_method: str, _name: str, _headers: Message) -> SampleAnswer:
    return SampleAnswer(b"internal error", 500)


_ODD: Final[Mapping[str, Callable[[str, str, Message], SampleAnswer]]] = {
    "gone.pdf": _gone,
    "slow": _slow,
    "huge.pdf": _huge,
    "liar.pdf": _liar_pdf,
    "liar.jpg": _liar_jpg,
    "no-head": _no_head,
    "head-404": _head_404,
    "no-validator": _no_validator,
    "download": _download,
    "error": _error,
}


def _video_page(path: str, url_of: UrlOf) -> str:
    """A page that yt-dlp reads: JSON-LD with absolute URLs."""
    title, duration, thumbnail = _VIDEOS[path]
    video = {
        "@context": "https://schema.org",
        "@type": "VideoObject",
        "name": title,
        "description": f"{title}: a sample.",
        "duration": duration,
        "uploadDate": "2020-12-17T22:37:36Z",
        "thumbnailUrl": [url_of(f"/files/{thumbnail}")],
        "contentUrl": url_of("/files/clip.mp4"),
    }
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<script type="application/ld+json">{json.dumps(video)}</script></head>
<body><h1>{title}</h1><p>{title}: a sample.</p></body></html>"""
