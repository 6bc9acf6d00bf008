"""One record by its id: what comes of it, by Sharekit's own way and by GetRecord, and each mistake in words."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from harvester_dagster.cli.main import app
from harvester_dagster.sets import one_record, remap, steps
from harvester_dagster.sets.one_record import NotByItself
from harvester_dagster.sources.kind import UnknownRecord
from harvester_dagster.sources.source_error import SourceError
from tests.sets.harvest_once import SETTINGS, SMALL
from tests.sets.paged_source import PagedSource, paged_source
from tests.sets.scripted_source import scripted_source
from tests.sets.world import CHECKED, KEY, World, check, check_objects, commanded, opened_world
from tests.sources.misbehaving import OAI_HEAD, Reply


class TestSharekit:
    @pytest.fixture
    def world(self, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
        monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
        with scripted_source() as source, opened_world(database, source, catalog=CHECKED) as world:
            source.put("a", "b", "c")
            world.night()
            source.asked.clear()
            yield world

    def test_a_change_is_taken_and_no_watermark_moves(self, world: World) -> None:
        before = world.state()
        world.source.put("a", title="Another", files=("x",))
        came, outcome = one_record.harvest(world.installation, KEY, "a")
        assert (came.did, came.state) == ("changed", "active")
        assert came.changes == {"products": {"changed": 1}, "files": {"new": 1, "deleted": 1}}
        assert outcome.attempt and (outcome.attempt.mode, outcome.attempt.state) == ("record", "accepted")
        assert world.titles()["a"] == "Another" and world.outputs() == world.rebuilt()
        after = world.state()
        assert (after.watermark, after.refreshed_at, after.mapping_version) == (
            before.watermark,
            before.refreshed_at,
            before.mapping_version,
        )
        assert [path for path in world.source.asked if not path.startswith("/files/")] == [
            "/jsonapi/channel/v1/one/repoItems/a"
        ]
        again, outcome = one_record.harvest(world.installation, KEY, "a")
        assert again.did == "unchanged" and outcome.attempt and outcome.attempt.generation is None
        check(world)
        check_objects(world)

    def test_new_deleted_and_never_known(self, world: World) -> None:
        world.source.put("d")
        assert one_record.harvest(world.installation, KEY, "d")[0].did == "new"
        world.source.delete("d", "e")
        assert one_record.harvest(world.installation, KEY, "d")[0].did == "deleted"
        assert one_record.harvest(world.installation, KEY, "e")[0].did == "ignored"
        assert sorted(world.titles()) == ["a", "b", "c"]
        check(world)

    def test_what_cannot_be_read_stays_and_says_why(self, world: World) -> None:
        world.source.spoil("a")
        came, _ = one_record.harvest(world.installation, KEY, "a")
        assert came.did == "unreadable" and "without attributes" in came.reason
        assert world.titles()["a"] == "Title of a"

    def test_a_look_changes_nothing(self, world: World) -> None:
        world.source.put("a", title="Another")
        assert one_record.look(world.installation, KEY, "a").did == "changed"
        assert world.titles()["a"] == "Title of a" and len(world.attempts()) == 1

    @pytest.mark.parametrize(
        "name", ["z", "../../two/repoItems", "a?x=y#z", "..", ".", "a/b", "%2e%2e", "é ü", "'; --"]
    )
    def test_an_id_that_its_source_does_not_know(self, world: World, name: str) -> None:
        with pytest.raises(UnknownRecord, match="has no record"):
            one_record.harvest(world.installation, KEY, name)
        assert len(world.attempts()) == 1 and sorted(world.titles()) == ["a", "b", "c"]

    @pytest.mark.parametrize("name", ["", " ", "a\0b", "a\nb", "x" * 1001, "\udcff", "\u202ea", "a\x1b[31m"])
    def test_what_is_no_id(self, world: World, name: str) -> None:
        with pytest.raises(NotByItself, match="is no record's id"):
            one_record.harvest(world.installation, KEY, name)
        assert not world.source.asked

    def test_an_answer_that_is_another_record(self, world: World) -> None:
        world.source.records["one"]["z"] = world.source.records["one"]["a"]
        with pytest.raises(NotByItself, match="asked for z, its source answered with a"):
            one_record.harvest(world.installation, KEY, "z")

    def test_not_while_a_harvest_goes_on_or_a_candidate_waits(self, world: World) -> None:
        steps.harvest(world.installation, KEY)
        with pytest.raises(NotByItself, match="a harvest is going on"):
            one_record.harvest(world.installation, KEY, "a")
        world.night()
        world.change("UPDATE attempt SET state = 'rejected' WHERE attempt_id = (SELECT max(attempt_id) FROM attempt)")
        with pytest.raises(NotByItself, match="a rejected candidate waits"):
            one_record.harvest(world.installation, KEY, "a")
        with pytest.raises(NotByItself, match="was never harvested"):
            one_record.harvest(world.installation, "src:two", "a")

    def test_the_last_record_of_a_set_does_not_go_unjudged(self, world: World) -> None:
        world.source.delete("a", "b")
        world.night()
        world.source.delete("c")
        came, outcome = one_record.harvest(world.installation, KEY, "c")
        assert came.did == "deleted" and outcome.is_replaced and "nothing is left" in outcome.reason
        assert list(world.titles()) == ["c"]
        steps.accept(world.installation, KEY)
        assert not world.titles()

    def test_a_replay_reads_it_too(self, world: World) -> None:
        world.source.put("d")
        one_record.harvest(world.installation, KEY, "d")
        world.forward()
        remap.remap(world.installation, KEY)
        assert sorted(world.titles()) == ["a", "b", "c", "d"]

    def test_the_command(self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        commanded(world, tmp_path, monkeypatch)

        def harvester(*arguments: str) -> Result:
            return CliRunner().invoke(app, ["harvest", KEY, *arguments])

        world.source.put("a", title="Another")
        shown = harvester("--record", "a", "--dry-run", "--json")
        assert json.loads(shown.stdout)["record"]["did"] == "changed" and len(world.attempts()) == 1
        said = harvester("--record", "a", "--json")
        assert said.exit_code == 0, said.output
        assert json.loads(said.stdout)["outcome"]["attempt"]["state"] == "accepted"
        assert "is as it was" in harvester("--record", "a").output
        missing = harvester("--record", "nobody")
        assert missing.exit_code == 1 and "has no record 'nobody'" in " ".join(missing.stderr.split())
        assert harvester("--record", "a", "--full").exit_code == 2
        assert harvester("--dry-run").exit_code == 2
        world.source.spoil("a")
        assert harvester("--record", "a").exit_code == 1


class TestOaiPmh:
    @pytest.fixture
    def source(self) -> Iterator[PagedSource]:
        with paged_source(*"abc") as running:
            yield running

    @pytest.fixture
    def world(
        self, database: str, source: PagedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[World]:
        monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
        paged: Any = source
        with opened_world(database, paged, limits=SMALL, **SETTINGS) as world:
            world.night()
            source.took()
            yield world

    def test_get_record(self, world: World, source: PagedSource) -> None:
        source.titles |= {"a": "Another", "d": "New", "b": None}
        assert [one_record.harvest(world.installation, KEY, name)[0].did for name in "adbc"] == [
            "changed",
            "new",
            "deleted",
            "unchanged",
        ]
        assert world.titles() == {"a": "Another", "c": "Title of c", "d": "New"}
        assert source.took() == ["one a", "one d", "one b", "one c"]
        world.night(asked="full")
        assert world.titles() == {"a": "Another", "c": "Title of c", "d": "New"}
        check(world)
        with pytest.raises(UnknownRecord, match="idDoesNotExist: unknown here"):
            one_record.harvest(world.installation, KEY, "oai:x:1&set=two")

    def test_of_another_set(self, world: World, source: PagedSource) -> None:
        source.titles |= {"e": "Of two"}
        source.sets = ("two", "onerous")
        with pytest.raises(NotByItself, match="not of this set but of two, onerous"):
            one_record.harvest(world.installation, KEY, "e")
        source.sets = ()
        with pytest.raises(NotByItself, match="does not say of which sets"):
            one_record.harvest(world.installation, KEY, "e")
        assert one_record.harvest(world.installation, KEY, "a")[0].did == "unchanged"
        source.sets = ("one:part",)
        assert one_record.harvest(world.installation, KEY, "e")[0].did == "new"

    def test_one_that_is_not_well_formed(self, world: World, source: PagedSource) -> None:
        broken = source.record("a").replace("Title of a", "R&D")
        source.broken_singles["a"] = f"{OAI_HEAD}<GetRecord>{broken}</GetRecord></OAI-PMH>"
        came, _ = one_record.harvest(world.installation, KEY, "a")
        assert came.did == "unreadable" and "not well-formed" in came.reason
        assert world.titles()["a"] == "Title of a"

    @pytest.mark.parametrize("answer", [Reply(b"no", 404), Reply(b""), f"{OAI_HEAD}<GetRecord></GetRecord></OAI-PMH>"])
    def test_a_source_that_fails(self, world: World, source: PagedSource, answer: Reply | str) -> None:
        source.broken_singles["a"] = answer
        with pytest.raises(SourceError):
            one_record.harvest(world.installation, KEY, "a")
        assert len(world.attempts()) == 1
