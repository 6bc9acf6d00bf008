import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harvester_dagster.outside.pace import Pace


@pytest.fixture(params=["alone", "shared"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "pace" if request.param == "shared" else None


def test_turns_at_a_host_are_apart_and_other_hosts_do_not_wait(folder: Path | None) -> None:
    pace = Pace(20, folder)
    began = time.monotonic()
    with ThreadPoolExecutor(6) as threads:
        turns = list(threads.map(lambda _: (pace.wait("a.example"), time.monotonic())[1], range(6)))
        assert pace.wait("b.example") == 0
    assert max(turns) - began >= 5 / 20


def test_all_who_share_a_folder_share_the_rate(tmp_path: Path) -> None:
    paces = [Pace(20, tmp_path) for _ in range(3)]
    began = time.monotonic()
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda number: paces[number % 3].wait("a.example"), range(6)))
    assert time.monotonic() - began >= 5 / 20


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", b"nan", b"inf", b"1e300", b"-5", b"\xff" * 40])
def test_what_stands_in_the_folder_cannot_stop_anybody(tmp_path: Path, rubbish: bytes) -> None:
    pace = Pace(1000, tmp_path)
    pace.wait("a.example")
    (file,) = tmp_path.iterdir()
    file.write_bytes(rubbish)
    assert pace.wait("a.example") < 1
    assert pace.wait("a.example") < 1


@pytest.mark.parametrize("rate", [0, math.inf])
def test_no_rate_is_no_wait(rate: float) -> None:
    pace = Pace(rate)
    assert [pace.wait("a.example") for _ in range(100)] == [0] * 100


def test_a_hold_ends_by_itself_and_is_never_shortened() -> None:
    pace = Pace(0)
    pace.hold("a.example", 0.2)
    pace.hold("a.example", 0.05)
    assert pace.held("a.example") > 0.1
    assert pace.held("b.example") == 0
    threading.Event().wait(0.25)
    assert pace.held("a.example") == 0
