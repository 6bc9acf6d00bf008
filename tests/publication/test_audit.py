"""Who did what: a row an act, in the transaction of the act; a row for what came to nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from harvester_dagster.cli.night import begun
from harvester_dagster.failures import HarvesterError
from harvester_dagster.publication import audit, overwrites
from harvester_dagster.publication.audit import Doer
from harvester_dagster.releases import nights, release
from harvester_dagster.sets import steps, versions
from harvester_dagster.store.database import open_pool
from tests.sets.conftest import OpenWorld, open_world, source, world
from tests.sets.world import KEY, World

__all__ = ["open_world", "source", "world"]
ALICE = Doer("cli:alice", "192.0.2.1")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def acts(world: World, **filters: Any) -> list[tuple[str, str, str, str]]:
    """Oldest first: who did what to what, and what came of it."""
    with world.installation.pool.connection() as connection:
        found = audit.rows(connection, **filters)
    return [(row.actor, row.act, row.subject, row.outcome) for row in reversed(found)]


def test_what_an_operator_decides_of_a_set(open_world: OpenWorld) -> None:
    world = open_world(deletes="no", min_documents=5)
    names = [f"p{number}" for number in range(8)]
    world.source.put(*names)
    world.night()
    assert acts(world) == [], "a night does nothing in anybody's name"
    with audit.acting(ALICE):
        for act in (steps.accept, steps.dismiss):
            world.source.forget(*list(world.source.records["one"])[:3])
            assert world.night().is_replaced
            act(world.installation, KEY)
        with pytest.raises(steps.NothingToAccept):
            steps.accept(world.installation, KEY)
    done = [("cli:alice", "accept", KEY, "done"), ("cli:alice", "dismiss", KEY, "done")]
    assert acts(world) == done
    with world.installation.pool.connection() as connection:
        accepted = audit.rows(connection, act="accept")[0]
    assert accepted.address == "192.0.2.1" and accepted.detail["published"]["products"] == 5
    assert accepted.at == world.one("SELECT ended_at FROM attempt WHERE attempt_id = %s", accepted.detail["attempt"])


def test_versions_and_overwrites(world: World) -> None:
    world.source.put("a")
    world.night()
    release.release(world.installation, by_hand=False)
    first = world.one("SELECT version_id FROM current_version")
    with audit.acting(ALICE):
        world.overwrite("a", {"title": "By hand", "language": "nl"})
        world.overwrite("a", None)
        world.overwrite("a", None)
        world.source.put("a", title="Another")
        world.night()
        release.release(world.installation, by_hand=True)
        with world.installation.pool.connection() as connection:
            earlier = versions.before_current(connection)
        versions.promote(world.installation, earlier, rollback=True)
    assert [row[1:3] for row in acts(world)] == [
        ("overwrite", f"{KEY}:a"),
        ("clear overwrite", f"{KEY}:a"),
        ("release", ""),
        ("release", ""),
        ("rollback", str(first)),
    ]


def test_the_act_and_its_row_are_there_together_or_not_at_all(world: World) -> None:
    world.source.put("a")
    world.night()
    doc_id = world.one("SELECT min(doc_id) FROM document WHERE entity = 'products'")
    with pytest.raises(RuntimeError), world.installation.pool.connection() as connection:
        overwrites.put(connection, doc_id, {"title": "x"}, NOW)
        raise RuntimeError
    assert acts(world) == [] and world.one("SELECT count(*) FROM overwrite") == 0
    world.change("ALTER TABLE audit ADD CONSTRAINT never CHECK (false)")
    with pytest.raises(psycopg.errors.CheckViolation):
        world.overwrite("a", {"title": "x"})
    assert world.one("SELECT count(*) FROM overwrite") == 0


def test_what_comes_to_nothing_leaves_a_row_and_its_error_goes_on(database: str) -> None:
    with open_pool(database) as pool, audit.acting(ALICE):
        for error in (HarvesterError("nothing waits", "harvest it"), ValueError("a \0 b" * 1000)):
            with pytest.raises(type(error)), audit.trying(pool, "accept", "src:\0one", lambda: NOW):
                raise error
        with audit.trying(pool, "accept", KEY, lambda: NOW):
            pass
        with pool.connection() as connection:
            failed, refused = audit.rows(connection)
    assert (refused.outcome, refused.detail) == ("refused", {"reason": "nothing waits"})
    assert failed.outcome == "failed" and len(failed.detail["reason"]) == 500 and failed.subject == "src:�one"


def test_each_filter(database: str) -> None:
    with open_pool(database) as pool, pool.connection() as connection:
        for number, (actor, act, subject) in enumerate(
            [("a", "accept", "x"), ("a", "dismiss", "x"), ("b", "accept", "y"), ("dagster", "accept", "x")]
        ):
            with audit.acting(Doer(actor)):
                audit.write(connection, act, subject, NOW + timedelta(days=number))
        audit.write(connection, "accept", "x", NOW + timedelta(days=4), "refused")

        def found(**filters: Any) -> list[int]:
            return [(row.at - NOW).days for row in audit.rows(connection, **filters)]

        assert found() == [4, 3, 2, 1, 0]
        assert found(actor="a") == [1, 0] and found(actor="dagster") == [4, 3]
        assert found(act="accept", subject="x") == [4, 3, 0]
        assert found(outcome="refused") == [4]
        assert found(since=NOW + timedelta(days=2)) == [4, 3, 2] and found(count=2) == [4, 3]


def test_what_a_run_was_asked_for_is_told_once_however_often_its_step_begins(world: World) -> None:
    pool = world.installation.pool
    for run_id in ("one", "one", "two", None, None):
        audit.told_of_run(pool, "release", "", NOW, run_id)
    with audit.acting(ALICE):
        audit.told_of_run(pool, "release", "", NOW, "one")
    found = world.rows("SELECT actor, detail ->> 'run' FROM audit ORDER BY audit_id")
    assert found == [("dagster", "one"), ("dagster", "two"), ("dagster", None), ("dagster", None)]


def test_what_is_asked_for_ends_as_done_or_failed(database: str) -> None:
    with open_pool(database) as pool:
        with audit.asked(pool, "remap", "src:one", lambda: NOW, ask="full") as came:
            came["generation"] = 7
        with pytest.raises(HarvesterError), audit.asked(pool, "remap", "src:two", lambda: NOW):
            raise HarvesterError("its pages are gone")
        with pool.connection() as connection:
            found = [(row.subject, row.outcome, row.detail) for row in reversed(audit.rows(connection))]
    assert found == [
        ("src:one", "asked for", {"ask": "full"}),
        ("src:one", "done", {"ask": "full", "generation": 7}),
        ("src:two", "asked for", {}),
        ("src:two", "refused", {"reason": "its pages are gone"}),
    ]


def test_a_release_by_hand_is_asked_for_once_and_ends_with_its_version(world: World) -> None:
    world.source.put("a")
    world.night()
    with audit.acting(ALICE):
        audit.told(world.installation.pool, "release", "", NOW, run="one")
    release.release(world.installation, by_hand=True, run_id="one")
    found = world.rows("SELECT outcome, detail -> 'run', detail -> 'version' FROM audit ORDER BY audit_id")
    assert found == [("asked for", "one", None), ("done", "one", 1)]


@pytest.mark.parametrize(("failed_run", "ended"), [("", "done"), ("two", "failed")])
def test_a_night_that_somebody_asked_for_ends_once_and_one_of_the_schedule_is_nobodys(
    world: World, failed_run: str, ended: str
) -> None:
    installation = world.installation
    with installation.pool.connection() as connection:
        of_the_schedule = nights.open_night(connection, installation.config, NOW).night_id
    release.end_night(installation, of_the_schedule)
    night, _ = begun(installation, NOW + timedelta(days=1))
    for _ in range(2):
        release.end_night(installation, night.night_id, failed_run=failed_run)
    found = world.rows("SELECT subject, outcome FROM audit WHERE act = 'night' ORDER BY audit_id")
    assert found == [(str(night.night_id), "asked for"), (str(night.night_id), ended)]
