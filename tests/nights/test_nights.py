"""A night's barrier: which runs are awaited, when its release is due, and what people are told."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from harvester_dagster import alerts, nights
from harvester_dagster.config import Config, parse
from harvester_dagster.harvesting import steps
from harvester_dagster.nights import Night, RunState, Watched
from harvester_dagster.versions import days
from tests.harvesting.conftest import OpenWorld
from tests.harvesting.world import KEY, World

ONE, TWO = "src:one", "src:two"


def opened(world: World, origin: str = "schedule") -> Night:
    with world.installation.pool.connection() as connection:
        night, _ = nights.open_night(connection, world.installation.config, world.now, origin)  # type: ignore[arg-type]
    return night


def watch(world: World, night: Night, **runs: RunState) -> Watched:
    with world.installation.pool.connection() as connection:
        present = next(other for other in nights.open_nights(connection) if other.night_id == night.night_id)
        states = {f"src:{name}": state for name, state in runs.items()}
        return nights.watch(connection, present, states, world.now)


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


def test_a_night_expects_every_set_of_the_configuration(open_world: OpenWorld) -> None:
    open_world()
    world = open_world(sets=["two"])
    with world.installation.pool.connection() as connection:
        night, keys = nights.open_night(connection, world.installation.config, world.now, "hand")
    assert keys == [TWO], "the retired one is not"
    assert world.rows("SELECT key FROM night_set JOIN harvest_set USING (set_id)") == [(TWO,)]
    assert night.ended_at is None


def test_the_release_is_due_when_every_run_has_ended_however_it_ended(world: World) -> None:
    night = opened(world)
    assert not watch(world, night, one="waiting", two="running").release_due
    assert not watch(world, night, one="success", two="running").release_due
    assert watch(world, night, one="success", two="failure") == Watched((), True, ())
    assert world.rows("SELECT outcome FROM night_set ORDER BY set_id") == [("success",), ("failure",)]
    assert world.one("SELECT released_at FROM night") == world.now


def test_runs_that_never_came_are_requested_again_after_a_while(world: World) -> None:
    night = opened(world)
    assert watch(world, night, one="running").missing == (), "the tick creates them"
    world.forward(nights.SCHEDULE_GRACE)
    assert watch(world, night, one="running").missing == (TWO,)
    assert not watch(world, night, one="success").release_due, "the number expected is known from the tick"


def test_runs_of_a_night_by_hand_are_requested_at_once(world: World) -> None:
    assert watch(world, opened(world, "hand")).missing == (ONE, TWO)


def test_at_the_deadline_the_release_goes_on_without_those_that_are_not_ready(world: World) -> None:
    night = opened(world)
    world.at(night.deadline_at - timedelta(seconds=1))
    assert not watch(world, night, one="success", two="running").release_due
    world.at(night.deadline_at)
    assert watch(world, night, one="success", two="running") == Watched((), True, (TWO,))
    assert watch(world, night, one="success").missing == (), "nothing is begun any more"


def test_the_time_of_the_release_is_that_of_the_first_look(world: World) -> None:
    night = opened(world)
    watch(world, night, one="success", two="success")
    first = world.now
    world.forward(timedelta(minutes=1))
    assert watch(world, night, one="success", two="success").release_due, "until it is there it is asked for"
    assert world.one("SELECT released_at FROM night") == first


def test_two_nights_on_one_day_are_two(world: World) -> None:
    first = opened(world)
    world.forward(timedelta(hours=1))
    second = opened(world, "hand")
    assert first.night_id != second.night_id
    assert watch(world, first, one="success", two="success").release_due
    assert not watch(world, second, one="running").release_due
    with world.installation.pool.connection() as connection:
        nights.end(connection, first.night_id, world.now)
        assert [night.night_id for night in nights.open_nights(connection)] == [second.night_id]


def test_an_open_night_takes_the_work_of_the_day_along(world: World) -> None:
    world.source.put("a")
    world.night()
    assert isinstance(days.waiting(world.installation), days.Waiting)
    night = opened(world)
    waits = days.waiting(world.installation)
    assert isinstance(waits, str) and "a night is open" in waits
    with world.installation.pool.connection() as connection:
        nights.end(connection, night.night_id, world.now)
    assert isinstance(days.waiting(world.installation), days.Waiting)


class Listener(HTTPServer):
    """Takes alerts, or refuses them with `status`."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.told: list[dict[str, str]] = []


class _Taking(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            self.server.told.append(body)
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
