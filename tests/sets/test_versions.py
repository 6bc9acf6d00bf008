"""Dataset versions: prepared, promoted in step, rolled back, compared, kept."""

import dataclasses
from datetime import timedelta

import psycopg
import pytest

from harvester_dagster.explain import status
from harvester_dagster.releases import day_work, release, retention, standings
from harvester_dagster.sets import differences, steps, versions
from harvester_dagster.sets.versions import NotPromotable, Version
from harvester_dagster.store.database import open_pool
from tests.sets.conftest import OpenWorld
from tests.sets.world import DAY, KEY, Scripted, World, catalog, check


def released(world: World, run_id: str | None = None) -> Version:
    version = release.prepare(world.installation, run_id=run_id)
    assert version is not None
    return versions.promote(world.installation, version)


def current(world: World) -> Version | None:
    with world.installation.pool.connection() as connection:
        return versions.current(connection)


def ids(world: World) -> list[int]:
    with world.installation.pool.connection() as connection:
        return [version.version_id for version in versions.lines(connection, 1_000)]


def test_a_version_names_a_generation_of_every_set(world: World) -> None:
    world.source.put("a", spec="one")
    world.source.put("b", spec="two")
    world.night("src:one")
    first = released(world)
    world.night("src:two")
    second = released(world)
    one, two = world.state("src:one").set_id, world.state("src:two").set_id
    assert first.generations == {one: 1} and second.generations == {one: 1, two: 1}
    assert current(world) == second and second.is_current
    assert world.one("SELECT count(*) FROM current_version") == 1


def test_no_set_moved_no_new_version(world: World) -> None:
    world.source.put("a")
    world.night()
    released(world)
    world.night()
    assert release.prepare(world.installation) is None
    assert len(ids(world)) == 1


def test_nothing_harvested_no_version(world: World) -> None:
    assert release.prepare(world.installation) is None


def test_the_same_run_asked_again_gets_the_same_version_until_a_set_moves(world: World) -> None:
    world.source.put("a")
    world.night()
    first = versions.prepare(world.installation, run_id="r")
    assert versions.prepare(world.installation, run_id="r") == first
    world.source.put("b")
    world.night()
    second = versions.prepare(world.installation, run_id="r")
    assert second is not None and second != first


def test_promotion_refuses_a_version_in_which_a_set_would_go_back(world: World) -> None:
    world.source.put("a")
    world.night()
    early = versions.prepare(world.installation)
    assert early is not None
    world.source.put("b")
    world.night()
    late = released(world)
    with pytest.raises(NotPromotable, match=r"older generations of 1 sets .*prepare a new one"):
        versions.promote(world.installation, early)
    assert current(world) == late


def test_at_most_one_version_is_current_by_the_schema(world: World) -> None:
    world.source.put("a")
    world.night()
    released(world)
    with pytest.raises(psycopg.errors.UniqueViolation):
        world.change("INSERT INTO current_version (version_id) SELECT version_id FROM dataset_version")
    with pytest.raises(psycopg.errors.CheckViolation):
        world.change("INSERT INTO current_version (only_one, version_id) SELECT false, version_id FROM dataset_version")


def test_a_rollback_is_a_pointer_and_holds_automatic_releases(world: World) -> None:
    world.source.put("a")
    world.night()
    first = released(world)
    world.source.put("a", title="Another")
    world.night()
    second = released(world)
    with world.installation.pool.connection() as connection:
        assert versions.before_current(connection).version_id == first.version_id
    back = versions.promote(world.installation, first, rollback=True)
    assert current(world) == back and back.version_id == first.version_id
    assert world.outputs(gen=first.generations[world.state().set_id])["a"]["title"] == "Title of a"
    with world.installation.pool.connection() as connection:
        assert versions.hold(connection) == f"rolled back to version {first.version_id}"
    waits = day_work.waiting(world.installation)
    assert isinstance(waits, str) and "held" in waits
    with world.installation.pool.connection() as connection:
        versions.end_hold(connection)
    again = released(world)
    assert again.generations == second.generations and again.version_id > second.version_id


def test_without_an_earlier_version_there_is_nothing_to_go_back_to(world: World) -> None:
    world.source.put("a")
    world.night()
    released(world)
    with (
        world.installation.pool.connection() as connection,
        pytest.raises(NotPromotable, match="there is no earlier version"),
    ):
        versions.before_current(connection)


def test_a_version_that_is_not_kept_is_named(world: World) -> None:
    with (
        world.installation.pool.connection() as connection,
        pytest.raises(NotPromotable, match="there is no version 99; `harvester versions list`"),
    ):
        versions.by_id(connection, 99)


def test_the_difference_of_nothing_and_a_version_is_all_of_it(world: World) -> None:
    world.source.put("a", "b")
    world.night()
    version = released(world)
    with world.installation.pool.connection() as connection:
        changes = list(differences.listed(connection, {}, version.generations))
    assert {change.change for change in changes} == {"added"}
    assert {change.srn for change in changes} == {f"{KEY}:{name}" for name in world.outputs()}


class TestRetention:
    """14 days, and the newest version of each of the last three versions of the code."""

    @pytest.fixture
    def world(self, open_world: OpenWorld) -> World:
        world = open_world(purge_after_days=1000)
        world.source.put("a", "gone")
        world.night()
        return world

    def another(self, world: World, code: str = "1") -> Version:
        world.source.put("a", title=f"Title at {world.now}")
        world.night()
        version = released(world)
        world.change("UPDATE dataset_version SET code_version = %s WHERE version_id = %s", code, version.version_id)
        return version

    def test_age_counts_from_when_a_version_ceased_to_be_current(self, world: World) -> None:
        first = self.another(world)
        world.forward(30 * DAY)
        second = self.another(world)
        retention.clean_up(world.installation)
        assert first.version_id in ids(world), "it was current until yesterday"
        world.forward(15 * DAY)
        cleaned = retention.clean_up(world.installation)
        assert ids(world) == [second.version_id] and cleaned.versions == 1

    def test_the_newest_of_the_last_code_versions_stay_whatever_their_age(self, world: World) -> None:
        made = [self.another(world, code) for code in ("1", "1", "2", "3", "4", "4")]
        world.forward(100 * DAY)
        retention.clean_up(world.installation)
        assert ids(world) == [made[index].version_id for index in (5, 3, 2)]

    def test_every_version_that_is_kept_can_be_read(self, world: World) -> None:
        made, seen = [], []
        for _ in range(5):
            made.append(self.another(world))
            seen.append(world.outputs())
            world.forward(4 * DAY)
        retention.clean_up(world.installation)
        kept = [index for index, version in enumerate(made) if version.version_id in ids(world)]
        assert 1 < len(kept) < 5
        for index in kept:
            assert world.outputs(gen=made[index].generations[world.state().set_id]) == seen[index]
        check(world)

    def test_what_no_version_names_is_removed_and_deletes_are_remembered(self, world: World) -> None:
        world.source.delete("gone")
        for _ in range(3):
            self.another(world)
        world.forward(100 * DAY)
        cleaned = retention.clean_up(world.installation)
        assert cleaned.revisions >= 2 and cleaned.outputs >= 2
        rows = world.rows(
            "SELECT external_id, count(*) FROM revision JOIN document USING (doc_id) GROUP BY 1 ORDER BY 1"
        )
        assert {name: n for name, n in rows if ":" not in name} == {"a": 1, "gone": 1}
        assert world.one("SELECT to_gen FROM revision JOIN document USING (doc_id) WHERE external_id = 'gone'") == 2
        check(world)
        assert world.outputs() == world.rebuilt()

    def test_results_live_while_a_kept_revision_has_their_input(self, open_world: OpenWorld) -> None:
        echo = Scripted()
        world = open_world(catalog=catalog(echo.row), purge_after_days=1000)
        world.source.put("a", "b")
        world.night()
        released(world)
        world.source.put("a", title="Another")
        world.night()
        released(world)
        assert world.one("SELECT count(*) FROM result") == 3
        world.forward(10 * DAY)
        retention.clean_up(world.installation)
        assert world.one("SELECT count(*) FROM result") == 3, "the first version is kept, so are its results"
        world.forward(10 * DAY)
        assert retention.clean_up(world.installation).results == 1
        check(world)


class TestWorkOfTheDay:
    def test_it_waits_until_it_has_been_quiet(self, world: World) -> None:
        world.source.put("a")
        world.night(pass_time=False)
        waits = day_work.waiting(world.installation)
        assert isinstance(waits, str) and "quiet for" in waits
        world.forward(timedelta(minutes=11))
        waiting = day_work.waiting(world.installation)
        assert isinstance(waiting, day_work.Waiting)
        released(world)
        assert day_work.waiting(world.installation) == "nothing waits"

    def test_an_overwrite_waits_for_a_release_too(self, world: World) -> None:
        world.source.put("a")
        world.night()
        released(world)
        world.overwrite("a", {"title": "By hand"})
        world.forward(timedelta(hours=1))
        assert isinstance(day_work.waiting(world.installation), day_work.Waiting)
        released(world)
        assert world.titles() == {"a": "By hand"}
        assert day_work.waiting(world.installation) == "nothing waits"


def test_overwrites_survive_harvests_and_resets(world: World) -> None:
    world.source.put("a")
    world.night()
    world.overwrite("a", {"title": "By hand"})
    world.source.put("a", title="Another", abstract="New")
    world.night()
    assert (world.outputs()["a"]["title"], world.outputs()["a"]["description"]) == ("By hand", "New")
    world.night(asked="reset")
    assert world.outputs()["a"]["title"] == "By hand"
    world.overwrite("a", None)
    world.night()
    assert world.outputs()["a"]["title"] == "Another"
    assert world.outputs() == world.rebuilt()


def test_every_set_is_fresh_on_fallback_stale_or_missing(open_world: OpenWorld) -> None:
    world = open_world(min_documents=2)
    assert {row.standing for row in standings.standings(world.installation)} == {"missing"}
    world.source.put("a", "b", spec="one")
    world.source.put("a", "b", spec="two")
    world.night("src:one")
    world.night("src:two")
    assert {row.key: row.standing for row in standings.standings(world.installation)} == {
        "src:one": "stale",
        "src:two": "fresh",
    }, "36 hours: the first was two days ago"
    world.source.delete("a", "b", spec="one")
    world.night("src:one", pass_time=False)
    found = {row.key: row for row in standings.standings(world.installation)}
    assert found["src:one"].standing == "on fallback" and "nothing is left of 2" in found["src:one"].reason
    retired = open_world(sets=["two"])
    assert {row.key: row.standing for row in standings.standings(retired.installation)}["src:one"] == "retired"
    steps.withdraw(retired.installation, "src:one")
    assert [row.key for row in standings.standings(retired.installation)] == ["src:two"]


def test_status_asks_for_no_connection_while_it_holds_one(world: World) -> None:
    world.source.put("a", "b", "c")
    world.night()
    with open_pool(world.installation.pool.conninfo, max_size=1) as pool:
        alone = dataclasses.replace(world.installation, pool=pool)
        assert status.status(alone) == status.status(world.installation)
        state = world.state(KEY)
        assert status.set_line(alone, state) == status.set_line(world.installation, state)
