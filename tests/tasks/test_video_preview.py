import io
import itertools
import json
import multiprocessing
import time
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from harvester_dagster.tasks import pictures, video_preview
from harvester_dagster.tasks.task import Context, Item, Outcome, Result, Subject
from harvester_dagster.tasks.video_preview import TASK, await_turn, look_at, page_of
from tests.tasks.content_site import NOW, Site, item, subject, with_tasks

run = partial(video_preview.run, look=partial(look_at, between=(0.0, 0.0)))
"""The task in a hurry."""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))


@pytest.fixture
def here(world: Context) -> Context:
    return with_tasks(world, video_hosts=["127.0.0.1", "youtube.com"])


def picture(size: tuple[int, int] = (1280, 720)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "green").save(out, "JPEG")
    return out.getvalue()


def page(site: Site, name: str, thumbnail: str) -> str:
    video = {
        "@context": "https://schema.org",
        "@type": "VideoObject",
        "name": "Wondzorg",
        "description": "Hoe",
        "duration": "PT1M30S",
        "thumbnailUrl": thumbnail,
        "contentUrl": f"{site.url}/{name}.mp4",
        "uploadDate": "2020-01-01",
    }
    html = f'<html><head><script type="application/ld+json">{json.dumps(video)}</script></head><body>…</body></html>'
    return site.add(name, html.encode(), "text/html; charset=utf-8")


def outcome(url: str, world: Context) -> Outcome:
    ((_, found),) = run([item(url)], world)
    return found


def test_the_picture_of_a_video_page(site: Site, here: Context) -> None:
    url = page(site, "video", site.add("thumb.jpg", picture(), "image/jpeg"))
    found = outcome(url, here)
    assert found.kind == "success", found.reason
    assert found.data
    assert (found.data["source"], found.data["title"], found.data["duration"]) == ("yt-dlp", "Wondzorg", 90)
    sizes = {name: Image.open(here.objects.path(found.data[name])).size for name in pictures.SIZES}
    assert (sizes["preview"], sizes["preview_small"]) == ((400, 225), (200, 113))
    assert sizes["full_size"] == Image.open(io.BytesIO(site.files["/thumb.jpg"][1])).size
    assert "bodies/" not in str(found.data)
    assert site.asked["/video.mp4"] == 0


def test_a_page_that_embeds_youtube_asks_nothing_there_when_it_is_switched_off(site: Site, world: Context) -> None:
    frame = '<iframe src="https://www.youtube.com/embed/dQw4w9WgXcQ"></iframe>'
    url = site.add("embeds", f"<html><body>{frame}</body></html>".encode(), "text/html; charset=utf-8")
    found = outcome(url, with_tasks(world, video_hosts=["127.0.0.1"], youtube=False))
    assert found.kind == "empty"
    assert "tasks.youtube" in found.reason


def named(url: str, thumbnail: str) -> Item:
    """A file of which youtube_api has named a picture."""
    known = Result("success", {"previews": {"full_size": thumbnail}}, "", None, 1, NOW)
    return Item(b"1", Subject({"url": url}, {"youtube_api": known}), None, "sample:all:1")


def test_a_picture_at_youtube_is_not_fetched_when_it_is_switched_off(world: Context) -> None:
    quiet = with_tasks(world, video_hosts=["vimeo.com"], youtube=False)
    ((_, found),) = run([named("https://vimeo.com/1", "https://i.ytimg.com/vi/dQw4w9WgXcQ/hq.jpg")], quiet)
    assert (found.kind, found.reason) == ("empty", f"its picture: {video_preview.NOT_ASKED}")


def test_the_picture_that_youtube_api_named_needs_no_page(site: Site, here: Context) -> None:
    thumbnail = site.add("named.jpg", picture(), "image/jpeg")
    ((_, found),) = run([named("https://www.youtube.com/watch?v=dQw4w9WgXcQ", thumbnail)], here)
    assert found.kind == "success", found.reason
    assert found.data
    assert found.data["source"] == "youtube_api"
    assert site.asked == {"/named.jpg": 1}


def test_no_preview_is_fine(site: Site, here: Context) -> None:
    blank = site.add("blank", b"<html><body>no video</body></html>", "text/html")
    assert outcome(blank, here).kind == "empty"
    assert outcome(f"{site.url}/gone", here).kind == "empty"
    assert outcome(page(site, "lost", f"{site.url}/gone.jpg"), here).kind == "empty"
    assert outcome(page(site, "noise", site.add("noise.jpg", b"\x00" * 99)), here).kind == "empty"


def test_an_unreachable_page_comes_back(here: Context) -> None:
    found = outcome("http://127.0.0.1:9/video", here)
    assert (found.kind, found.data) == ("retry", None)


def test_a_page_sends_nobody_to_a_private_address(site: Site, here: Context) -> None:
    inside = Site("127.0.0.2")
    try:
        thumbnail = inside.add("secret.jpg", picture(), "image/jpeg")
        found = outcome(page(site, "evil", thumbnail), here)
        assert found.kind == "empty"
        assert not inside.asked
        inner = with_tasks(here, video_hosts=["127.0.0.2"])
        assert outcome(page(inside, "inner", thumbnail), inner).kind == "empty"
        assert not inside.asked
    finally:
        inside.stop()


def test_one_page_is_asked_once_for_all_playlists(here: Context) -> None:
    asked: list[str] = []
    urls = [f"https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PL{number}&index={number}" for number in range(3)]
    found = video_preview.run([item(url) for url in urls], here, look=lambda page, _: asked.append(page))
    assert [outcome.kind for _, outcome in found] == ["empty"] * 3
    assert asked == ["https://www.youtube.com/watch?v=dQw4w9WgXcQ"]


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://youtu.be/a?list=PL1&t=3", "https://youtu.be/a?t=3"),
        ("https://www.youtube.com/watch?index=2&v=a&list=b", "https://www.youtube.com/watch?v=a"),
        ("https://vimeo.com/1?list=b", "https://vimeo.com/1?list=b"),
    ],
)
def test_only_youtube_loses_its_playlist(url: str, asked: str) -> None:
    assert page_of(url) == asked


def take_turns(turn: Path, times: int, between: tuple[float, float], found: "multiprocessing.Queue[float]") -> None:
    for _ in range(times):
        await_turn(turn, between)
        found.put(time.time())


@pytest.mark.service
def test_turns_hold_across_processes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    found: multiprocessing.Queue[float] = context.Queue()
    arguments = (tmp_path / "turn", 3, (0.2, 0.3), found)
    processes = [context.Process(target=take_turns, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    moments = sorted(found.get(timeout=20) for _ in range(9))
    for process in processes:
        process.join(10)
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert min(gaps) > 0.19


@pytest.mark.parametrize("left", ["", "nonsense", "99999999999", "-5"])
def test_whatever_the_turn_file_holds_nobody_waits_for_ever(left: str, tmp_path: Path) -> None:
    turn = tmp_path / "turn"
    turn.write_text(left)
    started = time.monotonic()
    await_turn(turn, (0.0, 0.0))
    assert time.monotonic() - started < 5
    assert float(turn.read_text()) == pytest.approx(time.time(), abs=5)


def test_when_it_applies(world: Context) -> None:
    condition = TASK.condition
    assert condition(subject("https://vimeo.com/1"), world) is None
    assert condition(subject("https://player.vimeo.com/video/1"), world) is None
    assert condition(subject("https://youtu.be/a"), world) is None
    assert "tasks.video_hosts" in (condition(subject("https://example.org/video"), world) or "")
    quiet = with_tasks(world, youtube=False)
    assert "tasks.youtube" in (condition(subject("https://youtu.be/a"), quiet) or "")
    assert condition(subject("https://vimeo.com/1"), quiet) is None
