import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from harvester_dagster.tasks.task import Context
from harvester_dagster.tasks.youtube_api import TASK, quota_reset, video_id
from tests.tasks.content_site import NOW, item, subject, with_tasks


class Api:
    """The Data API as its reference describes it: knows every video whose id does not begin with `x`."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.refusal: tuple[int, dict[str, Any]] | None = None
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = parse_qs(urlsplit(self.path).query)["id"][0].split(",")
                api.calls.append(asked)
                api.paths.append(self.path)
                api.keys.append(self.headers.get("X-Goog-Api-Key"))
                found = {"items": [video(one) for one in asked if not one.startswith("x")]}
                status, answer = api.refusal or (200, found)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/youtube/v3"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def video(name: str) -> dict[str, Any]:
    sizes = {"default": 120, "medium": 320, "high": 480, "standard": 640, "maxres": 1280}
    return {
        "id": name,
        "snippet": {
            "title": "Wondzorg",
            "description": "Hoe een wond verzorgd wordt",
            "thumbnails": {
                size: {"url": f"https://i.ytimg.com/vi/{name}/{size}.jpg", "width": width}
                for size, width in sizes.items()
            },
        },
        "contentDetails": {"duration": "PT1H2M3S", "definition": "hd"},
        "status": {"license": "creativeCommon"},
        "player": {"embedHtml": f'<iframe width="480" src="//www.youtube.com/embed/{name}" frameborder="0"></iframe>'},
    }


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    served = Api()
    monkeypatch.setenv("HARVESTER_YOUTUBE_API_URL", served.url)
    monkeypatch.setenv("YOUTUBE_API_KEY", "the-key")
    yield served
    served.stop()


def watch(name: str) -> str:
    return f"https://www.youtube.com/watch?v={name}"


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        "https://m.youtube.com/watch?list=PL1&v=dQw4w9WgXcQ&t=8s",
        "https://youtu.be/dQw4w9WgXcQ?t=3",
        "https://www.youtube.com/embed/dQw4w9WgXcQ?rel=0",
        "https://www.youtube.com/shorts/dQw4w9WgXcQ",
        "https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ",
        "HTTPS://YouTube.com/live/dQw4w9WgXcQ",
    ],
)
def test_the_id_in_every_form_of_url(url: str) -> None:
    assert video_id(url) == "dQw4w9WgXcQ"


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/@channel",
        "https://www.youtube.com/playlist?list=PL0123456789",
        "https://www.youtube.com/watch?v=short",
        "https://vimeo.com/watch?v=dQw4w9WgXcQ",
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ%2Cothers",
        "https://youtu.be/",
        "",
    ],
)
def test_no_id_elsewhere(url: str) -> None:
    assert video_id(url) is None


def test_what_the_api_says_of_a_video(api: Api, world: Context) -> None:
    ((_, outcome),) = TASK.run([item(watch("dQw4w9WgXcQ"))], world)
    assert outcome.kind == "success"
    assert outcome.data == {
        "video_id": "dQw4w9WgXcQ",
        "title": "Wondzorg",
        "description": "Hoe een wond verzorgd wordt",
        "duration": "PT1H2M3S",
        "duration_seconds": 3723,
        "embed_url": "https://www.youtube.com/embed/dQw4w9WgXcQ",
        "definition": "hd",
        "license": "creativeCommon",
        "previews": {
            "full_size": "https://i.ytimg.com/vi/dQw4w9WgXcQ/maxres.jpg",
            "preview": "https://i.ytimg.com/vi/dQw4w9WgXcQ/high.jpg",
            "preview_small": "https://i.ytimg.com/vi/dQw4w9WgXcQ/medium.jpg",
        },
    }
    assert "part=snippet%2Cplayer%2CcontentDetails%2Cstatus" in api.paths[0]


def test_fifty_ids_a_call_each_once(api: Api, world: Context) -> None:
    names = [f"{number:011d}" for number in range(120)]
    items = [item(watch(name)) for name in names] + [item(f"https://youtu.be/{name}") for name in names[:30]]
    found = list(TASK.run(items, world))
    assert sorted(map(len, api.calls)) == [20, 50, 50]
    assert len(found) == 150
    assert {outcome.kind for _, outcome in found} == {"success"}
    assert all(one.srn.endswith(str(outcome.data and outcome.data["video_id"])) for one, outcome in found)


def test_no_item_is_empty(api: Api, world: Context) -> None:
    found = {
        one.srn[-11:]: outcome.kind for one, outcome in TASK.run([item(watch("x" * 11)), item(watch("y" * 11))], world)
    }
    assert found == {"x" * 11: "empty", "y" * 11: "success"}


def test_a_spent_quota_comes_back_at_midnight_pacific(api: Api, world: Context) -> None:
    api.refusal = (403, {"error": {"code": 403, "errors": [{"reason": "quotaExceeded"}]}})
    ((_, outcome),) = TASK.run([item(watch("dQw4w9WgXcQ"))], world)
    assert (outcome.kind, outcome.due_at) == ("retry", datetime(2026, 3, 1, 8, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (400, {"error": {"errors": [{"reason": "badRequest"}], "status": "INVALID_ARGUMENT"}}),
        (403, {"error": {"errors": [{"reason": "accessNotConfigured"}]}}),
        (403, "<html>proxy</html>"),
        (200, ["not what is documented"]),
        (500, {}),
    ],
)
def test_no_refusal_is_a_documents_fault(status: int, answer: Any, api: Api, world: Context) -> None:
    api.refusal = (status, answer)
    ((_, outcome),) = TASK.run([item(watch("dQw4w9WgXcQ"))], world)
    assert outcome.kind == "retry"
    assert outcome.reason


def test_the_key_travels_in_a_header_and_stays_out_of_what_is_kept(api: Api, world: Context) -> None:
    api.refusal = (403, {"error": {"errors": [{"reason": "forbidden"}]}})
    ((_, outcome),) = TASK.run([item(watch("dQw4w9WgXcQ"))], world)
    assert api.keys == ["the-key"]
    assert "the-key" not in api.paths[0]
    assert "the-key" not in repr(outcome)


@pytest.mark.parametrize("moment", [datetime(2026, 7, 1, 6, 59, tzinfo=UTC), datetime(2026, 7, 1, 7, 1, tzinfo=UTC)])
def test_the_quotas_day_ends_in_summer_at_seven(moment: datetime) -> None:
    reset = quota_reset(moment)
    assert moment < reset
    assert reset.hour == 7


def test_when_it_applies(world: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    here = subject(watch("dQw4w9WgXcQ"))
    monkeypatch.delenv("YOUTUBE_API_KEY", raising=False)
    assert "YOUTUBE_API_KEY" in (TASK.condition(here, world) or "")
    monkeypatch.setenv("YOUTUBE_API_KEY", "the-key")
    assert TASK.condition(here, world) is None
    assert "tasks.youtube" in (TASK.condition(here, with_tasks(world, youtube=False)) or "")
    assert TASK.condition(subject("https://www.youtube.com/@channel"), world) == "not a YouTube video"
    assert NOW.tzinfo is not None
