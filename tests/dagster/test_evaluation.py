"""Schedules and sensors only ask: evaluated over a real store, ours and Dagster's, they leave it as it was.

What is to be remembered is written by the runs that they ask for, each of itself; these run here, in this process.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.storage.root import LocalArtifactStorage
from psycopg_pool import PoolTimeout

from assets import doing, night_runs, partitions
from harvester_dagster import definitions
from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.cli import dagster_runs
from harvester_dagster.installation import utc_now
from harvester_dagster.outside.http import Outside
from harvester_dagster.releases import nights, release, taking_down
from harvester_dagster.releases.nights import Night
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.search import index
from harvester_dagster.sources import sharekit
from harvester_dagster.sources.kind import Request, Single
from harvester_dagster.store.database import OtherSchema
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import Scripted, World, catalog

__all__ = ["open_world", "source"]

KEYS = ["src:one", "src:two"]
TICK = datetime.fromisoformat("2026-03-02T00:00:00+00:00")
TABLES = """SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
    WHERE table_schema IN ('harvester', 'public') AND table_type = 'BASE TABLE' ORDER BY 1"""


class Dagster:
    """An installation of a world in Dagster, whose store is the same database."""

    def __init__(self, world: World, instance: dg.DagsterInstance) -> None:
        self.world, self.instance = world, instance
        self.defs = definitions.build(world.installation.config, world.installation.catalog)
        self.resources: dict[str, Any] = {"harvester": world.installation}

    def evaluate(self, name: str, tick: datetime = TICK) -> Sequence[dg.RunRequest]:
        """What a schedule or sensor requests."""
        if any(schedule.name == name for schedule in self.defs.schedules or ()):
            with dg.build_schedule_context(
                self.instance,
                scheduled_execution_time=tick,
                resources=self.resources,
                repository_def=self.defs.get_repository_def(),
            ) as at:
                return self.defs.resolve_schedule_def(name).evaluate_tick(at).run_requests or ()
        with self.sensing() as now, dg.partition_loading_context(dynamic_partitions_store=self.instance):
            return self.defs.resolve_sensor_def(name).evaluate_tick(now).run_requests or ()

    def sensing(self) -> dg.SensorEvaluationContext:
        repository = self.defs.get_repository_def()
        return dg.build_sensor_context(self.instance, resources=self.resources, repository_def=repository)

    def evaluate_all(self) -> list[str]:
        """The run keys of all that is requested by all of them (that of the vocabularies has none)."""
        names = [each.name for each in [*(self.defs.schedules or ()), *(self.defs.sensors or ())]]
        return [request.run_key for name in names for request in self.evaluate(name) if request.run_key]

    def run(self, request: dg.RunRequest, job: str = "harvest_set") -> dg.DagsterRun:
        """As the daemon would, in this process."""
        done = self.defs.resolve_job_def(request.job_name or job).execute_in_process(
            instance=self.instance, partition_key=request.partition_key, tags=request.tags, raise_on_error=False
        )
        run = self.instance.get_run_by_id(done.run_id)
        assert run is not None
        return run

    def killed(self, job: str, **tags: str) -> None:
        """The run of a process that could say nothing any more."""
        self.put(job, dg.DagsterRunStatus.FAILURE, **tags)

    def put(self, job: str, status: dg.DagsterRunStatus, **tags: str) -> None:
        named = {name.replace("_", "/", 1): value for name, value in tags.items()}
        self.instance.add_run(dg.DagsterRun(job, run_id=str(uuid.uuid4()), status=status, tags=named))

    def tables(self) -> dict[str, tuple[int, str]]:
        """Every row of every table, as a count and a hash."""
        query = "SELECT count(*), md5(coalesce(string_agg(t::text, chr(10) ORDER BY t::text), '')) FROM {} t"
        with psycopg.connect(self.world.url) as connection:
            names = [name for (name,) in connection.execute(TABLES)]
            assert len(names) > 40, names
            found: dict[str, Any] = {name: connection.execute(query.format(name)).fetchone() for name in names}
        return found

    def open_night(self) -> Night:
        with self.world.installation.pool.connection() as connection:
            return nights.open_night(connection, self.world.installation.config, self.world.now)

    def outcomes(self) -> dict[str, str | None]:
        return dict(self.world.rows("SELECT s.key, n.outcome FROM night_set n JOIN harvest_set s USING (set_id)"))


@pytest.fixture
def dagster(open_world: OpenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dagster]:
    task = Scripted()
    world = open_world(catalog=catalog(task.row), min_documents=5)
    world.source.put("a", "b")
    monkeypatch.setenv(world.installation.config.store.postgres_url_env, world.url)
    with in_dagster(world, tmp_path / "dagster") as found:
        yield found


@contextmanager
def in_dagster(world: World, home: Path) -> Iterator[Dagster]:
    """A world whose store is Dagster's, too; what Dagster keeps as files is in that folder."""
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "storage: {postgres: {postgres_url: {env: HARVESTER_POSTGRES_URL}}}\ntelemetry: {enabled: false}\n"
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        partitions.synchronise(instance, world.installation)
        yield Dagster(world, instance)


def _nothing(_: Dagster) -> None:
    pass


def _open(dagster: Dagster) -> None:
    dagster.open_night()


def _over(dagster: Dagster) -> None:
    night = dagster.open_night()
    for key in KEYS:
        dagster.killed("harvest_set", harvest_night=str(night.night_id), harvest_set=key)


def _release_killed(dagster: Dagster) -> None:
    _over(dagster)
    dagster.killed("release", harvest_night="1")


def _worked_by_day(dagster: Dagster) -> None:
    dagster.world.night()


def _not_begun(dagster: Dagster) -> None:
    dagster.world.at(utc_now() + nights.SCHEDULE_GRACE + timedelta(minutes=1))
    tags = {"harvest_tick": TICK.isoformat(), "harvest_set": KEYS[0], "dagster_schedule_name": "nightly"}
    dagster.put("harvest_set", dg.DagsterRunStatus.NOT_STARTED, **tags)


def _new_set(dagster: Dagster) -> None:
    dagster.instance.delete_dynamic_partition("source_set", KEYS[1])


SCHEDULED = [f"night-{TICK.isoformat()}:{key}" for key in KEYS]


@pytest.mark.parametrize(
    ("prepare", "requested"),
    [
        (_nothing, SCHEDULED),
        (_open, [*SCHEDULED, "night-1:src:one", "night-1:src:two"]),
        (_over, [*SCHEDULED, "release-night-1"]),
        (_release_killed, [*SCHEDULED, "mend-night-1-2026-03-01T01:30"]),
        (_worked_by_day, [*SCHEDULED, "day-1.1:0:27"]),
        (_not_begun, [*SCHEDULED, SCHEDULED[1]]),
        (_new_set, SCHEDULED[:1]),
    ],
)
def test_evaluating_leaves_every_table_as_it_was(
    dagster: Dagster, prepare: Callable[[Dagster], None], requested: list[str]
) -> None:
    prepare(dagster)
    before = dagster.tables()
    assert dagster.evaluate_all() == requested
    assert dagster.evaluate_all() == requested
    assert dagster.tables() == before


@pytest.mark.parametrize("name", ["reconcile_daily", "night_watch", "day_work"])
def test_an_older_store_is_not_migrated_by_what_is_evaluated(dagster: Dagster, name: str) -> None:
    """Over the installation that the definitions open, as a tick and a preview do, not over one that is open."""
    dagster.resources = dict(dagster.defs.resources or {})
    assert dagster.evaluate(name) == ()
    with psycopg.connect(dagster.world.url, autocommit=True) as connection:
        connection.execute("UPDATE harvester.alembic_version SET version_num = '0001'")
    before = dagster.tables()
    with pytest.raises(dg.DagsterResourceFunctionError) as caught:
        dagster.evaluate(name)
    assert isinstance(caught.value.__cause__, OtherSchema), caught.value.__cause__
    assert dagster.tables() == before


def test_an_index_that_does_not_obey_a_takedown_is_mended_whatever_runs(
    dagster: Dagster, open_world: OpenWorld
) -> None:
    elsewhere = {"index": {"url": "http://127.0.0.1:9", "require": False}}
    world = open_world(catalog=dagster.world.installation.catalog, installed=elsewhere)
    world.night()
    release.release(world.installation, by_hand=True)
    world.change(
        """INSERT INTO search_index (name, entity, version_id, definition, made_at, shown)
           VALUES (%s, 'products', 1, '', now(), true)""",
        f"{index.prefix(world.installation.config, 'products')}1",
    )
    there = Dagster(world, dagster.instance)
    there.put("harvest_set", dg.DagsterRunStatus.STARTED)
    assert there.evaluate("day_work") == ()
    ((doc_id, set_id),) = world.rows("SELECT doc_id, set_id FROM document WHERE external_id = 'a' AND set_id = 1")
    assert taking_down.take_down(world.installation, Named(doc_id, set_id, "src:one:a"), "x").behind
    (request,) = there.evaluate("day_work")
    assert request.job_name == "mend" and request.run_key and request.run_key.startswith("mend-takedowns-")


def test_an_index_that_is_behind_is_mended_whatever_runs_but_a_release(dagster: Dagster, open_world: OpenWorld) -> None:
    elsewhere = {"index": {"url": "http://127.0.0.1:9", "require": False}}
    world = open_world(catalog=dagster.world.installation.catalog, installed=elsewhere)
    world.night()
    release.release(world.installation, by_hand=True)
    there = Dagster(world, dagster.instance)
    there.put("harvest_set", dg.DagsterRunStatus.STARTED)
    world.forward(timedelta(hours=2))
    (request,) = there.evaluate("day_work")
    assert request.job_name == "mend" and request.run_key and request.run_key.startswith("mend-aliases-of-1-")
    there.put("release", dg.DagsterRunStatus.STARTED)
    assert there.evaluate("day_work") == ()


def test_a_record_whose_purge_was_undone_is_asked_for_by_a_run(dagster: Dagster) -> None:
    world = dagster.world
    world.night()
    ((doc_id, set_id),) = world.rows("SELECT doc_id, set_id FROM document WHERE external_id = 'a' AND set_id = 1")
    named = Named(doc_id, set_id, "src:one:a")
    assert taking_down.take_down(world.installation, named, "case 12", purge=True).purge == "done"
    assert [request.job_name for request in dagster.evaluate("day_work")] == ["release"]
    taking_down.undo(world.installation, named)
    asked, _ = dagster.evaluate("day_work")
    assert asked.job_name == "mend" and asked.run_key and asked.run_key.startswith("mend-asked-anew-")
    assert "a" not in world.outputs()
    assert dagster.run(asked).status is dg.DagsterRunStatus.SUCCESS
    assert "a" in world.outputs()


def test_a_run_that_mends_asks_sources_last_and_fails_for_none_of_them(
    open_world: OpenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_closed = []

    def single(request: Request, external_id: str, outside: Outside) -> Single:
        is_closed.append(world.one("SELECT ended_at IS NOT NULL FROM night"))
        raise ValueError(external_id)

    kinds = {**CATALOG.kinds, "sharekit": replace(sharekit.KIND, single=single)}
    world = open_world(catalog=Catalog(CATALOG.entities, kinds, ()), min_documents=5)
    world.source.put("a", "b")
    monkeypatch.setenv(world.installation.config.store.postgres_url_env, world.url)
    with in_dagster(world, tmp_path / "dagster") as dagster:
        world.night()
        ((doc_id, set_id),) = world.rows("SELECT doc_id, set_id FROM document WHERE external_id = 'a' AND set_id = 1")
        named = Named(doc_id, set_id, "src:one:a")
        taking_down.take_down(world.installation, named, "case 12", purge=True)
        taking_down.undo(world.installation, named)
        _release_killed(dagster)
        (request,) = dagster.evaluate("night_watch")
        assert (request.job_name, dagster.run(request).status) == ("mend", dg.DagsterRunStatus.SUCCESS)
    assert is_closed == [True]
    assert "a mistake in this program" in world.one("SELECT reason FROM asked_anew")


def test_the_sensor_asks_for_the_partitions_of_new_sets(dagster: Dagster) -> None:
    _new_set(dagster)
    with dagster.sensing() as now:
        (asked,) = dagster.defs.resolve_sensor_def("night_watch").evaluate_tick(now).dynamic_partitions_requests or ()
    assert asked.partition_keys == [KEYS[1]]


def test_a_tick_that_is_done_twice_is_one_night_and_its_runs_close_it(dagster: Dagster) -> None:
    first, again = dagster.evaluate("nightly"), dagster.evaluate("nightly")
    assert [request.run_key for request in first] == [request.run_key for request in again]
    runs = [dagster.run(request) for request in (*first, *again)]
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 4
    assert dagster.world.rows("SELECT night_id, origin, scheduled_at FROM night") == [(1, "schedule", TICK)]
    assert {run.tags["harvest/night"] for run in runs} == {"1"}, "an operator finds them by it"
    assert dagster.outcomes() == dict.fromkeys(KEYS, "success")
    assert dagster.world.rows("SELECT DISTINCT night_id FROM attempt") == [(1,)]
    (request,) = dagster.evaluate("night_watch")
    released = dagster.run(request)
    assert (request.run_key, released.status) == (f"release-night-{TICK.isoformat()}", dg.DagsterRunStatus.SUCCESS)
    assert dagster.world.one("SELECT count(*) FROM night WHERE released_at IS NOT NULL AND ended_at IS NOT NULL") == 1
    assert dagster.world.one("SELECT night_id FROM dataset_version JOIN current_version USING (version_id)") == 1
    assert dagster.evaluate("night_watch") == ()


def test_a_step_that_raises_is_noted_by_its_own_run_with_the_reason(dagster: Dagster) -> None:
    dagster.world.change("DROP TABLE dirty CASCADE")
    night = dagster.open_night()
    request = next(each for each in dagster.evaluate("night_watch") if each.partition_key == KEYS[0])
    assert dagster.run(request).status is dg.DagsterRunStatus.FAILURE
    assert dagster.outcomes() == {KEYS[0]: "failure", KEYS[1]: None}
    assert "dirty" in dagster.world.one("SELECT reason FROM night_set WHERE outcome = 'failure'")
    assert night.ended_at is None


def test_a_release_of_which_no_run_ever_began_opens_its_night_and_closes_it(dagster: Dagster) -> None:
    dagster.world.at(utc_now())
    for key in KEYS:
        tags = {"harvest_tick": TICK.isoformat(), "harvest_set": key, "dagster_schedule_name": "nightly"}
        dagster.killed("harvest_set", **tags)
    (request,) = dagster.evaluate("night_watch")
    assert dagster.run(request).status is dg.DagsterRunStatus.SUCCESS
    assert dagster.outcomes() == dict.fromkeys(KEYS, "failure")
    assert dagster.world.one("SELECT ended_at FROM night") is not None


def test_a_release_that_was_killed_is_told_and_its_night_closed_by_a_run_of_its_own(dagster: Dagster) -> None:
    _release_killed(dagster)
    (request,) = dagster.evaluate("night_watch")
    assert (request.job_name, dagster.run(request).status) == ("mend", dg.DagsterRunStatus.SUCCESS)
    assert dagster.world.one("SELECT ended_at FROM night") is not None
    killed = dagster.instance.get_runs(dg.RunsFilter(job_name="release"))[0]
    assert (f"release-missed {killed.run_id}",) in dagster.world.rows("SELECT cause FROM alert")
    assert dagster.evaluate("night_watch") == ()


def test_what_a_night_materializes_leads_to_the_page_of_its_set(dagster: Dagster) -> None:
    dagster.run(next(iter(dagster.evaluate("nightly"))))
    for key in (["harvest"], ["products", "set"], ["files", "set"]):
        event = dagster.instance.get_latest_materialization_event(dg.AssetKey(key))
        assert event and event.asset_materialization
        page = event.asset_materialization.metadata["page"]
        assert page == dg.MetadataValue.url("https://harvester.example.org/set/src:one/"), key


def test_a_release_that_fails_is_known_to_its_night_with_the_reason(dagster: Dagster) -> None:
    for request in dagster.evaluate("nightly"):
        dagster.run(request)
    dagster.world.change("DROP TABLE search_report CASCADE")
    (request,) = dagster.evaluate("night_watch")
    failed = dagster.run(request)
    assert failed.status is dg.DagsterRunStatus.FAILURE
    ((run_id, why),) = dagster.world.rows("SELECT failed_run, failed_why FROM night")
    assert run_id == failed.run_id and "search_report" in why


def test_the_runs_of_a_night_that_go_on_are_ended_and_no_others(dagster: Dagster) -> None:
    night = dagster.open_night()
    for number, status in ((1, "STARTED"), (1, "CANCELING"), (1, "SUCCESS"), (7, "STARTED")):
        dagster.put("harvest_set", dg.DagsterRunStatus(status), harvest_night=str(number), harvest_set=KEYS[0])
    assert len(night_runs.end_runs(dagster.instance, night)) == 2
    statuses = sorted((run.tags["harvest/night"], run.status.value) for run in dagster.instance.get_runs())
    assert statuses == [("1", "CANCELING"), ("1", "CANCELING"), ("1", "SUCCESS"), ("7", "STARTED")]


def test_a_run_of_a_stopped_night_that_waits_to_be_run_again_is_not(dagster: Dagster) -> None:
    night = dagster.open_night()
    tags = {"harvest_night": str(night.night_id), "harvest_set": KEYS[0]}
    dagster.put("harvest_set", dg.DagsterRunStatus.FAILURE, dagster_will_retry="true", **tags)
    dagster.put("harvest_set", dg.DagsterRunStatus.STARTED, **tags)
    assert len(night_runs.end_runs(dagster.instance, night)) == 2
    for run in dagster.instance.get_runs():
        assert not run.is_complete_and_waiting_to_retry
        assert run.tags["dagster/max_retries"] == "0", "nor is it where it is found dead later"
    assert len(night_runs.end_runs(dagster.instance, night)) == 1


def test_a_run_that_another_one_has_followed_says_no_more_how_its_set_ended(dagster: Dagster) -> None:
    """Held dead, and run again, while it still went on."""
    night = dagster.open_night()
    for _ in range(2):
        dagster.put("harvest_set", dg.DagsterRunStatus.STARTED, harvest_night="1", harvest_set=KEYS[0])
    newer, older = dagster.instance.get_runs()
    harvester = dagster.world.installation
    night_runs.set_ended(dagster.instance, newer, harvester, "success")
    night_runs.set_ended(dagster.instance, older, harvester, "failure", "it was cut")
    assert night.night_id == 1 and dagster.outcomes()[KEYS[0]] == "success"


def test_the_audit_says_nothing_of_what_is_done_again(dagster: Dagster) -> None:
    harvester = dagster.world.installation
    for is_repeated in (True, False):
        with (
            pytest.raises(PoolTimeout),
            doing.by_run(harvester, "one", "release", "", is_repeated=is_repeated),
        ):
            raise PoolTimeout("no answer")
    assert dagster.world.rows("SELECT outcome FROM audit") == [("failed",)]


class AwayAtFirst(LocalArtifactStorage):
    """A part of Dagster's instance whose store is away when it is made for the first time."""

    made = 0

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> LocalArtifactStorage:
        AwayAtFirst.made += 1
        if AwayAtFirst.made == 1:
            raise psycopg.OperationalError("connection refused")
        return LocalArtifactStorage(inst_data=inst_data, **config_value)


@pytest.mark.parametrize("is_looking", [True, False])
def test_a_store_that_is_away_when_a_night_begins_is_waited_for(
    dagster: Dagster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_looking: bool
) -> None:
    file = tmp_path / "dagster" / "dagster.yaml"
    part = f"{{module: {__name__}, class: AwayAtFirst, config: {{base_dir: {tmp_path}}}}}"
    file.write_text(f"{file.read_text()}local_artifact_storage: {part}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(file.parent))
    AwayAtFirst.made = 0
    if is_looking:
        with dagster_runs.watched(dagster.world.installation, lambda: False):
            pass
    else:
        dagster_runs.check_watched(dagster.world.installation)
    assert AwayAtFirst.made > 1
