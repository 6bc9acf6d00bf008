"""`harvester up` takes pushes: its worker is there, is started anew when it is killed, and tells Dagster."""

import dagster as dg
import pytest
import requests

from harvester_dagster.installation import utc_now
from tests.dagster.installed import WEBHOOK_SECRET, Up, eventually
from tests.dagster.test_under_daemon import stop_schedule

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(1500)]


def push(up: Up, name: str, title: str) -> None:
    up.source.now = utc_now()
    record = up.source.record(name, title=title)
    place = f"http://127.0.0.1:{up.config.web.port}/webhook/product/src:one/{WEBHOOK_SECRET}/"
    answer = requests.post(place, json=record, timeout=60)
    assert answer.status_code == 200, answer.text


def shown(up: Up, name: str) -> str | None:
    answer = requests.get(f"http://127.0.0.1:{up.config.web.port}/api/v1/product/src:one:{name}/", timeout=60)
    return answer.json()["title"] if answer.status_code == 200 else None


def test_pushes_under_up_are_shown_and_its_worker_is_started_anew(up: Up) -> None:
    stop_schedule(up)
    if up.current() is None:
        up.night()
    for (night,) in up.rows("SELECT night_id FROM night WHERE ended_at IS NULL"):
        up.wait_for_night(night)
    push(up, "one-0", "Pushed")
    eventually(lambda: shown(up, "one-0") == "Pushed", "the push is shown", up.said)
    worker = up.push_worker()
    assert worker is not None
    worker.kill()
    push(up, "pushed-new", "New")
    eventually(lambda: shown(up, "pushed-new") == "New", "a worker that was killed is started anew", up.said)

    def told() -> bool:
        of_set = dg.AssetRecordsFilter(dg.AssetKey(["products", "set"]), asset_partitions=["src:one"])
        events = [
            record.asset_materialization for record in up.instance.fetch_materializations(of_set, limit=5).records
        ]
        return any(event is not None and "pushed" in event.metadata for event in events)

    eventually(told, "Dagster is told")
    log = up.home / "logs" / "push-worker.log"
    assert WEBHOOK_SECRET not in log.read_text() + up.said()
