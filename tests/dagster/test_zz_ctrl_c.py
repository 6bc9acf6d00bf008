"""The end of `harvester up`. Named so that it comes last: nothing runs afterwards."""

import pytest

from tests.dagster.installed import Up, eventually

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(1500)]


def test_ctrl_c_leaves_no_process(up: Up) -> None:
    assert len(up.processes()) > 4  # the command, its database, the daemon, the web server and their code servers
    with up.source.holding("one"):
        up.night()
        eventually(lambda: "one" in up.source.waiting, "a run in the middle of its harvest")
        assert up.stop() == 0, up.said()
    eventually(lambda: not up.processes(), "the end of all", lambda: str(up.processes()), seconds=5)
