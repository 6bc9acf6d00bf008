"""A process that harvests one set, or reconciles it, so that a test can kill it:
`python -m tests.sets.harvest_once DATABASE URL NOW [reconcile]`."""

import sys
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from harvester_dagster.installation import Limits
from harvester_dagster.sets import reconcile, steps
from tests.sets.world import KEY, opened_world

SMALL = Limits(page_bundle_bytes=1)
SETTINGS: dict[str, Any] = {"kind": "oai-pmh", "metadata_prefix": "oai_dc", "max_shrink": 0.99, "min_documents": 1000}

if __name__ == "__main__":
    database, url, now, *asked = sys.argv[1:]
    source: Any = SimpleNamespace(url=url, now=datetime.fromisoformat(now))
    with opened_world(database, source, limits=SMALL, **SETTINGS) as world:
        print("ready", flush=True)
        sys.stdin.readline()
        world.at(source.now)
        (reconcile.reconcile if asked else steps.harvest)(world.installation, KEY)
