"""A process that reconciles one set, so that a test can kill it: `python -m tests.sets.reconcile_once DATABASE URL
NOW`."""

import sys
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from harvester_dagster.sets import reconcile
from tests.sets.harvest_once import SETTINGS, SMALL
from tests.sets.world import KEY, opened_world

if __name__ == "__main__":
    database, url, now = sys.argv[1:]
    source: Any = SimpleNamespace(url=url, now=datetime.fromisoformat(now))
    with opened_world(database, source, limits=SMALL, **SETTINGS) as world:
        print("ready", flush=True)
        sys.stdin.readline()
        world.at(source.now)
        reconcile.reconcile(world.installation, KEY)
