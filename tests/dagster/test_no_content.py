"""Dagster keeps what it is told for good: it is told nothing of what a document holds, and a purge leaves nothing."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import zstandard

from harvester_dagster.releases import taking_down
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.tasks import check_url
from harvester_dagster.tasks.task import Item, Outcome
from tests.dagster.test_evaluation import TABLES, Dagster, in_dagster
from tests.releases.test_purging import MARKER, READING, filled
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import Scripted, catalog, drawing

__all__ = ["open_world", "source"]


def failing(item: Item) -> Outcome:
    """As tasks fail: with a sentence of their own, or of whatever they met."""
    if item.srn.endswith("secret"):
        raise ValueError(f"cannot read {item.subject.properties['title']}")
    return Outcome("failure", reason=f"{item.subject.properties['title']} is no title")


@pytest.fixture
def dagster(open_world: OpenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dagster]:
    echo = Scripted()
    echo.answer = failing
    tasks = catalog(check_url.TASK, READING, drawing(), echo.row)
    world = open_world(catalog=tasks, min_documents=1000)
    monkeypatch.setenv(world.installation.config.store.postgres_url_env, world.url)
    world.source.contents = {"secret/own": f"{MARKER} in a file".encode()}
    world.source.put("a", title="One", files=("shared/x",))
    filled(world, f"{MARKER} first")
    with in_dagster(world, tmp_path / "dagster") as found:
        yield found


def tables_with(dagster: Dagster, text: str) -> set[str]:
    """Of ours and of Dagster's."""
    asked = (f"%{text}%", f"%{text.encode().hex()}%")
    with psycopg.connect(dagster.world.url) as connection:
        names = [name for (name,) in connection.execute(TABLES)]
        query = "SELECT EXISTS (SELECT FROM {} x WHERE x::text LIKE ANY (%s))"
        return {name for name in names if connection.execute(query.format(name), (list(asked),)).fetchone() == (True,)}


def files_with(folder: Path, text: str) -> list[Path]:
    """Of the state folder, and of Dagster's with the logs of its steps."""

    def content(path: Path) -> bytes:
        read = path.read_bytes()
        return zstandard.ZstdDecompressor().decompress(read) if path.suffix == ".zst" else read

    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in content(path)]


def test_dagster_is_told_no_content_and_a_purge_leaves_none_anywhere(dagster: Dagster, tmp_path: Path) -> None:
    for title in ("first", "second"):
        filled(dagster.world, f"{MARKER} {title}")
        for request in (*dagster.evaluate("nightly"), *dagster.evaluate("night_watch")):
            dagster.run(request)
        dagster.world.forward()
    told = {name for name in tables_with(dagster, "src:one:secret") if name.startswith("public.")}
    assert "public.event_logs" in told, "of which documents it was, Dagster is told"
    logs = [path for path in (tmp_path / "dagster").rglob("*") if path.is_file() and path.stat().st_size]
    assert len(logs) > 2, "there are logs of steps"
    found = tables_with(dagster, MARKER)
    assert {"harvester.result", "harvester.body", "harvester.task_report"} <= found
    assert {name for name in found if name.startswith("public.")} == set()
    assert files_with(tmp_path / "dagster", MARKER) == []
    assert files_with(tmp_path, MARKER)
    ((doc_id, set_id),) = dagster.world.rows(
        "SELECT doc_id, set_id FROM document WHERE external_id = 'secret' AND set_id = 1"
    )
    named = Named(doc_id, set_id, "src:one:secret")
    assert taking_down.take_down(dagster.world.installation, named, "case 12", purge=True).purge == "done"
    assert tables_with(dagster, MARKER) == set() and files_with(tmp_path, MARKER) == []
