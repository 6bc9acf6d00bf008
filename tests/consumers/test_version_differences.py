"""What going to another version would do, counted and in samples; and the command that says so before it does it."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harvester_dagster.cli.main import app
from harvester_dagster.consumers.version_differences import VersionsCompared, compared
from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from tests.sets.conftest import open_world, source, world
from tests.sets.world import World, commanded

__all__ = ["open_world", "source", "world"]


def released(world: World) -> None:
    version = release.prepare(world.installation)
    assert version is not None
    release.publish(world.installation, version)


@pytest.fixture
def told(world: World) -> World:
    """Version 2 has b as well, another title of a, and no c."""
    world.source.put("a", "c", title="As it was")
    world.night()
    released(world)
    world.source.put("a", "b", title="As it is")
    world.source.delete("c")
    world.night()
    released(world)
    return world


def going(world: World, old: int, new: int, samples: int = 20, limit: str = "30s") -> VersionsCompared:
    with world.installation.reading.connection() as connection, connection.transaction():
        connection.execute(f"SET LOCAL statement_timeout = '{limit}'")
        gens = [versions.by_id(connection, version).generations for version in (old, new)]
        return compared(connection, *gens, samples)


def back(world: World, samples: int = 20) -> VersionsCompared:
    return going(world, 2, 1, samples)


def test_what_would_come_change_and_go(told: World) -> None:
    found = back(told)
    assert found.counts == {
        "products": {"added": 1, "changed": 1, "removed": 1},
        "files": {"added": 1, "removed": 1},
    }
    assert found.sets == 1
    changed = {each.srn: each for each in found.samples}
    assert changed["src:one:c"].change == "added" and changed["src:one:b"].change == "removed"
    titles = [(field.before, field.after) for field in changed["src:one:a"].fields if field.field == "title"]
    assert titles == [("As it is", "As it was")]


def test_what_takes_longer_than_a_statement_may_is_not_told(told: World) -> None:
    told.change(
        """WITH made AS (
               INSERT INTO document (doc_id, set_id, entity, external_id)
               SELECT (SELECT max(doc_id) FROM document) + n, set_id, 'products', 'x' || n
               FROM harvest_set, generate_series(1, 100000) n WHERE key = 'src:one' RETURNING *)
           INSERT INTO output (doc_id, set_id, entity, from_gen, published, hash, made_from)
           SELECT doc_id, set_id, entity, 2, true, '', '' FROM made"""
    )
    found = back(told)
    assert found.counts and found.counts["products"] == {"added": 1, "changed": 1, "removed": 100_001}
    assert going(told, 2, 1, limit="5ms") == VersionsCompared(None, 1, [])


def test_the_command_says_what_it_would_do(told: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commanded(told, tmp_path, monkeypatch)

    def harvester(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["versions", *arguments])
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    said = harvester("rollback", "--dry-run")
    assert "Version 1 of" in said and "products: 1 added, 1 changed, 1 removed" in said
    assert 'title: "As it is" → "As it was"' in said
    plain = json.loads(harvester("rollback", "1", "--dry-run", "--json"))
    assert plain["rolled_back"] is False and plain["counts"]["products"] == {"added": 1, "changed": 1, "removed": 1}
    assert told.one("SELECT version_id FROM current_version") == 2
    refused = CliRunner().invoke(app, ["versions", "rollback", "9", "--dry-run"])
    assert refused.exit_code == 1 and "there is no version 9" in refused.stderr

    dry = CliRunner().invoke(app, ["release", "--dry-run"])
    assert dry.exit_code == 0 and "Nothing would be published" in dry.output
    told.source.put("d")
    told.night()
    dry = CliRunner().invoke(app, ["release", "--dry-run"])
    assert "in the place of version 2, with 1 sets moved" in dry.output, dry.output
    assert "products: 1 added, 0 changed, 0 removed" in dry.output
    dry = CliRunner().invoke(app, ["release", "--dry-run", "--json"])
    assert json.loads(dry.stdout)["counts"]["products"] == {"added": 1}
    assert told.one("SELECT version_id FROM current_version") == 2, "nothing was released"

    assert "are held: held by" in harvester("hold", "--why", "a demonstration")
    assert "a demonstration" in harvester("end-hold")
    ended = CliRunner().invoke(app, ["versions", "end-hold"])
    assert ended.exit_code == 1 and "are not held" in ended.stderr


def test_some_of_each_kind_are_shown_however_many_there_are_of_one(world: World) -> None:
    world.source.put(*(f"c{number:03}" for number in range(300)), *(f"g{number}" for number in range(5)), files=())
    world.night()
    released(world)
    world.source.put(*(f"c{number:03}" for number in range(300)), title="Changed", files=())
    world.source.put(*(f"n{number}" for number in range(5)), files=())
    world.source.delete(*(f"g{number}" for number in range(5)))
    world.night()
    released(world)
    counts = Counter(each.change for each in going(world, 1, 2).samples)
    assert counts["removed"] == 5 and counts["changed"] >= 10 and sum(counts.values()) == 20
    assert Counter(each.change for each in back(world).samples)["added"] == 5


def test_no_more_samples_than_are_asked_for_and_none_twice(told: World) -> None:
    for most in range(1, 8):
        names = [each.srn for each in back(told, samples=most).samples]
        assert len(names) == len(set(names)) == min(most, 5)


def test_one_that_goes_among_many_that_change_is_shown(world: World) -> None:
    many = [f"c{number:04}" for number in range(3_000)]
    world.source.put(*many, files=())
    world.night()
    released(world)
    world.source.put(*many[1:-1], title="Changed", files=())
    world.source.delete(many[-1])
    world.night()
    released(world)
    assert [each.srn for each in going(world, 1, 2).samples if each.change == "removed"] == [f"src:one:{many[-1]}"]
