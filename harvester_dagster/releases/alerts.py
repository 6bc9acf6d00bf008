"""What people are told: once per cause, to a URL as JSON, and to Sentry when that is configured; by mail once a night
(`alert_mail.py`).

A cause is told when it appears and forgotten when it is over, so that it is told again when it comes back. An act of
somebody that others are to hear of is told once, and until somebody took it. Nobody listening is no error: it stays
visible in the store, the reports and the checks.
"""

import logging
import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.types.json import Jsonb

from harvester_dagster.config import secret, source_of
from harvester_dagster.failures import HarvesterError, OutsideError, StorageError
from harvester_dagster.installation import Installation
from harvester_dagster.outside.http import Outside
from harvester_dagster.publication import audit, inbox, takedowns, wishes
from harvester_dagster.publication.wishes import Wish
from harvester_dagster.releases import asking_anew, nights
from harvester_dagster.search.search_side import search_side
from harvester_dagster.sets import attempts, pushed, sets
from harvester_dagster.store import locks
from harvester_dagster.store.locks import Busy, Lock
from harvester_dagster.vocabularies import current
from harvester_dagster.vocabularies.current import VocabularyLost

TAKEN_AFTER = timedelta(hours=1)
"""Pushes are taken within seconds, but for those that come while their set is harvested."""
ASKED_AFTER = timedelta(days=1)
"""A record whose purge was undone is asked for within minutes, but while its set waits for somebody."""
_LOG = logging.getLogger(__name__)
SEARCH = "search"
"""What the causes that lie on the search side begin with."""


class NotTold(HarvesterError):
    """Nobody can be told in a way that is configured."""


class Alert(NamedTuple):
    """`cause` names it once and for all, such as `fallback edurep:l4l`."""

    cause: str
    message: str
    mend: str
    since: datetime | None = None
    key: str = ""
    """The set that it is about, if it is about one."""


def standing(installation: Installation) -> list[Alert]:
    """What people should know of now: sets on fallback for some nights, sources and runs that failed, a search side
    that does not show what is published, a vocabulary that was lost."""
    found = [*of_search(installation), *_of_vocabularies(installation)]
    with installation.pool.connection() as connection:
        found += _of_wishes(wishes.all_wishes(connection), installation.clock())
        left_behind = nights.left_behind(connection)
        inboxes = {row.set_id: row for row in inbox.counts(connection)}
        for state in sets.all_sets(connection):
            if state.retired_at is not None:
                continue
            if state.set_id in inboxes:
                found += _of_pushes(connection, installation, state, inboxes[state.set_id])
            if alert := _of_set(connection, installation, state):
                found.append(alert)
            elif why := left_behind.get(state.key):
                mend = f"look at its run in the UI (tag harvest/set={state.key}); `{_again(state.key)}`"
                message = f"{state.key}: released without it: {why}"
                found.append(Alert(f"left-behind {state.key}", message, mend, key=state.key))
    return found


def _of_vocabularies(installation: Installation) -> list[Alert]:
    """Tasks wait for one that was lost. Where no object can be had at all, whatever else fails says so."""
    try:
        current.load(installation.pool, installation.objects)
    except VocabularyLost as error:
        return [Alert("vocabulary-lost", f"{error.sentence}; what looks into vocabularies waits", error.mend)]
    except StorageError:
        return []
    return []


def _of_wishes(wished: Sequence[Wish], now: datetime) -> list[Alert]:
    found = []
    for one in wished:
        if now - one.since > ASKED_AFTER:
            message = f"{one.srn}: its purge was undone, and its source gave it not: {one.reason}"
            mend = (
                f"mend that; it is asked for again by itself, and by `{_again(one.key)} --full`; "
                f"`harvester takedown {shlex.quote(one.srn)} --ask-no-more` gives it up"
            )
            found.append(Alert(f"asked-anew {one.doc_id}", message, mend, one.since, one.key))
    return found


def _of_set(connection: Connection[Any], installation: Installation, state: sets.SetState) -> Alert | None:
    mending = attempts.last(connection, state.set_id, states=attempts.NOT_FAILED, modes=attempts.PROPOSALS)
    if mending is not None and mending.mode == "reconcile" and mending.state == "rejected":
        return Alert(
            f"reconciliation-rejected {state.key}",
            f"{state.key}: what its source lists was rejected: {mending.reason}",
            look_and_decide(state.key),
            mending.ended_at,
            state.key,
        )
    newest = attempts.last(connection, state.set_id, modes=attempts.HARVESTS)
    if newest is None or newest.state not in ("rejected", "failed", "superseded") or newest.is_stopped:
        return None
    nights = nights_in_a_row(connection, installation, state.set_id)
    if newest.state == "failed":
        short = attempts.nights_too_short(connection, state.set_id, installation.config.timezone)
        if short >= installation.config.night.alert_after_rejected_nights:
            return Alert(
                f"list-size {state.key}",
                f"{state.key}: on {short} days in a row nothing was wrong but the size of its list: {newest.reason}",
                f'if the sizes of {source_of(state.key)} are mere estimates, write list_size = "estimate" for it; '
                "else its source must mend its lists",
                newest.ended_at,
                state.key,
            )
        return Alert(
            f"source-failed {state.key}",
            f"{state.key}: its source failed: {newest.reason}",
            "the set keeps its last accepted state and is tried again tonight; look at the source",
            newest.ended_at,
            state.key,
        )
    if nights >= installation.config.night.alert_after_rejected_nights:
        return Alert(
            f"fallback {state.key}",
            f"{state.key}: rejected {nights} nights in a row: {newest.reason}",
            look_and_decide(state.key) if newest.state == "rejected" else f"`{_again(state.key)}` asks its source",
            newest.ended_at,
            state.key,
        )
    return None


def _again(key: str) -> str:
    return f"harvester harvest {shlex.quote(key)}"


def look_and_decide(key: str) -> str:
    """What to do about a candidate that was rejected."""
    return f"see what it would change with `harvester accept {shlex.quote(key)} --dry-run`, then accept or dismiss it"


def _of_pushes(
    connection: Connection[Any], installation: Installation, state: sets.SetState, row: inbox.Unsettled
) -> list[Alert]:
    found = []
    if row.rejected:
        message = f"{state.key}: {row.rejected:,} pushed records were rejected: {row.reason}"
        mend = f"see `harvester push list {shlex.quote(state.key)}`, then `harvester push accept` or `dismiss` it"
        found.append(Alert(f"pushes-rejected {state.key}", message, mend, key=state.key))
    if row.since and installation.clock() - row.since > TAKEN_AFTER:
        waits = pushed.in_the_way(connection, installation, state)
        message = f"{state.key}: {row.waiting:,} pushed records wait: {waits or 'nobody takes them'}"
        mend = "see its run; it is harvested again tonight" if waits else "`harvester up` runs a worker that takes them"
        found.append(Alert(f"pushes-waiting {state.key}", message, mend, row.since, state.key))
    return found


def of_search(installation: Installation) -> list[Alert]:
    """What stands between the search side and the version that it should show, if anything does."""
    side = search_side(installation)
    if side is None or side.state == "follows":
        return []
    if side.state == "hindered":
        message = f"version {side.version_id} is not announced, the one before it goes on serving: {side.reason}"
        mend = f"{side.mend or 'see `harvester index status`'}; the release is asked for again by itself"
    else:
        message = f"version {side.version_id} is current, and searches do not show it yet: {side.reason}"
        mend = side.mend or "it is tried again every ten minutes; see `harvester index status`"
    return [Alert(f"{SEARCH}-{side.state}", message, mend, side.since)]


def missed(run_id: str, why: str = "") -> Alert:
    """The release of a night failed."""
    because = f": {why}" if why else ""
    return Alert(
        f"release-missed {run_id}",
        f"the release of the night failed (run {run_id}{because}): the last version stays current",
        "look at the run, then `harvester release`",
    )


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


def tell(installation: Installation, alerts: list[Alert], kind: str = "") -> list[Alert]:
    """Tell what was not told yet; causes that are not among these any more are forgotten. `kind`: these are all the
    causes whose names begin so; others are left alone."""
    with installation.pool.connection() as connection:
        told = {cause for (cause,) in connection.execute("SELECT cause FROM alert")}
        connection.execute(
            "DELETE FROM alert WHERE starts_with(cause, %s) AND cause <> ALL (%s)",
            (kind, [alert.cause for alert in alerts]),
        )
    fresh = [alert for alert in alerts if alert.cause not in told]
    for alert in fresh:
        if send(installation, alert):
            with installation.pool.connection() as connection:
                _note_told(connection, alert, installation.clock())
    return fresh


def _note_told(connection: Connection[Any], alert: Alert, now: datetime) -> None:
    connection.execute(
        "INSERT INTO alert (cause, told_at, body) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (alert.cause, now, Jsonb(_body(alert))),
    )


def tell_acts(installation: Installation) -> bool:
    """Tell what people did that others are to hear of and have not yet, the oldest first; what nobody took is tried
    again by whoever comes next. Whether all of it was told, as far as this process is at it."""
    busy = Busy("another process tells what was done")
    try:
        with (
            locks.session(installation.pool) as connection,
            locks.held(connection, Lock.ALERTS, patience=0, busy=busy),
        ):
            while acts := audit.untold(connection):
                for act in acts:
                    alert = _of_act(act)
                    if not send(installation, alert):
                        return False
                    audit.note_told(connection, act.audit_id)
                    _note_told(connection, alert, installation.clock())
    except Busy:
        return False
    return True


def _of_act(act: audit.Row) -> Alert:
    """Of a takedown, of its undoing, or of asking for what was purged that ended without it."""
    if act.act == asking_anew.ACT:
        message = f"{act.subject}: its purge was undone, and it does not come back by itself: {act.detail['reason']}"
        mend = "where that is mended, the next harvest that asks its source for everything brings it"
        return Alert(f"asked-no-more {act.audit_id}", message, mend, act.at)
    mend = "`harvester takedown` lists what is taken down"
    if act.act == takedowns.UNDO:
        message = f"{act.subject} is shown again: {act.actor} undid its takedown"
        return Alert(f"takedown-undone {act.audit_id}", message, mend, act.at)
    more = ", and what is kept of it is removed" if act.detail["purge"] != "none" else ""
    return Alert(f"takedown {act.audit_id}", f"{act.subject} was taken down by {act.actor}{more}", mend, act.at)


class Told(NamedTuple):
    """A cause that was told and is not over."""

    cause: str
    told_at: datetime
    body: dict[str, Any]


def all_told(connection: Connection[Any]) -> list[Told]:
    """What was told and is not over, newest first."""
    rows = connection.execute("SELECT cause, told_at, body FROM alert ORDER BY told_at DESC, cause LIMIT 200")
    return [Told(*row) for row in rows]


def _body(alert: Alert) -> dict[str, Any]:
    since = alert.since.isoformat() if alert.since else None
    return {"cause": alert.cause, "message": alert.message, "mend": alert.mend, "since": since}


def send(installation: Installation, alert: Alert) -> bool:
    """Tell it now, without the store; whether it counts as told: nobody configured, or somebody took it."""
    if dsn := secret(installation.config.night.sentry_dsn_env):
        try:
            to_sentry(dsn, alert)
        except NotTold as error:
            _LOG.error("%s", error)
    url = secret(installation.config.night.alert_url_env)
    if not url:
        return True
    try:
        to_url(installation.outside, url, alert)
    except OutsideError:
        return False
    return True


def to_sentry(dsn: str, alert: Alert) -> None:
    """Hand it to Sentry, which says nothing of what came of it. Raises NotTold for what is no address of Sentry's."""
    import sentry_sdk

    try:
        client = sentry_sdk.Client(dsn)
    except ValueError:
        raise NotTold("the DSN of Sentry is none", "see the variable that night.sentry_dsn_env names") from None
    client.capture_event({"message": f"{alert.message} ({alert.mend})", "level": "error"})
    client.close(timeout=5)


def to_url(outside: Outside, url: str, alert: Alert) -> None:
    """Post it as JSON. Raises OutsideError."""
    outside.post(url, json=_body(alert))


def heartbeat(installation: Installation) -> None:
    """Say that a night has ended, to whoever raises the alarm when nothing is said. Whoever does not answer hears it
    the next night."""
    if url := secret(installation.config.night.heartbeat_url_env):
        try:
            installation.outside.get(url)
        except OutsideError as error:  # whose sentence names the address, which is a secret
            _LOG.error("heartbeat: nobody took it: %s", error.status or error.code)
