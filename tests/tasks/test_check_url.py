# ruff: noqa: F401, F811 (fixtures are imported by their names)
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.config import SetSettings, Tasks, parse
from harvester_dagster.outside.bodies import Bodies
from harvester_dagster.outside.http import Outside
from harvester_dagster.store.database import Pool
from harvester_dagster.store.objects import Folder
from harvester_dagster.tasks import access_policy
from harvester_dagster.tasks.check_url import TASK, run
from harvester_dagster.tasks.task import Context, Item, Outcome, Result, Subject
from harvester_dagster.tasks.visibility import is_hidden
from harvester_dagster.vocabularies.trees import Vocabularies
from tests.outside.conftest import fetch_store, outside, pool, site
from tests.outside.hostile_site import Site, answer, by_method, endless, in_turn, redirect, silence

NIGHT = datetime(2026, 3, 1, 1, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def world(pool: Pool, outside: Outside, tmp_path: Path) -> Context:
    objects = Folder(tmp_path / "objects")
    return Context(
        key="sample:all",
        config=parse({}),
        settings=SetSettings(kind="oai-pmh", url="http://127.0.0.1/oai"),
        now=NIGHT,
        outside=outside,
        objects=objects,
        bodies=Bodies(pool, objects, outside, lambda: NIGHT),
        vocabularies=Vocabularies(()),
    )


def item(url: Any, previous: Result | None = None) -> Item:
    return Item(str(url).encode("utf-8", "replace"), Subject({"url": url}, {}), previous, f"sample:all:{url!s:.50}")


def look(world: Context, url: Any, previous: Result | None = None) -> Outcome:
    ((_item, outcome),) = TASK.run([item(url, previous)], world)
    return outcome


def stored(outcome: Outcome, world: Context) -> Result:
    return Result(outcome.kind, outcome.data, outcome.reason, outcome.due_at, 1, world.now)


def hidden(outcome: Outcome, world: Context) -> bool:
    return is_hidden(stored(outcome, world), world.config.tasks)


def nights(
    world: Context, url: str, count: int, gap: timedelta = DAY, previous: Result | None = None
) -> Iterator[Outcome]:
    """How the URL is looked at, night after night."""
    for _ in range(count):
        outcome = look(world, url, previous)
        yield outcome
        previous = stored(outcome, world)
        world = replace(world, now=world.now + gap)


def test_an_answer_is_a_success_until_it_is_checked_again(site: Site, world: Context) -> None:
    site["/a"] = redirect("/b", 301)
    site["/b"] = redirect("/c", 307)
    site["/c"] = answer(body=b"%PDF", Content_Type="Application/PDF; charset=utf-8", ETag='"1"')
    outcome = look(world, site.url("/a"))
    assert outcome.kind == "success"
    assert outcome.due_at == NIGHT + 30 * DAY
    assert outcome.data == {
        "url": site.url("/c"),
        "status": 200,
        "content_type": "application/pdf",
        "has_redirect": True,
        "has_temporary_redirect": True,
        "redirects": [{"status": 301, "url": site.url("/a")}, {"status": 307, "url": site.url("/b")}],
        "validator": '"1"',
        "error": None,
        "strikes": 0,
        "misses": 0,
    }


def test_a_second_look_at_the_same_says_the_same(site: Site, world: Context) -> None:
    """Else every re-check would make outputs and later tasks run anew. HEAD or GET, 200 or 206 make no difference."""
    fields = {"Last_Modified": "Sun, 01 Mar 2026 01:30:00 GMT", "Content_Type": "image/png"}
    site["/a"] = in_turn(
        answer(body=b"x" * 9, **fields),
        answer(405),
        answer(206, b"x", Content_Range="bytes 0-0/9", **fields),
    )
    first, second = nights(world, site.url("/a"), 2)
    assert first.data == second.data
    assert first.data and first.data["validator"] == "Sun, 01 Mar 2026 01:30:00 GMT;9"


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_is_hidden_at_once_and_looked_at_ever_more_rarely(site: Site, world: Context, status: int) -> None:
    site["/a"] = answer(status)
    outcomes = list(nights(world, site.url("/a"), 4, timedelta()))
    assert [outcome.kind for outcome in outcomes] == ["failure"] * 4
    assert all(hidden(outcome, world) for outcome in outcomes)
    assert [outcome.due_at - NIGHT for outcome in outcomes if outcome.due_at] == [DAY, 7 * DAY, 30 * DAY, 30 * DAY]


def test_what_comes_back_is_shown_again(site: Site, world: Context) -> None:
    site["/a"] = in_turn(answer(404), answer(404), answer(ETag='"1"'))
    *_, back = nights(world, site.url("/a"), 2)
    assert (back.kind, hidden(back, world)) == ("success", False)
    assert back.data and back.data["misses"] == 0


@pytest.mark.parametrize(("status", "kind"), [(401, "failure"), (403, "failure"), (500, "retry"), (503, "retry")])
def test_other_failures_hide_a_file_after_three_nights(site: Site, world: Context, status: int, kind: str) -> None:
    site["/a"] = answer(status)
    outcomes = list(nights(world, site.url("/a"), 4))
    assert [outcome.kind for outcome in outcomes] == [kind, kind, "failure", "failure"]
    assert [hidden(outcome, world) for outcome in outcomes] == [False, False, True, True]
    dues = [outcome.due_at for outcome in outcomes]
    assert dues == [NIGHT, NIGHT + DAY, NIGHT + 3 * DAY, NIGHT + 10 * DAY]


def test_strikes_count_calendar_days_of_the_installation(site: Site, world: Context) -> None:
    site["/a"] = answer(403)
    assert [hidden(outcome, world) for outcome in nights(world, site.url("/a"), 5, timedelta(minutes=10))] == [
        False
    ] * 5
    evening = replace(world, now=datetime(2026, 3, 1, 22, 30, tzinfo=UTC))
    first, second = nights(evening, site.url("/a"), 2, timedelta(hours=1))
    assert [outcome.data["strikes"] for outcome in (first, second) if outcome.data] == [1, 2], "midnight in Amsterdam"


def test_a_file_that_fails_for_a_night_stays_as_it_was(site: Site, world: Context) -> None:
    site["/a"] = answer(ETag='"1"', Content_Type="application/pdf")
    good = stored(look(world, site.url("/a")), world)
    site["/a"] = answer(503)
    first, second, third = nights(replace(world, now=NIGHT + 30 * DAY), site.url("/a"), 3, previous=good)
    for outcome in (first, second):
        assert outcome.kind == "success"
        assert outcome.due_at and outcome.due_at < NIGHT + 32 * DAY
        assert outcome.data and (outcome.data["validator"], outcome.data["status"]) == ('"1"', 200)
        assert "503" in outcome.reason
    assert (third.kind, hidden(third, world)) == ("failure", True)


def test_one_good_night_forgives_the_bad_ones(site: Site, world: Context) -> None:
    bad, good = answer(403), answer(ETag='"1"')
    site["/a"] = in_turn(bad, bad, bad, bad, good, bad, bad)
    outcomes = list(nights(world, site.url("/a"), 4))
    assert [outcome.data["strikes"] for outcome in outcomes if outcome.data] == [1, 2, 0, 1]


def test_what_is_gone_does_not_come_back_by_failing_otherwise(site: Site, world: Context) -> None:
    site["/a"] = in_turn(answer(404), answer(404), answer(503))
    gone, away = nights(world, site.url("/a"), 2)
    assert hidden(gone, world) and hidden(away, world)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "ftp://example.org/a",
            "http://me:secret@example.org/",
            "http://example.org/" + "a" * 9999,
        ),
        *("no URL", "", None, 7, ["http://example.org"], "http://a/\x00", "http://a/\ud800", "http://169.254.169.254/"),
        *("http://[::1", "http://10.0.0.1/", "http://bücher.invalid/", "http://xn--a.invalid/"),
    ],
)
def test_hostile_urls_are_outcomes_and_leave_the_others_alone(site: Site, world: Context, url: Any) -> None:
    site["/a"] = answer(ETag='"1"')
    outcomes = {one.srn: outcome for one, outcome in TASK.run([item(url), item(site.url("/a"))], world)}
    bad, good = outcomes[item(url).srn], outcomes[item(site.url("/a")).srn]
    assert bad.kind in ("failure", "retry")
    assert bad.reason
    assert "secret" not in bad.reason
    assert good.kind == "success"


def test_a_circle_and_a_redirect_inside_are_outcomes_with_their_chain(site: Site, world: Context) -> None:
    site["/a"] = redirect("/a")
    site["/b"] = redirect("http://127.0.0.2/")
    circle, inside = look(world, site.url("/a")), look(world, site.url("/b"))
    assert circle.data and (circle.data["error"], circle.data["has_redirect"]) == ("loop", True)
    assert inside.data and inside.data["error"] == "private-address"


def test_a_set_that_is_not_checked_succeeds_without_a_request(site: Site, world: Context) -> None:
    trusting = replace(world, settings=world.settings.model_copy(update={"check_urls": False}))
    outcome = look(trusting, site.url("/a"))
    assert (outcome.kind, outcome.due_at) == ("success", None)
    assert outcome.data and (outcome.data["status"], outcome.data["url"]) == (203, site.url("/a"))
    assert site.asked == []
    assert TASK.looks_up
    subject = Subject({"url": site.url("/a")}, {})
    assert TASK.looks_up(subject, trusting) != TASK.looks_up(subject, world), "a set that is checked has its own result"


@pytest.mark.parametrize("host", ["www.youtube.com", "youtu.be"])
def test_youtube_is_not_asked_when_it_is_switched_off(
    host: str, site: Site, pool: Pool, world: Context, tmp_path: Path
) -> None:
    """YouTube's names lead to the local server, so that a request would be seen."""
    here = Outside(allow_hosts=("127.0.0.1", host), per_host_per_second=0, resolve=lambda _host, _port: ["127.0.0.1"])
    video, moved = site.url("/watch", host), site.url("/moved")
    site["/watch"] = answer(body=b"a page")
    site["/moved"] = redirect(video)
    with here:
        allowed = replace(world, outside=here, bodies=Bodies(pool, world.objects, here, lambda: NIGHT))
        private = replace(allowed, config=parse({"tasks": {"youtube": False}}))
        assert seen_status(look(private, video)) == 203
        assert site.asked == []
        hop = look(private, moved)
        assert seen_status(hop) == 203
        assert hop.data and [one["url"] for one in hop.data["redirects"]] == [moved]
        assert {one.path for one in site.asked} == {"/moved"}
        follower = Subject({"url": moved, "access_rights": "OpenAccess"}, {"check_url": stored(hop, world)})
        assert "YouTube" in (access_policy.content_refused(follower, private) or "")
        assert TASK.looks_up
        assert TASK.looks_up(Subject({"url": video}, {}), private) != TASK.looks_up(
            Subject({"url": video}, {}), allowed
        )
        assert seen_status(look(allowed, moved)) == 200
        assert site.count("/watch")


def seen_status(outcome: Outcome) -> Any:
    assert outcome.kind == "success", outcome.reason
    return (outcome.data or {})["status"]


def test_without_a_validator_the_body_is_compared(site: Site, world: Context) -> None:
    site["/a"] = answer(body=b"one")
    first = look(world, site.url("/a"))
    assert first.data and first.data["validator"] is None
    world.bodies.get(site.url("/a"), None)
    same = look(world, site.url("/a"), stored(first, world))
    assert same.data == first.data
    site["/a"] = answer(body=b"two")
    changed = look(world, site.url("/a"), stored(same, world))
    assert changed.data and changed.data["validator"]
    assert world.bodies.get(site.url("/a"), changed.data["validator"]).path.read_bytes() == b"two"


def test_one_url_is_looked_at_once_for_all_who_have_it(site: Site, world: Context) -> None:
    site["/a"] = answer(ETag='"1"')
    items = [item(site.url("/a"))._replace(fingerprint=bytes([number])) for number in range(5)]
    assert len(list(TASK.run(items, world))) == 5
    assert len(site.asked) == 1


def test_a_slow_host_does_not_hold_up_the_others(world: Context) -> None:
    slow, quick = Site("127.0.0.1"), Site("127.0.0.2")
    done = threading.Event()

    def wait(connection: Any, asked: Any) -> None:
        done.wait(10)
        answer(ETag='"1"')(connection, asked)

    for number in range(80):
        slow[f"/{number}"], quick[f"/{number}"] = wait, answer(ETag='"1"')
    urls = [site.url(f"/{number}") for number in range(80) for site in (slow, quick)]
    with Outside(allow_hosts=("127.0.0.1", "127.0.0.2"), per_host_per_second=0) as both:
        first: list[str] = []
        for one, _outcome in TASK.run([item(url) for url in urls], replace(world, outside=both)):
            first.append(str(one.subject.properties["url"]))
            if len(first) == 80:
                done.set()
    slow.close(), quick.close()
    assert len(first) == 160
    assert all("127.0.0.2" in url for url in first[:80])


def test_a_host_that_is_away_is_not_asked_for_each_of_its_files(world: Context) -> None:
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return []

    with Outside(per_host_per_second=0, resolve=resolve) as nowhere:
        outcomes = list(
            TASK.run([item(f"http://gone.example/{n}") for n in range(200)], replace(world, outside=nowhere))
        )
    assert len(outcomes) == 200
    assert all(outcome.data and outcome.data["strikes"] == 1 for _, outcome in outcomes)
    assert len(asked) < 10


def test_files_of_a_host_that_hangs_are_put_off_without_a_strike(
    site: Site,
    world: Context,
) -> None:
    for number in range(60):
        site[f"/{number}"] = silence
    began = time.monotonic()
    outcomes = [outcome for _, outcome in run([item(site.url(f"/{n}")) for n in range(60)], world, seconds=0.2)]
    assert time.monotonic() - began < 5
    late = [outcome for outcome in outcomes if outcome.data]
    assert 5 <= len(late) <= 12
    assert all(outcome.data is None and outcome.kind == "retry" for outcome in outcomes if outcome not in late)


def test_what_is_put_off_stays_as_it_was(site: Site, world: Context) -> None:
    gone = stored(look(world, site.url("/none")), world)
    for number in range(30):
        site[f"/{number}"] = silence
    items = [item(site.url(f"/{number}"), gone) for number in range(30)]
    put_off = [outcome for _, outcome in run(items, world, seconds=0.2) if outcome.reason.startswith("put off")]
    assert len(put_off) > 15
    assert all((outcome.kind, outcome.data, outcome.due_at) == ("failure", gone.data, NIGHT) for outcome in put_off)


def test_our_own_full_disk_is_no_strike(site: Site, world: Context) -> None:
    site["/a"] = answer(body=b"one")
    first = look(world, site.url("/a"))
    world.bodies.get(site.url("/a"), None)
    world.objects.scratch.rmdir()
    world.objects.scratch.write_text("no folder any more")
    outcome = look(world, site.url("/a"), stored(first, world))
    assert (outcome.kind, outcome.data) == ("success", first.data)
    assert outcome.reason.startswith("put off")


def test_a_get_does_not_read_an_endless_body(site: Site, world: Context) -> None:
    site["/a"] = by_method(HEAD=answer(405), GET=endless)
    assert look(world, site.url("/a")).kind == "success"


def test_the_settings_say_how_long_and_how_often(site: Site, world: Context) -> None:
    config = parse({"tasks": {"recheck_days": 2, "recheck_missing_days": [3], "dead_after_nights": 1}})
    site["/a"], site["/b"] = answer(ETag='"1"'), answer(403)
    mine = replace(world, config=config)
    assert look(mine, site.url("/a")).due_at == NIGHT + 2 * DAY
    dead = look(mine, site.url("/b"))
    assert (dead.kind, dead.due_at, hidden(dead, mine)) == ("failure", NIGHT + 3 * DAY, True)
    assert Tasks().dead_after_nights == 3
