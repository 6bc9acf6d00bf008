"""What people are told of pushes, and what becomes of their versions."""

from datetime import timedelta
from pathlib import Path

import pytest
from psycopg_pool import PoolTimeout
from typer.testing import CliRunner

from harvester_dagster.cli.main import app
from harvester_dagster.cli.push import work
from harvester_dagster.explain import status
from harvester_dagster.releases import alerts, day_work, release, retention
from harvester_dagster.releases.push_rounds import EVERY, PushRounds
from harvester_dagster.sets import pushed, steps, versions
from tests.push.pushing import SECRET, VARIABLE, WITH_SECRET, current, push, released, rounds, states
from tests.sets.conftest import OpenWorld
from tests.sets.world import KEY, SHAREKIT, World, check, commanded

GONE = [{"id": name, "meta": {"status": "deleted"}} for name in "ab"]


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    opened = open_world(**WITH_SECRET, min_documents=2)
    opened.source.put("a", "b", "c")
    opened.night()
    released(opened)
    return opened


def causes(world: World) -> set[str]:
    return {alert.cause for alert in alerts.standing(world.installation) if "push" in alert.cause}


def test_status_and_alerts_say_what_waits_and_what_was_rejected(world: World) -> None:
    assert status.status(world.installation).pushes == [] and causes(world) == set()
    push(world, world.source.record("d"))
    steps.harvest(world.installation, KEY)
    rounds(world)
    (line,) = status.status(world.installation).pushes
    assert (line.key, line.waiting, line.rejected) == (KEY, 1, 0) and "a harvest is going on" in line.waits
    assert causes(world) == set()
    world.forward(timedelta(hours=2))
    assert causes(world) == {f"pushes-waiting {KEY}"}
    world.night(pass_time=False)
    rounds(world)
    released(world)
    push(world, *GONE)
    rounds(world)
    (line,) = status.status(world.installation).pushes
    assert (line.waiting, line.rejected) == (0, 2) and "fewer" in line.reason
    assert causes(world) == {f"pushes-rejected {KEY}"}


def test_status_says_that_a_hold_keeps_pushes_back(world: World) -> None:
    push(world, world.source.record("d"))
    rounds(world)
    with world.installation.pool.connection() as connection:
        earlier = versions.by_id(connection, 1)
    release.roll_back(world.installation, earlier)
    world.forward(EVERY)
    push(world, world.source.record("e"))
    rounds(world)
    (line,) = status.status(world.installation).pushes
    assert line.is_ahead and "automatic releases are held" in line.waits


def test_commands_list_accept_and_dismiss(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commanded(world, tmp_path, monkeypatch, f'{SHAREKIT}\nmin_documents = 2\nwebhook_secret_env = "{VARIABLE}"')
    monkeypatch.setenv(VARIABLE, SECRET)

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["push", *words])
        assert result.exit_code == 0, result.output
        return result.output

    push(world, *GONE)
    pushed.take(world.installation, KEY)
    assert "rejected" in run("list") and "rejected" in run("list", KEY, "--state", "rejected", "--json")
    assert "2 pushes" in run("accept", KEY)
    assert set(world.titles()) == {"c"} and {state for _, state in states(world)} == {"taken"}
    push(world, {"id": "c", "meta": {"status": "deleted"}})
    pushed.take(world.installation, KEY)
    assert "1 rejected pushes dismissed" in run("dismiss", KEY)
    assert states(world)[-1] == ("c", "dismissed") and set(world.titles()) == {"c"}
    acts = world.rows("SELECT act, subject FROM audit WHERE act LIKE '%%pushes' ORDER BY audit_id")
    assert acts == [("accept pushes", KEY), ("dismiss pushes", KEY)]
    assert CliRunner().invoke(app, ["push", "accept", "no:set"]).exit_code == 1
    check(world)


def test_the_worker_does_what_there_is_to_do_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commanded(world, tmp_path, monkeypatch, f'{SHAREKIT}\nwebhook_secret_env = "{VARIABLE}"')
    for name in ("DAGSTER_HOME", "DAGSTER_POSTGRES_URL", "HARVESTER_MAX_CONCURRENT_SETS"):
        monkeypatch.setenv(name, "")
    push(world, world.source.record("d"))
    result = CliRunner().invoke(app, ["push", "work", "--once"])
    assert result.exit_code == 0, result.output
    assert "d" in world.titles() and states(world) == [("d", "taken")]


def test_work_of_the_day_is_released_whatever_is_pushed_meanwhile(world: World) -> None:
    world.source.put("a", title="Harvested")
    world.night()
    quiet = world.installation.config.night.release_quiet_period
    world.at(world.now + quiet)
    push(world, world.source.record("d"))
    rounds(world)
    assert world.state().accepted_gen == 3
    waiting = day_work.waiting(world.installation)
    assert isinstance(waiting, day_work.Waiting) and waiting.sets == 1
    mark = waiting.mark
    world.forward(EVERY)
    push(world, world.source.record("e"))
    rounds(world)
    waiting = day_work.waiting(world.installation)
    assert isinstance(waiting, day_work.Waiting) and waiting.mark == mark
    released(world)
    assert day_work.waiting(world.installation) == "nothing waits"


def test_versions_of_pushes_are_thinned_after_a_day(world: World) -> None:
    for number in range(4):
        push(world, world.source.record("d", title=f"Title {number}"))
        rounds(world)
        world.forward(timedelta(minutes=20))
    count = world.one("SELECT count(*) FROM dataset_version WHERE pushed")
    assert count >= 4
    retention.clean_up(world.installation)
    assert world.one("SELECT count(*) FROM dataset_version WHERE pushed") == count
    world.forward(timedelta(days=1, hours=2))
    released(world)
    hours = world.one("SELECT count(DISTINCT date_trunc('hour', promoted_at)) FROM dataset_version WHERE pushed")
    assert world.one("SELECT count(*) FROM dataset_version WHERE pushed") == hours < count
    check(world)


def test_work_of_the_day_is_released_though_a_worker_was_killed(world: World) -> None:
    push(world, world.source.record("d"))
    worker = PushRounds(world.installation)
    worker.round()
    world.overwrite("a", {"title": "By hand"})
    world.change(
        """INSERT INTO attempt (set_id, mode, why, started_at, mapping_version, base_gen, state)
           SELECT set_id, 'push', 'cut', %s, mapping_version, accepted_gen, 'fetched'
           FROM harvest_set WHERE key = %s""",
        world.now,
        KEY,
    )
    released(world)
    assert world.titles()["a"] == "By hand" and current(world)[world.state().set_id] == world.state().accepted_gen
    check(world)


def test_pushes_are_no_news_of_a_release(world: World) -> None:
    world.source.put("a", title="Another")
    world.night()
    released(world)
    told = status.status(world.installation).news
    assert told == "Version 2 follows version 1: sources sent 1 new, changed or deleted documents."
    world.forward(EVERY)
    push(world, world.source.record("d"))
    rounds(world)
    number = world.one("SELECT version_id FROM current_version")
    assert number > 2
    assert status.status(world.installation).news == f"{told} Pushes or overwrites have made it version {number} since."


def test_a_worker_goes_on_whose_store_was_away() -> None:
    done = 0

    def rounds() -> bool:
        nonlocal done
        done += 1
        if done < 3:
            raise PoolTimeout("no answer")
        return False

    work(rounds, lambda _: done == 4, once=False)
    assert done == 4
    done = 1
    with pytest.raises(PoolTimeout):
        work(rounds, lambda _: False, once=True)
    work(rounds, lambda _: False, once=True)
    assert done == 3
