"""The task `video_preview`: one picture of a video page, in three sizes, encoded anew.

Belongs here: which picture (the one that `youtube_api` named, else what yt-dlp reads off the page), and the pace of
asking: one page in 2 to 5 seconds, whatever number of runs this machine has. yt-dlp downloads no video, and makes
its calls through `Outside`, so that a page cannot send it to a private address.
Does not belong here: fetching and decoding the picture, which go the way of every image.
"""

import fcntl
import io
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from harvester_dagster.config import home
from harvester_dagster.failures import OutsideError, PermanentError, TransientError
from harvester_dagster.outside.http import Outside
from harvester_dagster.tasks import pictures
from harvester_dagster.tasks.access_policy import contact_refused, is_youtube, on_hosts
from harvester_dagster.tasks.once_per_body import gave_up, once, outcome_of
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task

SECONDS_BETWEEN = (2.0, 5.0)
SECONDS_A_PAGE = 60.0
CALLS_A_PAGE = 20
NOT_ASKED = "it leads to YouTube, and contact with it is switched off (tasks.youtube)"
_SAYS = re.compile(r"^(?:\x1b\[[0-9;]*m)?ERROR:(?:\x1b\[0m)?\s*")


class FoundPicture(NamedTuple):
    """The URL of a video's picture, and what its page says beside it; the duration is in seconds."""

    picture: str
    title: str | None
    duration: float | None


Look = Callable[[str, Context], FoundPicture | None]


def page_of(url: str) -> str:
    """The video's own page: for YouTube without the playlist that it was found in."""
    if not is_youtube(url):
        return url
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query, True) if name not in ("list", "index")]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _condition(subject: Subject, context: Context) -> str | None:
    url = str(subject.properties.get("url") or "")
    if not on_hosts(url, context.config.tasks.video_hosts):
        return "not on one of the video hosts (tasks.video_hosts)"
    return contact_refused(subject, context)


def run(items: Sequence[Item], context: Context, look: Look | None = None) -> Iterator[tuple[Item, Outcome]]:
    """Find the picture of each video's page once, and make its pictures."""
    by_page: dict[tuple[str, str | None], list[Item]] = {}
    for item in items:
        page = page_of(str(item.subject.properties["url"]))
        by_page.setdefault((page, _named(item.subject)), []).append(item)
    for (page, named), waiting in by_page.items():
        outcome = _preview(page, named, waiting[0], context, look or look_at)
        yield from ((item, outcome) for item in waiting)


def _may_ask(url: str, context: Context) -> bool:
    return context.config.tasks.youtube or not is_youtube(url)


def _named(subject: Subject) -> str | None:
    """The picture that `youtube_api` named."""
    known = subject.results.get("youtube_api")
    previews = (known.data or {}).get("previews") if known and known.kind == "success" else None
    return previews.get("full_size") if isinstance(previews, Mapping) else None


def _preview(page: str, named: str | None, item: Item, context: Context, look: Look) -> Outcome:
    started = time.perf_counter()
    try:
        found = FoundPicture(named, None, None) if named else look(page, context)
        if found is None:
            return Outcome("empty", reason="the page has no video with a picture")
        if not _may_ask(found.picture, context):
            return Outcome("empty", reason=f"its picture: {NOT_ASKED}")
        body = context.bodies.get(found.picture, None)
        outcome = once(body, TASK, context, lambda prefix: _shrink(body.path, prefix, context))
    except TransientError as error:
        return outcome_of(error, context)
    except OutsideError as error:
        return Outcome("empty", reason=f"no picture: {error}")
    except pictures.TooSlowError as error:
        return gave_up(item, str(error))
    if outcome.kind != "success":
        return Outcome("empty", reason=f"no picture: {outcome.reason}")
    seen = {"source": "youtube_api" if named else "yt-dlp", "picture": found.picture}
    about = {"title": found.title, "duration": found.duration}
    spent = {"seconds": round(time.perf_counter() - started, 3)}
    return Outcome("success", {**(outcome.data or {}), **seen, **about, **spent})


def _shrink(path: Path, prefix: str, context: Context) -> Outcome:
    try:
        made, _ = pictures.limited(pictures.pictures_of_file, path)
    except pictures.UnreadableError as error:
        return Outcome("failure", reason=str(error))
    return Outcome("success", pictures.store(made, prefix, context.objects))


def look_at(page: str, context: Context, between: tuple[float, float] = SECONDS_BETWEEN) -> FoundPicture | None:
    """What yt-dlp reads off the page; None without a picture. Raises OutsideError, also for a page without a video."""
    await_turn(home() / "video_preview.turn", between)
    reader = _reader(context.outside, lambda url: _may_ask(url, context))
    from yt_dlp.utils import YoutubeDLError

    try:
        seen = reader.extract_info(page, download=False, process=False) or {}
        # What the page itself names is enough; only what it embeds from elsewhere is followed.
        return _best(seen) or _best(reader.process_ie_result(seen, download=False) or {})
    except YoutubeDLError as error:
        if reader.transient:
            raise reader.transient from None
        raise PermanentError("no-video", _SAYS.sub("", str(error)).partition("\n")[0][:200]) from None


def _best(info: Mapping[str, Any]) -> FoundPicture | None:
    if info.get("_type") == "playlist":
        entries = info.get("entries")
        return _best(entries[0] or {}) if isinstance(entries, list) and entries else None
    offered = [one for one in info.get("thumbnails") or () if isinstance(one, Mapping)]
    candidates = [*sorted(offered, key=_worth), {"url": info.get("thumbnail")}]
    for one in reversed(candidates):
        if str(one.get("url") or "").startswith(("http://", "https://")):
            return FoundPicture(str(one["url"]), info.get("title"), info.get("duration"))
    return None


def _worth(thumbnail: Mapping[str, Any]) -> tuple[float, float]:
    """yt-dlp's own order: what the extractor prefers, then the larger."""
    preference, width = thumbnail.get("preference"), thumbnail.get("width")
    return -1.0 if preference is None else float(preference), -1.0 if width is None else float(width)


def await_turn(turn: Path, between: tuple[float, float] = SECONDS_BETWEEN) -> None:
    """Wait until so many seconds (one number out of `between`) have passed since any run on this machine had its turn,
    which the file `turn` tells.

    By the wall clock, not the run's: what counts is the time between two calls.
    """
    turn.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(turn, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back by the system when a holder dies
        pause = random.uniform(*between)
        try:
            since = time.time() - float(file.read() or 0)
        except ValueError:
            since = 0.0
        if 0 <= since < pause:
            time.sleep(pause - since)
        file.seek(0)
        file.truncate()
        file.write(str(time.time()))
        file.flush()


def yt_dlp_apart() -> None:
    """Let yt-dlp be imported without its handler for requests, which changes requests itself: every later call of ours
    without a proxy raised TypeError. yt-dlp does without it as where requests is not installed."""
    sys.modules.setdefault("yt_dlp.networking._requests", None)  # type: ignore[arg-type]


def _reader(outside: Outside, may_ask: Callable[[str], bool]) -> Any:
    """A YoutubeDL whose every call goes through `Outside`, bounded in number and time, and where it may."""
    yt_dlp_apart()
    from yt_dlp import YoutubeDL
    from yt_dlp.networking import Request, Response
    from yt_dlp.networking.exceptions import HTTPError, RequestError

    class Reader(YoutubeDL):  # type: ignore[misc]
        transient: TransientError | None = None
        calls = 0
        until = time.monotonic() + SECONDS_A_PAGE

        def urlopen(self, req: Any) -> Any:
            request = req if isinstance(req, Request) else Request(req)
            self.calls += 1
            left = self.until - time.monotonic()
            if self.calls > CALLS_A_PAGE or left <= 0:
                raise RequestError("the page asks for too much")
            if not may_ask(request.url):
                raise RequestError(NOT_ASKED)
            try:
                answer = self._answer(request, left)
            except OutsideError as error:
                if isinstance(error, TransientError):
                    self.transient = error
                raise RequestError(str(error)) from None
            headers = {k: v for k, v in answer.headers.items() if k.lower() not in ("content-encoding", "set-cookie")}
            response = Response(io.BytesIO(answer.body), answer.url, headers, answer.status)
            if answer.status >= 400:
                raise HTTPError(response)
            return response

        def _answer(self, request: Any, left: float) -> Any:
            headers = {**{k: v for k, v in self.params["http_headers"].items() if k != "Accept-Encoding"}}
            headers |= {k: v for k, v in request.headers.items() if k.lower() not in ("accept-encoding", "cookie")}
            cookie = self.cookiejar.get_cookie_header(request.url)
            if cookie:
                headers["Cookie"] = cookie
            bounds: dict[str, Any] = {"max_bytes": 16 << 20, "timeout": min(left, 20), "patience": 5}
            bounds["accept"] = (400, 401, 403, 404, 405, 410, 451)
            if request.data is not None:
                return outside.post(request.url, data=request.data, headers=headers, **bounds)
            return outside.get(request.url, headers=headers, attempts=2, follows=may_ask, **bounds)

    return Reader(
        {
            "quiet": True,
            "no_warnings": True,
            "logger": _Silent(),
            "skip_download": True,
            "ignore_no_formats_error": True,
            "noplaylist": True,
            "playlist_items": "1",
            "cachedir": False,
            "extractor_args": {"youtube": {"player_skip": ["js"], "skip": ["hls", "dash", "translated_subs"]}},
        }
    )


class _Silent:
    """yt-dlp talks to the terminal otherwise; what went wrong is in what it raises."""

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...


TASK = Task(
    name="video_preview",
    entity="files",
    version=1,  # results that name the fetched picture as their full size stand: to ask again takes seconds a page
    reads=("$.url", "youtube_api.previews"),
    run=run,
    condition=_condition,
    looks_up=lambda _subject, context: context.config.tasks.youtube,  # a page that led to YouTube may be followed now
    after=("youtube_api",),
    summary="A picture of a video page, by YouTube's API or yt-dlp, with two thumbnails.",
    publishes=(pictures.PREVIEWS,),
    picture="preview_small",
)
