"""`examples/consumer.py`, as a program over real HTTP, keeps an exact copy over nights, a rollback and a release."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg

from harvester_dagster.publication import log
from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from tests.consumers.copies import FeedReader, SinceReader, client_of
from tests.consumers.serving import listening
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import World

__all__ = ["open_world", "source"]
CONSUMER = Path(__file__).parents[2] / "examples" / "consumer.py"


def shown(world: World) -> dict[str, Any]:
    with world.installation.pool.connection() as connection:
        current = versions.current(connection)
    assert current
    gen = current.generations[world.state().set_id]
    return {body["srn"]: body for body in world.outputs(gen=gen).values()}


def released(world: World) -> versions.Version:
    world.night()
    version = release.prepare(world.installation)
    assert version
    return versions.promote(world.installation, version)


def test_it_keeps_an_exact_copy(open_world: OpenWorld, tmp_path: Path) -> None:
    world = open_world(installed={"web": {}}, deletes="persistent")
    file = tmp_path / "copy.json"
    with listening(world.installation) as api:

        def copied() -> Any:
            ran = subprocess.run(
                [sys.executable, CONSUMER, api, file], capture_output=True, text=True, timeout=60, check=False
            )
            assert ran.returncode == 0, ran.stderr
            return json.loads(file.read_text())[1]

        assert copied() == {}
        world.source.put(*(f"r{number}" for number in range(1200)), files=("x",))
        first = released(world)
        assert copied() == shown(world) and len(shown(world)) == 2400
        world.source.put("r1", title="Another", files=("x", "y"))
        world.source.delete("r2")
        released(world)
        assert copied() == shown(world)
        versions.promote(world.installation, first, rollback=True)
        assert copied() == shown(world)


def test_a_promotion_that_takes_seconds_to_commit_is_lost_by_nobody(open_world: OpenWorld) -> None:
    """Readers who ask between its time and its commit know nothing of it, and come back for it."""
    world = open_world()
    client = client_of(world.installation)
    readers = FeedReader(client, 2), SinceReader(client, 2)
    world.source.put("a", "b")
    released(world)
    world.source.put("a", title="Another")
    world.night()
    version = release.prepare(world.installation)
    assert version
    written = threading.Event()

    def late(*arguments: Any) -> int | None:
        seq = log.write(*arguments)
        written.set()
        time.sleep(2)
        return seq

    promoting = threading.Thread(target=lambda: _promoted_late(world, version, late))
    promoting.start()
    assert written.wait(10)
    for reader in readers:
        reader.catch_up()
        assert reader.copy["src:one:a"]["title"] != "Another"
    promoting.join(10)
    for reader in readers:
        reader.catch_up()
        assert reader.copy == shown(world) and reader.copy["src:one:a"]["title"] == "Another"


def _promoted_late(world: World, version: versions.Version, late: Any) -> None:
    """As `versions.promote`, but that its transaction stays open for a while."""
    with psycopg.connect(world.url, options="-c search_path=harvester") as connection:
        present = versions.current(connection)
        assert present
        connection.execute("UPDATE current_version SET version_id = %s", (version.version_id,))
        late(connection, version.version_id, present.generations, version.generations, world.now)
