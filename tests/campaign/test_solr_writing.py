"""The enricher is killed at random moments of its writing to Solr, again and again; in the end every document is right.

A quarter of CAMPAIGN_KILLS, with the seed in CAMPAIGN_SEED.
"""

import os
import random
import time
from collections.abc import Mapping

import pytest

from harvester_dagster.access.runs import run_rows
from harvester_dagster.access.runs.run import enrich
from tests.access.conftest import NOW, UNDETERMINED, Collection, Make, collection, make, outside, pool, proxy
from tests.access.meddling import Proxy
from tests.access.test_failures import another_process
from tests.access.test_run import expected, filled, small_batches, wait_until

__all__ = ["collection", "make", "outside", "pool", "proxy"]
pytestmark = [pytest.mark.campaign, pytest.mark.timeout(0)]
KILLS = int(os.environ.get("CAMPAIGN_KILLS", "100")) // 4
DOCUMENTS = 3_000
UNDISTURBED_SECONDS = 3.0


def test_after_kills_of_the_enricher_every_document_is_right(
    make: Make, collection: Collection, proxy: Proxy, database: str
) -> None:
    chance = random.Random(int(os.environ.get("CAMPAIGN_SEED", "1")))
    documents = filled(make(), DOCUMENTS)
    small_batches(make())
    wanted, killed = expected(documents), 0
    while killed < KILLS:
        completed = interrupted(database, proxy, collection, chance.uniform(0, UNDISTURBED_SECONDS))
        killed += not completed
        wait_until(lambda: run_rows.in_progress(make().pool, NOW) is None)
        if completed or killed % 5 == 0:
            report = enrich(make(), "full")
            assert report.counts.sent == report.counts.applied + report.counts.skipped
            assert collection.access() == wanted
            undecided(collection, wanted)
    assert enrich(make(), "full").state == "complete"
    assert collection.access() == wanted
    assert enrich(make(), "changed").counts.processed == 0


def interrupted(database: str, proxy: Proxy, collection: Collection, seconds: float) -> bool:
    """A run, killed so many seconds after its first update; whether it had ended before."""
    before = len(proxy.updates)
    process = another_process(database, proxy.url, collection.name, "full")
    wait_until(lambda: len(proxy.updates) > before or process.poll() is not None)
    time.sleep(seconds)
    process.kill()
    process.wait(30)
    print(f"{len(proxy.updates) - before} updates, ended with {process.returncode}", flush=True)
    return process.returncode == 0


def undecided(collection: Collection, documents: Mapping[str, object]) -> None:
    """Nothing is decided about any document, once more."""
    collection.post([{"id": id_, "fulltext_availability_ss": {"set": UNDETERMINED}} for id_ in documents])
