"""A night's barrier: which runs are awaited, when its release is due, and what people are told."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from unittest.mock import ANY

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolTimeout

from harvester_dagster.cli.night import begun, short_of_time
from harvester_dagster.config import Config, parse
from harvester_dagster.explain import night_report
from harvester_dagster.releases import alerts, day_work, missing_nights, nights, release, stopping
from harvester_dagster.releases.missing_nights import MissingNights
from harvester_dagster.releases.nights import Due, Night, ReleaseFailure, RunState
from harvester_dagster.releases.stopping import NoNight
from harvester_dagster.sets import steps
from harvester_dagster.sets.locked_set import lock_set
from harvester_dagster.store.database import making
from tests.sets.conftest import OpenWorld
from tests.sets.world import KEY, World

ONE, TWO = "src:one", "src:two"


def opened(world: World, tick: datetime | None = None) -> Night:
    with world.installation.pool.connection() as connection:
        return nights.open_night(connection, world.installation.config, world.now, tick)


def due(world: World, night: Night, **runs: RunState) -> Due:
    with world.installation.pool.connection() as connection:
        expected = nights.expected(connection, night.night_id)
    return nights.due(night, expected, {f"src:{name}": state for name, state in runs.items()}, world.now)


@pytest.mark.parametrize(
    ("now", "deadline"),
    [
        (datetime(2026, 3, 1, 0, 0, tzinfo=UTC), datetime(2026, 3, 1, 5, 0, tzinfo=UTC)),  # 01:00 in Amsterdam
        (datetime(2026, 3, 1, 5, 0, tzinfo=UTC), datetime(2026, 3, 2, 5, 0, tzinfo=UTC)),  # at the deadline: the next
        (datetime(2026, 3, 28, 23, 0, tzinfo=UTC), datetime(2026, 3, 29, 4, 0, tzinfo=UTC)),  # the clock is put forward
        (datetime(2026, 7, 1, 21, 59, tzinfo=UTC), datetime(2026, 7, 2, 4, 0, tzinfo=UTC)),
    ],
)
def test_the_deadline_is_a_time_of_day_in_the_zone_of_the_installation(now: datetime, deadline: datetime) -> None:
    assert nights.next_deadline(Config(), now) == deadline
    assert nights.next_deadline(parse({"timezone": "UTC"}), now).astimezone(UTC).hour == 6


@pytest.mark.parametrize(
    ("now", "deadline"),
    [
        ("2026-10-25T00:15Z", "2026-10-25T00:30Z"),  # 02:15 the first time: 02:30 is shown twice, first now
        ("2026-10-25T00:30Z", "2026-10-25T01:30Z"),
        ("2026-10-25T01:15Z", "2026-10-25T01:30Z"),  # 02:15 the second time
        ("2026-10-25T01:30Z", "2026-10-26T01:30Z"),
        ("2026-03-29T00:15Z", "2026-03-29T01:30Z"),  # 01:15: there is no 02:30, the clock then shows 03:30
        ("2026-03-29T01:45Z", "2026-03-30T00:30Z"),
    ],
)
def test_a_deadline_in_an_hour_that_happens_twice_or_never(now: str, deadline: str) -> None:
    config = parse({"night": {"deadline": "02:30"}})
    assert nights.next_deadline(config, datetime.fromisoformat(now)) == datetime.fromisoformat(deadline)


ZONES = ("Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Gaza", "UTC")


@given(
    st.sampled_from(ZONES),
    st.times(timezones=st.none()),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
)
def test_a_deadline_is_never_at_or_before_its_nights_opening(zone: str, deadline: time, now: datetime) -> None:
    config = parse({"timezone": zone, "night": {"deadline": f"{deadline:%H:%M}"}})
    found = nights.next_deadline(config, now)
    assert timedelta(0) < found - now <= timedelta(hours=25)
    assert nights.next_deadline(config, now.astimezone(config.zone)) == found, "in whatever zone the moment is told"
    shown = found.astimezone(config.zone)
    assert f"{shown:%H:%M}" >= f"{deadline:%H:%M}"
    assert (found - now).total_seconds() > 0


@pytest.mark.parametrize(("minutes", "said"), [(9, "9 minutes: at 06:00"), (59, "59 minutes"), (60, None), (300, None)])
def test_a_night_that_is_begun_shortly_before_its_deadline_says_so(minutes: int, said: str | None) -> None:
    config = Config()
    deadline = datetime(2026, 11, 28, 5, tzinfo=UTC)
    opened_at = deadline - timedelta(minutes=minutes)
    night = Night(1, opened_at, nights.next_deadline(config, opened_at), None, None, None)
    warning = short_of_time(night, config.zone)
    assert warning == "" if said is None else said in warning


def test_the_store_takes_no_night_that_is_over_when_it_opens(world: World) -> None:
    opened(world)
    with pytest.raises(psycopg.errors.CheckViolation):
        world.change("UPDATE night SET deadline_at = opened_at")


def test_times_of_the_store_are_moments_whatever_its_zone(world: World) -> None:
    """Times of one zone are compared without their offset: an hour that happens twice came out equal."""
    world.change("SELECT set_config('timezone', 'Europe/Amsterdam', true)")
    assert world.one("SELECT current_setting('timezone')") == "UTC"
    night = opened(world, datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    assert night.opened_at.utcoffset() == timedelta(0)


def test_a_night_expects_every_set_of_the_configuration(open_world: OpenWorld) -> None:
    open_world()
    world = open_world(sets=["two"])
    night = opened(world)
    with world.installation.pool.connection() as connection:
        assert nights.expected(connection, night.night_id) == [TWO], "the retired one is not"
    assert night.ended_at is None


def test_a_tick_is_one_night_whoever_opens_it_first(world: World) -> None:
    tick = world.now
    with ThreadPoolExecutor(8) as at_once:
        found = set(at_once.map(lambda _: opened(world, tick), range(8)))
    assert len(found) == 1
    assert world.one("SELECT count(*) FROM night") == 1
    assert world.one("SELECT count(*) FROM night_set") == 2
    assert opened(world, tick + timedelta(days=1)).night_id not in {night.night_id for night in found}


def test_a_night_is_named_before_it_is_opened(world: World) -> None:
    tick = datetime(2026, 3, 1, 1, 0, tzinfo=world.installation.config.zone)
    to_come = nights.to_come(world.installation.config, tick, world.now)
    assert opened(world, tick).name == to_come.name == "2026-03-01T00:00:00+00:00"
    by_hand = opened(world)
    assert by_hand.name == str(by_hand.night_id)


def test_the_release_is_due_when_every_run_has_ended_however_it_ended(world: World) -> None:
    night = opened(world, world.now)
    assert not due(world, night, one="waiting", two="running").release
    assert not due(world, night, one="success", two="running").release
    assert due(world, night, one="success", two="failure") == Due((), True, ())


def test_runs_that_never_came_are_requested_again_after_a_while(world: World) -> None:
    night = opened(world, world.now)
    assert due(world, night, one="running").missing == (), "the tick creates them"
    world.forward(nights.SCHEDULE_GRACE)
    assert due(world, night, one="running").missing == (TWO,)
    assert not due(world, night, one="success").release, "the number expected is known"


def test_runs_of_a_night_by_hand_are_requested_at_once(world: World) -> None:
    assert due(world, opened(world)).missing == (ONE, TWO)


def test_a_tick_that_came_late_has_its_whole_night(world: World) -> None:
    tick = world.now
    world.at(nights.next_deadline(world.installation.config, tick) + timedelta(hours=1))
    assert opened(world, tick).deadline_at > world.now, "the daemon was down until after the deadline"


def test_at_the_deadline_the_release_goes_on_without_those_that_are_not_ready(world: World) -> None:
    night = opened(world)
    world.at(night.deadline_at - timedelta(seconds=1))
    assert not due(world, night, one="success", two="running").release
    world.at(night.deadline_at)
    assert due(world, night, one="success", two="running") == Due((), True, (TWO,))
    assert due(world, night, one="success").missing == (), "nothing is begun any more"


def test_a_run_says_how_it_ended_and_the_release_says_it_of_those_that_were_killed(world: World) -> None:
    night, first = opened(world), world.now
    with world.installation.pool.connection() as connection:
        nights.set_ended(connection, night.night_id, ONE, "success", first)
        nights.release_begun(connection, night.night_id, {ONE: "failure", TWO: "failure"}, first)
    outcomes = world.rows("SELECT s.key, n.outcome FROM night_set n JOIN harvest_set s USING (set_id) ORDER BY 1")
    assert outcomes == [(ONE, "success"), (TWO, "failure")], "it was accepted, whatever became of its run then"
    world.forward(timedelta(minutes=1))
    with world.installation.pool.connection() as connection:
        nights.release_begun(connection, night.night_id, {}, world.now)
        assert nights.left_behind(connection) == {TWO: f"its run in night {night.night_id} failed"}
    assert world.one("SELECT released_at FROM night") == first, "a release that is begun again began once"


def test_two_nights_on_one_day_are_two(world: World) -> None:
    first = opened(world, world.now)
    world.forward(timedelta(hours=1))
    second = opened(world)
    assert first.night_id != second.night_id
    assert due(world, first, one="success", two="success").release
    assert not due(world, second, one="running").release
    with world.installation.pool.connection() as connection:
        nights.end(connection, first.night_id, world.now)
        assert [night.night_id for night in nights.open_nights(connection)] == [second.night_id]


def test_a_night_that_is_asked_for_again_by_hand_at_the_same_moment_is_one(world: World) -> None:
    """As where only the answer was lost that it is opened."""
    first = begun(world.installation, world.now)
    assert begun(world.installation, world.now) == first
    assert world.rows("SELECT count(*) FROM night UNION ALL SELECT count(*) FROM audit") == [(1,), (1,)]
    world.forward(timedelta(seconds=1))
    assert begun(world.installation, world.now)[0].night_id != first[0].night_id


def test_an_open_night_takes_the_work_of_the_day_along(world: World) -> None:
    world.source.put("a")
    world.night()
    assert isinstance(day_work.waiting(world.installation), day_work.Waiting)
    night = opened(world)
    waits = day_work.waiting(world.installation)
    assert isinstance(waits, str) and "a night is open" in waits
    with world.installation.pool.connection() as connection:
        nights.end(connection, night.night_id, world.now)
    assert isinstance(day_work.waiting(world.installation), day_work.Waiting)


class Listener(HTTPServer):
    """Takes alerts, or refuses them with `status`."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.told: list[dict[str, str]] = []
        self.called: list[str] = []
        """The paths that were asked for."""


class _Taking(BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:
        self.server.called.append(self.path)
        self._answer()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            self.server.told.append(body)
        self._answer()

    def _answer(self) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("HARVESTER_ALERT_URL", f"http://127.0.0.1:{server.server_port}/")
        yield server
        server.shutdown()
        thread.join()


def told(world: World, listener: Listener) -> list[str]:
    """The causes that people are told now."""
    listener.told.clear()
    alerts.tell(world.installation, alerts.standing(world.installation))
    return [alert["cause"] for alert in listener.told]


class TestAlerts:
    def test_a_source_that_failed_is_told_once_and_again_when_it_fails_again(
        self, world: World, listener: Listener
    ) -> None:
        world.source.put("a")
        world.night()
        assert told(world, listener) == []
        world.source.status = 404
        world.night()
        assert told(world, listener) == [f"source-failed {KEY}"]
        assert "404" in listener.told[0]["message"] and listener.told[0]["mend"]
        world.night()
        assert told(world, listener) == []
        world.source.status = 200
        world.night()
        assert told(world, listener) == []
        world.source.status = 404
        world.night()
        assert told(world, listener) == [f"source-failed {KEY}"]

    def test_a_set_that_is_rejected_night_after_night_is_told_on_the_third_day(
        self, open_world: OpenWorld, listener: Listener
    ) -> None:
        world = open_world(deletes="no")
        world.source.put("a", "b")
        world.night()
        world.source.forget("a", "b")
        world.night()
        world.night(pass_time=False)
        world.forward(timedelta(hours=2))
        world.night()
        assert told(world, listener) == [], "three nights, but on two days"
        world.night()
        assert told(world, listener) == [f"fallback {KEY}"]
        assert "rejected 3 nights in a row: products: nothing is left of 2" in listener.told[0]["message"]
        steps.accept(world.installation, KEY)
        assert told(world, listener) == []

    def test_what_could_not_be_delivered_is_tried_again(self, world: World, listener: Listener) -> None:
        world.source.status = 404
        world.night()
        listener.status = 404
        assert told(world, listener) == []
        listener.status = 200
        assert told(world, listener) == [f"source-failed {KEY}"]

    def test_a_retired_set_is_nobodys_worry(self, open_world: OpenWorld, listener: Listener) -> None:
        world = open_world()
        world.source.status = 404
        world.night()
        other = open_world(sets=["two"])
        assert told(other, listener) == []


def test_at_each_nights_end_a_dead_mans_switch_is_called(
    world: World, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_HEARTBEAT_URL", f"http://127.0.0.1:{listener.server_port}/beat")
    for status in (200, 404):
        listener.status = status
        with world.installation.pool.connection() as connection:
            night = nights.open_night(connection, world.installation.config, world.now)
        release.end_night(world.installation, night.night_id)
        with world.installation.pool.connection() as connection:
            assert nights.by_id(connection, night.night_id).ended_at is not None
    assert listener.called == ["/beat"] * 2


def test_a_night_that_is_stopped_has_ended_too(
    world: World, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_HEARTBEAT_URL", f"http://127.0.0.1:{listener.server_port}/beat")
    stopping.stop(world.installation, opened(world).night_id, lambda _: [])
    assert listener.called == ["/beat"]


class TestStopping:
    def test_a_night_that_is_stopped_is_over_and_releases_nothing(self, world: World) -> None:
        world.source.put("a")
        night = opened(world)
        steps.harvest(world.installation, KEY, night_id=night.night_id)
        waits = [["run of one", "run of two"], ["run of one"], []]
        asked: list[Night] = []

        def end_runs(stopped: Night) -> list[str]:
            asked.append(stopped)
            return waits[len(asked) - 1]

        assert stopping.stop(world.installation, night.night_id, end_runs) == [KEY]
        assert len(asked) == 3 and {one.night_id for one in asked} == {night.night_id}, "until all have ended"
        assert world.attempts() == [("full", "failed")]
        assert world.one("SELECT reason FROM attempt") == f"night {night.night_id} was stopped"
        with world.installation.pool.connection() as connection:
            assert nights.open_nights(connection) == [] and nights.left_behind(connection) == {}
            (shown,) = night_report.nights(connection, 5)
            assert shown.instead == "stopped"
            assert [row[:4] for row in connection.execute("SELECT actor, act, subject, outcome FROM audit")] == [
                ("dagster", "stop night", str(night.night_id), "done")
            ]
        with pytest.raises(NoNight, match="does not go on"):
            stopping.stop(world.installation, night.night_id, end_runs)
        assert not world.night().is_replaced and world.titles() == {"a": "Title of a"}

    def test_a_run_that_does_not_end_in_time_keeps_its_attempt(self, world: World) -> None:
        world.source.put("a")
        night = opened(world)
        steps.harvest(world.installation, KEY, night_id=night.night_id)
        with lock_set(world.installation, KEY):
            assert stopping.stop(world.installation, night.night_id, lambda _: ["its run"], seconds=0.1) == []
        assert world.attempts() == [("full", "fetched")]


class TestReleaseFailures:
    def test_it_stands_until_a_release_succeeds(self, world: World) -> None:
        def failed() -> ReleaseFailure | None:
            with world.installation.pool.connection() as connection:
                return nights.failed_release(connection)

        world.source.put("a")
        world.night()
        night = opened(world)
        with world.installation.pool.connection() as connection:
            nights.release_begun(connection, night.night_id, {}, world.now)
        assert failed() is None
        release.end_night(world.installation, night.night_id, failed_run="run 1", why="no index")
        assert failed() == ReleaseFailure(night.night_id, "run 1", "no index", world.now)
        with world.installation.pool.connection() as connection:
            assert night_report.nights(connection, 1)[0].instead == "release failed"
        world.forward(timedelta(minutes=1))
        release.release(world.installation, by_hand=True)
        assert failed() is None


class Leaving(ConnectionPool[Connection[tuple[Any, ...]]]):
    """One whose store goes away and comes back."""

    is_away = False

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[Connection[tuple[Any, ...]]]:
        if self.is_away:
            raise PoolTimeout("no answer")
        with super().connection(timeout) as connection:
            yield connection


class TestMissingNights:
    """The schedule asks for one at 01:00 in Amsterdam; its supervisor began before."""

    TICK = datetime(2026, 3, 4, 0, tzinfo=UTC)

    @pytest.fixture
    def seen(self, world: World, listener: Listener) -> MissingNights:
        world.at(self.TICK - timedelta(hours=2))
        return MissingNights(world.installation)

    def told_at(self, world: World, seen: MissingNights, listener: Listener, moment: datetime) -> list[str]:
        """What is told until then, by one who looks every minute."""
        listener.told.clear()
        while world.now < moment:
            world.forward(min(timedelta(minutes=1), moment - world.now))
            seen.look()
        return [alert["cause"] for alert in listener.told]

    def after(self, minutes: int) -> datetime:
        return self.TICK + timedelta(minutes=minutes)

    def test_a_tick_without_a_night_is_told_once(self, world: World, seen: MissingNights, listener: Listener) -> None:
        cause = f"no-night {nights.tick_name(self.TICK)}"
        for minutes, expected in ((0, []), (29, []), (31, [cause]), (40, []), (24 * 60, []), (24 * 60 + 31, [ANY])):
            assert self.told_at(world, seen, listener, self.after(minutes)) == expected
        assert "nightly" in listener.told[0]["mend"]

    def test_one_with_a_night_is_not(self, world: World, seen: MissingNights, listener: Listener) -> None:
        with world.installation.pool.connection() as connection:
            nights.open_night(connection, world.installation.config, self.TICK, self.TICK)
        assert self.told_at(world, seen, listener, self.after(60)) == []

    def test_one_that_was_run_by_hand_instead_is_not(
        self, world: World, seen: MissingNights, listener: Listener
    ) -> None:
        assert self.told_at(world, seen, listener, self.after(20)) == []
        opened(world)
        assert self.told_at(world, seen, listener, self.after(60)) == []

    def test_a_store_that_was_away_at_the_tick_leaves_dagster_its_time(self, world: World, listener: Listener) -> None:
        """However shortly before anybody would have been told it came back."""
        world.at(self.after(-60))
        pool = Leaving(world.url, kwargs=making("a test"), min_size=1, open=True)
        seen = MissingNights(replace(world.installation, pool=pool))
        assert self.told_at(world, seen, listener, self.after(-10)) == []
        pool.is_away = True
        assert self.told_at(world, seen, listener, self.after(28)) == []
        pool.is_away = False
        assert self.told_at(world, seen, listener, self.after(38)) == []
        assert self.told_at(world, seen, listener, self.after(40)) == [ANY]
        pool.close()

    def test_nor_is_one_told_who_slept_until_after_the_tick(
        self, world: World, seen: MissingNights, listener: Listener
    ) -> None:
        world.at(self.after(40))
        assert self.told_at(world, seen, listener, self.after(50)) == []
        assert self.told_at(world, seen, listener, self.after(52)) == [ANY]

    def test_nobody_listening_now_is_told_later(self, world: World, seen: MissingNights, listener: Listener) -> None:
        listener.status = 404
        assert self.told_at(world, seen, listener, self.after(60)) == []
        listener.status = 200
        assert self.told_at(world, seen, listener, self.after(120)) == [ANY]

    def test_the_page_shows_it_until_a_night_is_run(self, world: World) -> None:
        def missing(since: datetime) -> bool:
            with world.installation.pool.connection() as connection:
                return missing_nights.missing(world.installation, connection, since) is not None

        before, after = self.TICK - timedelta(hours=1), self.TICK + timedelta(hours=1)
        world.at(self.TICK + timedelta(minutes=29))
        assert not missing(before), "it may wait behind other runs"
        world.at(after)
        assert missing(before) and not missing(after), "an installation that is new knows of no tick before it"
        world.at(before)
        opened(world)
        world.at(after)
        assert missing(after), "there were nights before"
        opened(world)
        assert not missing(before), "one was run by hand instead"

    def test_a_copy_that_only_looks_misses_none(self, open_world: OpenWorld) -> None:
        world = open_world(installed={"night": {"automation": False}})
        world.at(self.TICK + timedelta(hours=1))
        with world.installation.pool.connection() as connection:
            assert missing_nights.missing(world.installation, connection, self.TICK - timedelta(hours=2)) is None

    def test_without_the_store_too(self, world: World, listener: Listener) -> None:
        def away(_: datetime) -> bool:
            raise PoolTimeout("no answer")

        world.at(self.TICK - timedelta(hours=2))
        seen = MissingNights(world.installation, away)
        assert self.told_at(world, seen, listener, self.after(60)) == [ANY]
        assert "the store cannot be reached" in listener.told[0]["message"]
