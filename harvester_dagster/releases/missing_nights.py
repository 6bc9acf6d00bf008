"""Nights that did not begin: nothing of Dagster's can say so, since no run of theirs ever ran.

Whoever supervises the daemon looks here. Belongs here: which tick of the night's schedule has no night, and telling
people, with the store or without it. Does not belong here: nights that began (`nights.py`, `alerts.py`).
"""

from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection, OperationalError
from psycopg_pool import PoolTimeout

from harvester_dagster.config import Config
from harvester_dagster.installation import Installation
from harvester_dagster.releases import alert_mail, alerts, nights
from harvester_dagster.releases.alerts import Alert

PATIENCE = timedelta(minutes=30)
"""A night's first run may wait so long behind runs that go on already."""
_MEND = (
    "see logs/dagster-daemon.log, and whether the schedule `nightly` is switched on in the Dagster UI; "
    "`harvester night` runs a night now"
)


class MissingNights:
    """What one supervisor has seen of the schedule since it began."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._since = installation.clock()
        self._settled: datetime | None = None
        """The newest tick that has its night, or that people were told of."""
        self._mailed: datetime | None = None

    def look(self) -> Alert | None:
        """Tell people of the newest tick that has no night, once; what they were told now."""
        config, now = self._installation.config, self._installation.clock()
        tick = newest_tick(config, now - PATIENCE)
        if not config.sets or tick <= self._since or tick == self._settled:
            return None
        try:
            with self._installation.pool.connection(timeout=10) as connection:
                if nights.of_tick(connection, tick):
                    self._settled = tick
                    return None
            why = ""
        except (OperationalError, PoolTimeout) as error:
            why = f": the store cannot be reached ({(str(error).strip() or 'no answer').splitlines()[0]})"
        found = _alert(tick, why)
        if alerts.send(self._installation, found):
            self._settled = tick
        if tick != self._mailed:
            self._mailed = tick
            alert_mail.tell_by_mail(self._installation, [found])
        return found


def missing(installation: Installation, connection: Connection[Any], since: datetime) -> Alert | None:
    """The night that did not begin, where it is the newest one of the schedule and no other was run since. `since`:
    who looks knows of no tick before it; an earlier night vouches for the schedule too."""
    config = installation.config
    if not (config.sets and config.night.automation):
        return None
    tick = newest_tick(config, installation.clock() - PATIENCE)
    row = connection.execute(
        """SELECT EXISTS (SELECT FROM night WHERE scheduled_at = %(tick)s OR opened_at >= %(tick)s),
                  EXISTS (SELECT FROM night WHERE opened_at < %(tick)s)""",
        {"tick": tick},
    ).fetchone()
    has_begun, had_nights = row or (False, False)
    return _alert(tick) if not has_begun and (had_nights or tick > since) else None


def _alert(tick: datetime, why: str = "") -> Alert:
    return Alert(f"no-night {nights.tick_name(tick)}", f"no night has begun at {tick:%Y-%m-%d %H:%M}{why}", _MEND)


def newest_tick(config: Config, moment: datetime) -> datetime:
    """The last time before this moment at which the schedule asks for a night, in the installation's zone."""
    from croniter import croniter  # a tenth of a second, at every start of a command

    found: datetime = croniter(config.night.cron, moment.astimezone(config.zone)).get_prev(datetime)
    return found
