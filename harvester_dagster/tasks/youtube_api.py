"""The task `youtube_api`: what YouTube's Data API (v3, `videos`) says about a video: duration, embedding, pictures.

Belongs here: the id in a URL, one request for 50 ids, and reading its answer. The API's address comes from
`HARVESTER_YOUTUBE_API_URL` where it is not YouTube's own (a test, a proxy).
Does not belong here: fetching pictures (`video_preview`).
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from harvester_dagster.config import secret
from harvester_dagster.failures import OutsideError
from harvester_dagster.tasks import index_values
from harvester_dagster.tasks.access_policy import is_youtube
from harvester_dagster.tasks.once_per_body import outcome_of
from harvester_dagster.tasks.published import PublishedField
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task

ADDRESS = "https://www.googleapis.com/youtube/v3"
IDS_A_CALL = 50
_QUOTA_ZONE = ZoneInfo("America/Los_Angeles")
_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_EMBED_SOURCE = re.compile(r'\bsrc=\\?"([^"\\]+)')
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_IN_PATH = ("embed", "shorts", "live", "v", "e")


def video_id(url: str) -> str | None:
    """The id in any of YouTube's URL forms; None for channels, playlists and other hosts."""
    if not is_youtube(url):
        return None
    parts = urlsplit(url)
    steps = [step for step in parts.path.split("/") if step]
    candidates = [*parse_qs(parts.query).get("v", [])]
    if (parts.hostname or "").endswith("youtu.be"):
        candidates += steps[:1]
    elif len(steps) > 1 and steps[0] in _IN_PATH:
        candidates.append(steps[1])
    return next((found for found in candidates if _ID.fullmatch(found)), None)


def quota_reset(now: datetime) -> datetime:
    """The next midnight on the Pacific coast (as an aware time), when the day's quota is given anew."""
    local = now.astimezone(_QUOTA_ZONE)
    midnight = datetime(local.year, local.month, local.day, tzinfo=_QUOTA_ZONE) + timedelta(days=1)
    return midnight.astimezone(now.tzinfo)


def _condition(subject: Subject, context: Context) -> str | None:
    settings = context.config.tasks
    if video_id(str(subject.properties.get("url") or "")) is None:
        return "not a YouTube video"
    if not settings.youtube:
        return "contact with YouTube is switched off (tasks.youtube)"
    if not secret(settings.youtube_api_key_env):
        return f"no key for YouTube's API (environment variable {settings.youtube_api_key_env})"
    return None


def run(items: Sequence[Item], context: Context) -> Iterator[tuple[Item, Outcome]]:
    """Ask YouTube for the videos, fifty with a call; a call that fails is the outcome of all that it asked for."""
    by_id: dict[str, list[Item]] = {}
    for item in items:
        by_id.setdefault(video_id(str(item.subject.properties["url"])) or "", []).append(item)
    ids = sorted(by_id)
    for start in range(0, len(ids), IDS_A_CALL):
        asked = ids[start : start + IDS_A_CALL]
        answered = _ask(asked, context)
        for name in asked:
            outcome = answered if isinstance(answered, Outcome) else _outcome(answered.get(name))
            yield from ((item, outcome) for item in by_id[name])


def _ask(ids: Sequence[str], context: Context) -> Mapping[str, Any] | Outcome:
    """The found videos by id, or the outcome that the whole call had."""
    address = os.environ.get("HARVESTER_YOUTUBE_API_URL") or ADDRESS
    try:
        answer = context.outside.get(
            f"{address}/videos",
            params={"part": "snippet,player,contentDetails,status", "id": ",".join(ids), "maxResults": str(IDS_A_CALL)},
            # A header, because a URL is logged and kept.
            headers={"X-Goog-Api-Key": secret(context.config.tasks.youtube_api_key_env) or ""},
            max_bytes=8 << 20,
            accept=(400, 403),
        )
    except OutsideError as error:
        return outcome_of(error, context)
    try:
        found = json.loads(answer.body)
        if answer.status >= 400:
            return _refused(answer.status, found["error"], context)
        return {str(video["id"]): video for video in found["items"]}
    except (ValueError, KeyError, TypeError):
        return Outcome("retry", reason=f"YouTube's API answered {answer.status} with something that is no video list")


def _refused(status: int, error: Mapping[str, Any], context: Context) -> Outcome:
    """Never a document's fault: a spent quota comes back at night, a wrong key when somebody mends it."""
    reasons = {str(one.get("reason")) for one in error.get("errors", ())} or {str(error.get("status"))}
    if reasons & {"quotaExceeded", "dailyLimitExceeded"}:
        return Outcome("retry", reason="YouTube's quota of the day is spent", due_at=quota_reset(context.now))
    return Outcome("retry", reason=f"YouTube's API refused the call ({status} {', '.join(sorted(reasons))})"[:200])


def _outcome(video: Mapping[str, Any] | None) -> Outcome:
    if video is None:
        return Outcome("empty", reason="YouTube has no such video, or does not show it")
    snippet, details = video.get("snippet") or {}, video.get("contentDetails") or {}
    status, player = video.get("status") or {}, video.get("player") or {}
    embed = _EMBED_SOURCE.search(str(player.get("embedHtml") or ""))
    return Outcome(
        "success",
        {
            "video_id": video["id"],
            "title": snippet.get("title"),
            "description": snippet.get("description"),
            "duration": details.get("duration"),
            "duration_seconds": _seconds(details.get("duration")),
            "embed_url": _absolute(embed[1]) if embed else None,
            "definition": details.get("definition"),
            "license": status.get("license"),
            "previews": _previews(snippet.get("thumbnails") or {}),
        },
    )


def _absolute(address: str) -> str:
    return f"https:{address}" if address.startswith("//") else address


def _seconds(duration: object) -> int | None:
    """`PT1H2M3S` as seconds."""
    found = _DURATION.fullmatch(str(duration or ""))
    if not found or not any(found.groups()):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _previews(offered: Mapping[str, Any]) -> dict[str, str] | None:
    """YouTube's own pictures as our three sizes: the largest, and the smallest that fills each thumbnail."""
    by_width = sorted((int(one.get("width") or 0), str(one["url"])) for one in offered.values() if one.get("url"))
    if not by_width:
        return None

    def at_least(width: int) -> str:
        return next((url for size, url in by_width if size >= width), by_width[-1][1])

    return {"full_size": by_width[-1][1], "preview": at_least(400), "preview_small": at_least(200)}


_TEXT = {"$ref": "#/$defs/text"}
_SHOWN: Mapping[str, Any] = {
    "duration": {"type": ["string", "number", "null"]},
    "embed_url": _TEXT,
    "description": _TEXT,
    "definition": _TEXT,
    "license": _TEXT,
}


def _indexed(video: Mapping[str, Any]) -> dict[str, Any] | None:
    duration = index_values.duration(video.get("duration"))
    embed_url = index_values.web_address(video.get("embed_url"))
    return {"duration": duration, "embed_url": embed_url} if duration and embed_url else None


VIDEO = PublishedField(
    "video",
    {"description": "What the video's platform says about it.", "type": "object", "properties": _SHOWN},
    value=lambda data: {name: data.get(name) for name in _SHOWN},
    optional=True,
    place="main",
    index_form=_indexed,
)

TASK = Task(
    name="youtube_api",
    entity="files",
    version=1,
    reads=("$.hash", "$.url"),
    run=run,
    condition=_condition,
    summary="What YouTube's Data API says about a video: duration, embedding, licence, pictures.",
    publishes=(VIDEO,),
)
