"""Nights that did not begin: nothing of Dagster's can say so, since no run of theirs ever ran.

Whoever supervises the daemon looks here. Belongs here: which tick of the night's schedule has no night, whether that
can be known at all, and telling people, with the store or without it. Does not belong here: nights that began
(`nights.py`, `alerts.py`).
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from harvester_dagster.config import Config
from harvester_dagster.installation import Installation
from harvester_dagster.releases import alert_mail, alerts, nights
from harvester_dagster.releases.alerts import Alert
from harvester_dagster.store.away import is_away

PATIENCE = timedelta(minutes=30)
"""A night's first run may wait so long behind runs that go on already."""
STORE_PATIENCE = timedelta(minutes=10)
"""So long the store may be away before anybody is told; as long Dagster has when it is back, to catch up."""
LOOK_PATIENCE = timedelta(minutes=1)
"""Between two looks. Who did not look for longer was away, or slept, and all of its machine with it."""
_MEND = (
    "see logs/dagster-daemon.log, and whether the schedule `nightly` is switched on in the Dagster UI; "
    "`harvester night` runs a night now"
)
_STORE_MEND = "start PostgreSQL again, or mend the way to it; a night that is due begins by itself then"


class MissingNights:
    """What one supervisor has seen of the schedule since it began. `is_queued` says whether Dagster has runs of a tick
    that have not ended: they may wait for others."""

    def __init__(self, installation: Installation, is_queued: Callable[[datetime], bool] = lambda _tick: False) -> None:
        self._installation, self._is_queued = installation, is_queued
        self._since = self._reached_at = self._looked_at = installation.clock()
        self._is_away, self._back_at = False, datetime.min.replace(tzinfo=UTC)
        self._settled: datetime | None = None
        """The newest tick that has its night, or that people were told of."""
        self._told: set[str] = set()
        self._mailed: set[str] = set()

    def look(self) -> Alert | None:
        """Tell people of the newest tick that has no night, or of which that cannot be known; each once. What they were
        told now. The store is asked each time: how long it was away is known however that fell."""
        config, now = self._installation.config, self._installation.clock()
        tick = newest_tick(config, now - PATIENCE)
        is_due = bool(config.sets) and tick > self._since and tick != self._settled
        if now > self._looked_at + LOOK_PATIENCE:
            self._back_at = now
        self._looked_at = now
        try:
            has_begun = self._has_begun(tick)
            is_queued = is_due and not has_begun and self._is_queued(tick)
        except Exception as error:
            if not is_away(error):
                raise
            self._is_away = True
            is_long = now >= max(self._reached_at, tick + PATIENCE) + STORE_PATIENCE
            return self._tell(_unknown(tick, error)) if is_due and is_long else None
        self._reached(now)
        if is_due and has_begun:
            self._settled = tick
        if not is_due or has_begun or is_queued or now < self._back_at + STORE_PATIENCE:
            return None
        found = _missed(tick)
        told = self._tell(found)
        if found.cause in self._told:
            self._settled = tick
        return told

    def _reached(self, now: datetime) -> None:
        self._reached_at = now
        if self._is_away:
            self._is_away, self._back_at = False, now

    def _has_begun(self, tick: datetime) -> bool:
        with self._installation.pool.connection(timeout=10) as connection:
            return nights.begun_since(connection, tick)

    def _tell(self, found: Alert) -> Alert | None:
        """Tell it where it was not told; mail it once, whether or not somebody takes the other."""
        if found.cause in self._told:
            return None
        if alerts.send(self._installation, found):
            self._told.add(found.cause)
        if found.cause not in self._mailed:
            self._mailed.add(found.cause)
            alert_mail.tell_by_mail(self._installation, [found])
        return found


def missing(installation: Installation, connection: Connection[Any], since: datetime) -> Alert | None:
    """The night that did not begin, where it is the newest one of the schedule and no other was run since. `since`:
    who looks knows of no tick before it; an earlier night vouches for the schedule too."""
    config = installation.config
    if not (config.sets and config.night.automation):
        return None
    tick = newest_tick(config, installation.clock() - PATIENCE)
    if nights.begun_since(connection, tick):
        return None
    row = connection.execute("SELECT EXISTS (SELECT FROM night WHERE opened_at < %s)", (tick,)).fetchone()
    return _missed(tick) if row == (True,) or tick > since else None


def _missed(tick: datetime) -> Alert:
    return Alert(f"no-night {nights.tick_name(tick)}", f"no night has begun at {tick:%Y-%m-%d %H:%M}", _MEND)


def _unknown(tick: datetime, error: Exception) -> Alert:
    reason = (str(error).strip() or "no answer").splitlines()[0]
    return Alert(
        f"store-away {nights.tick_name(tick)}",
        f"the store cannot be reached, and no night can begin, that of {tick:%Y-%m-%d %H:%M} neither: {reason}",
        _STORE_MEND,
    )


def newest_tick(config: Config, moment: datetime) -> datetime:
    """The last time before this moment at which the schedule asks for a night, in the installation's zone."""
    from croniter import croniter  # a tenth of a second, at every start of a command

    found: datetime = croniter(config.night.cron, moment.astimezone(config.zone)).get_prev(datetime)
    return found
