"""A process that takes a document down and purges it, again and again, each time killed at another event.

As `driver.py`, of which it takes the events. Run by `test_takedown_kills.py`.
"""

import json
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from harvester_dagster import canonical
from harvester_dagster.releases import taking_down
from harvester_dagster.releases.taking_down import Named
from tests.databases import copied
from tests.kills.driver import Events, Story, forked, mine, opened
from tests.sets.world import World, check

MARKER = "Zeldzaamwoord"


def act(world: World) -> None:
    ((doc_id, set_id),) = world.rows("SELECT doc_id, set_id FROM document WHERE external_id = 'b'")
    taking_down.take_down(world.installation, Named(doc_id, set_id, "src:one:b"), "case 12", purge=True)


def shown(world: World) -> bool:
    return bool(world.rows("SELECT FROM output JOIN document USING (doc_id) WHERE published AND external_id = 'b'"))


def end(world: World) -> dict[str, Any]:
    check(world)
    names = world.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'harvester'")
    return {
        "tables": [name for (name,) in names if world.one(_HAVING.format(name=name), f"%{MARKER}%")],
        "objects": sorted(found.key for found in world.installation.objects.list()),
        "takedowns": world.rows("SELECT reason, purge FROM takedown"),
        "seqs": world.one("SELECT count(*) FROM publication WHERE takedown"),
        "audit": world.one("SELECT count(*) FROM audit WHERE act = 'takedown'"),
        "counts": world.rows("SELECT gen, published FROM generation ORDER BY 1"),
        "outputs": canonical.digest(canonical.encode(world.outputs())).hex(),
    }


_HAVING = "SELECT count(*) FROM harvester.{name} x WHERE x::text LIKE %s"


def main(story: Story) -> None:
    home = Path(story["home"])

    def one(url: str, folder: str, fatal: int | None) -> dict[str, Any]:
        os.environ["HARVESTER_HOME"] = str(home / folder)
        if not (home / folder).exists():
            shutil.copytree(story["before"], home / folder)
        events = Events(fatal)
        with opened(url, story) as world:
            was_shown = shown(world)
            is_begun = bool(world.rows("SELECT FROM takedown"))
            events.watch()
            act(world)
            seen = list(events.seen)
            if fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"events": seen, "half": was_shown == is_begun, **end(world)}

    with copied(story["admin"], story["template"]) as url:
        undisturbed = forked(partial(one, url, "undisturbed", None))
    print(json.dumps(undisturbed), flush=True)
    for fatal in mine(undisturbed["events"], story):
        with copied(story["admin"], story["template"]) as url:
            killed = forked(partial(one, url, str(fatal), fatal))
            ended = forked(partial(one, url, str(fatal), None))
        print(json.dumps({"at": fatal, "killed": killed, "ended": ended}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
