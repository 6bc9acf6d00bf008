"""`dagster.yaml`: the one that ships is what Dagster takes; a copy that an operator has changed is left alone."""

from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets import names
from harvester_dagster.cli.dagster_settings import SHIPPED, place
from harvester_dagster.cli.session import dagster_home
from harvester_dagster.config import Config, NightSettings, Store


@pytest.fixture
def ships(tmp_path: Path) -> Path:
    """A file that ships, to be replaced by a newer one."""
    file = tmp_path / "ships.yaml"
    file.write_text("first: 1\n")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dagster"
    folder.mkdir()
    return folder


def test_an_unchanged_copy_follows_what_ships(folder: Path, ships: Path) -> None:
    for text in ("first: 1\n", "second: 2\n", "third: 3\n"):
        ships.write_text(text)
        assert place(folder, ships) == ""
        assert (folder / "dagster.yaml").read_text() == text


def test_a_changed_copy_stays_and_a_newer_one_is_told_once(folder: Path, ships: Path) -> None:
    place(folder, ships)
    (folder / "dagster.yaml").write_text("mine: 1\n")
    assert place(folder, ships) == ""
    ships.write_text("second: 2\n")
    told = place(folder, ships)
    assert str(folder / "dagster.yaml") in told and str(ships) in told
    assert place(folder, ships) == ""
    assert (folder / "dagster.yaml").read_text() == "mine: 1\n"
    ships.write_text("third: 3\n")
    assert place(folder, ships) == told


def test_a_copy_that_was_removed_comes_back(folder: Path, ships: Path) -> None:
    place(folder, ships)
    (folder / "dagster.yaml").write_text("mine: 1\n")
    place(folder, ships)
    (folder / "dagster.yaml").unlink()
    place(folder, ships)
    ships.write_text("second: 2\n")
    assert place(folder, ships) == ""
    assert (folder / "dagster.yaml").read_text() == "second: 2\n"


def test_one_that_was_there_before_us_stays(folder: Path, ships: Path) -> None:
    (folder / "dagster.yaml").write_text("mine: 1\n")
    assert place(folder, ships) == ""
    assert (folder / "dagster.yaml").read_text() == "mine: 1\n"


def test_one_that_earlier_versions_wrote_anew_at_every_start_is_replaced(folder: Path, ships: Path) -> None:
    (folder / "dagster.yaml").write_text("# Written anew at every start. What can be set is in harvester.toml.\nx: 1\n")
    place(folder, ships)
    assert (folder / "dagster.yaml").read_text() == "first: 1\n"


def test_the_queue_lets_as_many_of_a_source_run_as_may_ask_it(folder: Path) -> None:
    """A run of the queue never waits in its step for a slot of its source, and no slot is left empty by the queue."""
    for at_once in (1, 2, 3, 4, 10):
        settings = NightSettings(max_concurrent_sets=at_once)
        assert place(folder, of_one_source=settings.sets_of_one_source) == ""
        limits = yaml.safe_load((folder / "dagster.yaml").read_text())["run_coordinator"]["config"]
        assert limits["tag_concurrency_limits"][0] == {
            "key": names.SOURCE_TAG,
            "value": {"applyLimitPerUniqueValue": True},
            "limit": settings.sets_of_one_source,
        }


def test_a_changed_copy_stays_when_the_number_is_another(folder: Path) -> None:
    place(folder, of_one_source=2)
    file = folder / "dagster.yaml"
    file.write_text(file.read_text().replace("limit: 2", "limit: 9"))
    assert place(folder, of_one_source=2) == ""
    assert "compare it" in place(folder, of_one_source=5)
    assert "limit: 9" in file.read_text() and place(folder, of_one_source=5) == ""


def test_dagster_takes_what_ships_with_the_values_of_the_configuration(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    for name in ("DAGSTER_POSTGRES_URL", "HARVESTER_MAX_CONCURRENT_SETS", "DAGSTER_HOME", "HARVESTER_CONFIG"):
        monkeypatch.setenv(name, "of before")
    monkeypatch.setenv("STORE_OF_THE_LIBRARY", database)
    dagster_home(
        Config(store=Store(postgres_url_env="STORE_OF_THE_LIBRARY"), night=NightSettings(max_concurrent_sets=7))
    )
    written = (tmp_path / "dagster" / "dagster.yaml").read_text()
    assert written == SHIPPED.read_text().replace("limit: 2  # half", "limit: 3  # half")
    with dg.DagsterInstance.get() as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None and queue.max_concurrent_runs == 7
        assert [(limit["key"], limit["limit"]) for limit in queue.tag_concurrency_limits] == [
            (names.SOURCE_TAG, 3),
            ("dagster/partition", 1),
            (names.RETRY_TAG, 1),
        ]
        assert instance.run_retries_enabled and instance.get_runs() == []
