"""Under `harvester up` sessions of the store end at random moments of a night, idle ones and busy ones; or a backend is
killed, with which all of them end. No set loses its night."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

import psycopg
import pytest

from harvester_dagster.installation import utc_now
from tests.dagster.installed import KEYS, SETS, Up, eventually
from tests.sessions import Ender

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(1500)]
Found = TypeVar("Found")


@pytest.mark.parametrize(("act", "seconds", "most"), [("terminate", 0.2, 400), ("kill", 4, 5)])
@pytest.mark.parametrize("turn", range(2))
def test_no_set_loses_its_night(up: Up, act: str, seconds: float, most: int, turn: int) -> None:
    up.source.now = utc_now()
    for spec in SETS:
        up.source.put(*(f"{spec}-{number}" for number in range(20)), spec=spec, title=f"after {act} {turn}")
    before = up.generations()
    ender = Ender(up.store_url, turn)
    with ender.going_on(getattr(ender, act), seconds, most):
        night = eventually(lambda: _unhindered(up.night), "a night")
        eventually(lambda: _unhindered(lambda: _has_ended(up, night)), "its end", lambda: str(up.outcomes(night)))
    assert ender.ended, "nothing was ended"
    up.wait_for_night(night)
    assert up.outcomes(night) == dict.fromkeys(KEYS, "success"), up.said()
    assert all(generation > before.get(key, 0) for key, generation in up.generations().items())


def _has_ended(up: Up, night: int) -> bool:
    return up.one("SELECT ended_at FROM night WHERE night_id = %s", night) is not None


def _unhindered(ask: Callable[[], Found]) -> Found | None:
    """What is answered; None where the session of who asks was ended."""
    with contextlib.suppress(psycopg.OperationalError):
        return ask()
    return None
