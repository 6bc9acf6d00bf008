"""Under `harvester up` the store itself may be killed: it is started again, and the next night runs."""

import psutil

from tests.dagster.installed import KEYS, Up, eventually


def _killed(up: Up, name: str) -> bool:
    """Whether there was one to kill."""
    found = [process for process in up.processes() if name in " ".join(process.cmdline())]
    for process in found:
        process.kill()
    psutil.wait_procs(found, 10)
    return bool(found)


def test_the_store_is_started_again_where_its_keeper_was_killed(up: Up) -> None:
    assert _killed(up, f"services.keeper {up.home}/postgres")
    eventually(lambda: up.rows("SELECT 1"), "the store")
    assert up.process.poll() is None, up.said()
    night = up.night()
    up.wait_for_night(night)
    assert up.outcomes(night) == dict.fromkeys(KEYS, "success")
