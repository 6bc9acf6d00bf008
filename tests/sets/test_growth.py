"""What a night costs grows with batches, not with documents."""

from collections import Counter

import pytest

from harvester_dagster.installation import Limits
from tests.sets.conftest import OpenWorld
from tests.sets.scripted_source import ScriptedSource
from tests.sets.test_tasks import statements
from tests.sets.world import KEY, Scripted, World, catalog

IDS = "SELECT nextval('doc_id_block') FROM generate_series(1, %s)"


def cost(world: World, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    with statements(monkeypatch) as sent:
        assert not world.night().is_replaced
    return Counter(" ".join(statement.split())[:80] for statement in sent)


def nights(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch, documents: int) -> list[Counter[str]]:
    """Statements of the first night, of one without news, of one in which half of it changed, in four batches each."""
    batch = documents // 4
    limits = Limits(
        extracted=documents // 8,
        compared=batch,
        evaluated=batch,
        produced=batch,
        outcome_seconds=1_000,  # on a slow machine outcomes are stored more often
    )
    echo = Scripted(batch=batch)
    world = open_world(catalog=catalog(echo.row), limits=limits, deletes="no")
    world.source.page_size = documents // 8
    names = [f"{number:05}" for number in range(documents)]
    world.source.put(*names, publishedAt="no date")
    found = [cost(world, monkeypatch), cost(world, monkeypatch)]
    world.source.put(*names[::2], publishedAt="no date", title="Another")
    found.append(cost(world, monkeypatch))
    assert world.titles(KEY)[names[0]] == "Another"
    return found


def test_ten_times_the_documents_in_as_many_batches_take_as_many_statements(
    open_world: OpenWorld, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = nights(open_world, monkeypatch, 160)
    source.records.clear()
    world = open_world(deletes="no")
    with world.installation.pool.connection() as connection:
        connection.execute(
            """TRUNCATE harvest_set, asked_anew, takedown, push, attempt,
               document, revision, body, output, output_body, generation,
               task_use, task_progress, task_report, result, dirty, stale_use, problem, page_bundle, night_set,
               dataset_version_set, publication RESTART IDENTITY"""
        )
    large = nights(open_world, monkeypatch, 1_600)
    for few, many in zip(small, large, strict=True):
        assert many.pop(IDS, 0) <= 4, "ids come in blocks of a thousand, by at most one statement a batch"
        few.pop(IDS, 0)
        assert many == few, many - few
