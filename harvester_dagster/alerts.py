"""What people are told: once per cause, to a URL as JSON, and to Sentry when that is configured.

A cause is told when it appears and forgotten when it is over, so that it is told again when it comes back. Nobody
listening is no error: it stays visible in the store, the reports and the checks.
"""

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.types.json import Jsonb

from harvester_dagster import nights
from harvester_dagster.config import secret
from harvester_dagster.harvesting import attempts, sets
from harvester_dagster.installation import Installation
from harvester_dagster.outside.failures import OutsideError


class Alert(NamedTuple):
    """`cause` names it once and for all, such as `fallback edurep:l4l`."""

    cause: str
    message: str
    mend: str
    since: datetime | None = None


def standing(installation: Installation) -> list[Alert]:
    """What people should know of now: sets on fallback for some nights, sources and runs that failed."""
    found = []
    with installation.pool.connection() as connection:
        left_behind = nights.left_behind(connection)
        for state in sets.all_sets(connection):
            if state.retired_at is not None:
                continue
            if alert := _of_set(connection, installation, state):
                found.append(alert)
            elif why := left_behind.get(state.key):
                mend = f"look at its run in the UI (tag harvest/set={state.key}); `harvester harvest {state.key}`"
                found.append(Alert(f"left-behind {state.key}", f"{state.key}: released without it: {why}", mend))
    return found


def _of_set(connection: Connection[Any], installation: Installation, state: sets.SetState) -> Alert | None:
    newest = attempts.last(connection, state.set_id, harvests_only=True)
    if newest is None or newest.state not in ("rejected", "failed", "superseded"):
        return None
    nights = nights_in_a_row(connection, installation, state.set_id)
    if newest.state == "failed":
        return Alert(
            f"source-failed {state.key}",
            f"{state.key}: its source failed: {newest.reason}",
            "the set keeps its last accepted state and is tried again tonight; look at the source",
            newest.ended_at,
        )
    if nights >= installation.config.night.alert_after_rejected_nights:
        return Alert(
            f"fallback {state.key}",
            f"{state.key}: rejected {nights} nights in a row: {newest.reason}",
            f"see what it would change with `harvester accept {state.key} --dry-run`, then accept or dismiss it",
            newest.ended_at,
        )
    return None


def nights_in_a_row(connection: Connection[Any], installation: Installation, set_id: int) -> int:
    """Calendar days on which a harvest was rejected since the last one that was accepted."""
    row = connection.execute(
        """SELECT count(DISTINCT (started_at AT TIME ZONE %(zone)s)::date) FROM attempt
           WHERE set_id = %(set)s AND verdict IS NOT NULL AND state IN ('rejected', 'superseded', 'dismissed')
             AND mode IN ('full', 'delta', 'reset')
             AND attempt_id > coalesce((SELECT max(attempt_id) FROM attempt WHERE set_id = %(set)s
                 AND state = 'accepted' AND mode IN ('full', 'delta', 'reset')), 0)""",
        {"zone": installation.config.timezone, "set": set_id},
    ).fetchone()
    return row[0] if row else 0


def tell(installation: Installation, alerts: list[Alert], over: bool = True) -> list[Alert]:
    """Tell what was not told yet; with `over`, causes that are not among these any more are forgotten."""
    with installation.pool.connection() as connection:
        told = {cause for (cause,) in connection.execute("SELECT cause FROM alert")}
        if over:
            connection.execute("DELETE FROM alert WHERE cause <> ALL (%s)", ([alert.cause for alert in alerts],))
    fresh = [alert for alert in alerts if alert.cause not in told]
    for alert in fresh:
        if _send(installation, alert):
            with installation.pool.connection() as connection:
                connection.execute(
                    "INSERT INTO alert (cause, told_at, body) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                    (alert.cause, installation.clock(), Jsonb(_body(alert))),
                )
    return fresh


def _body(alert: Alert) -> dict[str, Any]:
    since = alert.since.isoformat() if alert.since else None
    return {"cause": alert.cause, "message": alert.message, "mend": alert.mend, "since": since}


def _send(installation: Installation, alert: Alert) -> bool:
    """Whether it counts as told: nobody configured, or somebody took it."""
    night = installation.config.night
    if dsn := secret(night.sentry_dsn_env):
        import sentry_sdk

        client = sentry_sdk.Client(dsn)
        client.capture_event({"message": f"{alert.message} ({alert.mend})", "level": "error"})
        client.close(timeout=5)
    url = secret(night.alert_url_env)
    if not url:
        return True
    try:
        installation.outside.post(url, json=_body(alert))
    except OutsideError:
        return False
    return True
