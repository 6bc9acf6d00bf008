"""The release, from what the sets have accepted to what everybody reads: prepare, index, promote, alias.

Belongs here: the whole order of these steps, forward, back (a rollback) and after a version that was made current by
itself, when a version may be announced, and the end of the night that it was made for. Does not belong here: a step
(`sets/versions.py`, `search/build.py`, `search/aliases.py`). A crash between promoting and moving the aliases is mended
by `aliases.reconcile`; what else keeps the search side behind, by `catch_up`.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.releases import alert_mail, alerts, day_work, needs_a_hand, nights, retention, value_counts
from harvester_dagster.search import aliases, build
from harvester_dagster.search.build import IndexReport, Work, working
from harvester_dagster.search.connection import NoIndex, SearchError
from harvester_dagster.search.mapping import BadMapping
from harvester_dagster.search.search_side import search_side
from harvester_dagster.sets import sets, versions
from harvester_dagster.sets.versions import Hold, NotPromotable, Version

PREPARED_AT_MOST = 5
"""By one release: each time another one, or a set, has moved on in between."""


class Released(NamedTuple):
    """What a release came to; `said` in a sentence. `version` is the current one, promoted by it or not."""

    said: str
    version: Version | None
    generations: list[tuple[str, int]]
    cleaned: retention.Cleaned


class Published(NamedTuple):
    """A version that is current now. `behind` says why the index does not show it yet; empty: it does."""

    version: Version
    behind: str


def prepare(
    installation: Installation,
    *,
    run_id: str | None = None,
    night_id: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Version | None:
    """Finish day work and take what was pushed, then prepare a version; None: nothing has moved since the current
    one."""
    day_work.finish(installation, progress)
    day_work.take_pushes(installation, progress)
    return versions.prepare(installation, run_id=run_id, night_id=night_id)


def bring_up_index(
    installation: Installation, version: Version | None, *, progress: Callable[[str], None] = lambda _: None
) -> IndexReport | None:
    """The index of the version that comes next. Without one, the current version's: looked at, mended where it fails or
    its mapping is another one, and shown. None: there is no version at all."""
    if version is not None:
        return build.bring_up(installation, version, progress=progress)
    with installation.pool.connection() as connection:
        current = versions.current(connection)
    if current is None:
        return None
    report = build.bring_up(installation, current, progress=progress)
    if report.outcome == "ready":
        behind = aliases.move(installation)
        return report._replace(outcome="failed", reason=behind) if behind else report
    return report


def hindrance(installation: Installation, version: Version) -> HarvesterError | None:
    """Why a version may not be announced for want of its index, or of an alias that can be moved to it; None: it may.
    Tried at the server, just before the promotion."""
    if installation.config.index.url == "none" or not installation.config.index.require:
        return None
    with installation.pool.connection() as connection:
        row = connection.execute(
            "SELECT outcome, reason, mend FROM search_report WHERE version_id = %s", (version.version_id,)
        ).fetchone()
    if row is None:
        return HarvesterError(f"version {version.version_id} has no index yet")
    outcome, reason, mend = row
    if outcome == "failed":
        return HarvesterError(reason.removesuffix(f"; {mend}"), mend)
    try:
        aliases.rehearse(installation, version)
    except (SearchError, BadMapping) as error:
        with installation.pool.connection() as connection:
            aliases.note_hindrance(connection, version.version_id, error, installation.clock())
        return error
    return None


def publish(
    installation: Installation,
    version: Version,
    *,
    rollback: bool = False,
    ends: Hold | None = None,
    instead_of: int | None = None,
) -> Published:
    """Make a version current, and let the aliases follow. `ends`: the hold that this release goes on in spite of;
    `instead_of`: the version that a rollback was looked at beside. Raises Held, Superseded, NotPromotable.

    A version that nobody has brought up yet (a set moved on since the release began) is brought up now.
    """
    if not _was_brought_up(installation, version):
        build.bring_up(installation, version)
    if hindered := hindrance(installation, version):
        raise NotPromotable(f"version {version.version_id} is not announced: {hindered.sentence}", hindered.mend)
    promoted = versions.promote(installation, version, rollback=rollback, ends=ends, instead_of=instead_of)
    return Published(promoted, aliases.move(installation))


def _was_brought_up(installation: Installation, version: Version) -> bool:
    with installation.pool.connection() as connection:
        row = connection.execute(
            """SELECT EXISTS (SELECT FROM search_report r JOIN dataset_version v USING (version_id)
                              WHERE version_id = %s AND (r.outcome <> 'ready' OR v.indices::text <> '{}'))""",
            (version.version_id,),
        ).fetchone()
    return row == (True,)


def release(
    installation: Installation,
    *,
    by_hand: bool,
    hold_seen: str | None = None,
    run_id: str | None = None,
    night_id: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Released:
    """Promote what the sets have accepted, count its values, clean up. By hand it ends the hold of a rollback, where
    that is the one that was seen: `hold_seen` is when it began (ISO 8601), "" where there was none; None: whatever
    holds when the release begins.

    Raises Held for another hold, NotPromotable when its index is wanted and not there, or a rollback came in between;
    people are told.
    """
    if by_hand:
        audit.told_of_run(installation.pool, "release", "", installation.clock(), run_id)
    try:
        held = _held(installation, hold_seen)
        if held and not by_hand:
            aliases.reconcile(installation)
            said = f"held: {held.reason}; `harvester release` goes on"
        else:
            said = _promoted(installation, held, by_hand, run_id, night_id, progress)
            if by_hand:
                _tell_done(installation, run_id, said)
    finally:
        alerts.tell(installation, alerts.of_search(installation), kind=alerts.SEARCH)
    value_counts.count(installation)
    cleaned = retention.clean_up(installation)
    with installation.pool.connection() as connection:
        current = versions.current(connection)
        names = {state.set_id: state.key for state in sets.all_sets(connection)}
    generations = [(names[set_id], gen) for set_id, gen in (current.generations if current else {}).items()]
    return Released(said, current, generations, cleaned)


def _tell_done(installation: Installation, run_id: str | None, said: str) -> None:
    with installation.pool.connection() as connection:
        current = versions.current(connection)
    version = current.version_id if current else None
    at = installation.clock()
    audit.told_of_run(installation.pool, "release", "", at, run_id, "done", version=version, said=said)


def _held(installation: Installation, seen: str | None) -> Hold | None:
    """What holds automatic releases when a release begins. Raises Held where that is not what somebody has seen."""
    with installation.pool.connection() as connection:
        held = versions.holding(connection)
    if held and seen is not None and (not seen or datetime.fromisoformat(seen) != held.since):
        raise versions.Held(
            f"nothing was released: automatic releases are held, which was not seen: {held.reason}",
            "look at what holds them, then release",
        )
    return held


def _promoted(
    installation: Installation,
    held: Hold | None,
    by_hand: bool,
    run_id: str | None,
    night_id: int | None,
    progress: Callable[[str], None],
) -> str:
    """What came of it, in a sentence. A set that moves on meanwhile, or a release beside this one, is no failure.
    `held`: the hold that it ends."""
    for _ in range(PREPARED_AT_MOST):
        version = prepare(installation, run_id=run_id, night_id=night_id, progress=progress)
        if version is None:
            if held:
                _let_go_on(installation, held)
            return "no set has moved: the current version stays"
        try:
            published = publish(installation, version, ends=held)
        except versions.Superseded as error:
            progress(str(error))
            continue
        except versions.Held as error:
            if by_hand:
                raise
            return str(error)
        said = f"version {version.version_id} is current"
        return f"{said}; the index is behind: {published.behind}" if published.behind else said
    raise NotPromotable("other releases went on at the same time", "look at their runs, then `harvester release`")


def _let_go_on(installation: Installation, held: Hold) -> None:
    """End this hold. One that came in its place, or that somebody else has ended, is left as it is."""
    with suppress(versions.NotHeld):
        versions.let_go_on(installation, held.since)


def publish_pushed(
    installation: Installation, key: str, *, progress: Callable[[str], None] = lambda _: None
) -> Published | None:
    """Make what was pushed to a set current, ahead of the next release, and let the index follow where it stands. None:
    only a release may publish what the set has accepted. Raises Held; Busy while an index is being made; SearchError,
    BadMapping where an index is wanted and cannot be had: then nothing is published.
    """
    if installation.config.index.url == "none":
        version = versions.advance(installation, key)
        return Published(version, "") if version else None
    version = None
    try:
        with working(installation, progress, patience=0) as work:
            if installation.config.index.require:
                build.rehearse_patch(work)
            version = versions.advance(installation, key)
            if version is None:
                return None
            if not _patch(work, version):
                return Published(version, "")
    except NoIndex:
        version = version or versions.advance(installation, key)
        return Published(version, "") if version else None
    except (SearchError, BadMapping) as error:
        if version is None and installation.config.index.require:
            raise
        progress(str(error))
        version = version or versions.advance(installation, key)
        if version is None:
            return None
    build.bring_up(installation, version, progress=progress)
    return Published(version, aliases.move(installation))


def _patch(work: Work, version: Version) -> str:
    """Write a version into the index where it stands. "": it shows it; else why more is to be done. Raises SearchError,
    BadMapping."""
    started = time.monotonic()
    patched = build.patched(work, version)
    if patched is None:
        return "more differs than is patched"
    build.store(work, IndexReport(version.version_id, "ready", "", patched, time.monotonic() - started))
    return aliases.move_at(work)


def end_night(installation: Installation, night_id: int, failed_run: str = "", why: str = "") -> None:
    """Tell people what they should know, then close the night, whoever could be told. `failed_run`: the run of its
    release, where that came to nothing, and why as far as is known. A night that is closed already sends no second
    mail."""
    try:
        missed = [alerts.missed(failed_run, why)] if failed_run else []
        found = [*missed, *alerts.standing(installation)]
        with installation.pool.connection() as connection:
            is_open = nights.is_open(connection, night_id)
        try:
            alerts.tell(installation, found)
            alerts.tell_acts(installation)
        finally:
            if is_open:
                alert_mail.tell_by_mail(installation, [*found, *needs_a_hand.beside(installation, found)])
    finally:
        with installation.pool.connection() as connection:
            _tell_ended(connection, night_id, installation.clock(), failed_run, why)
            nights.end(connection, night_id, installation.clock(), failed_run, why)
        alerts.heartbeat(installation)


def _tell_ended(connection: Connection[Any], night_id: int, now: datetime, failed_run: str, why: str) -> None:
    """What came of a night that somebody has asked for, when it is closed first."""
    if not nights.is_open(connection, night_id) or not audit.was_asked_for(connection, "night", str(night_id)):
        return
    if failed_run:
        audit.write(connection, "night", str(night_id), now, "failed", run=failed_run, reason=why)
        return
    current = versions.current(connection)
    audit.write(connection, "night", str(night_id), now, version=current.version_id if current else None)


def roll_back(
    installation: Installation,
    version: Version,
    *,
    instead_of: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[IndexReport, Published]:
    """Go back to a version, pointer and aliases together, after bringing its index up. `instead_of`: the number of the
    version beside which that was looked at; None: whatever is current then. Raises Superseded, NotPromotable."""
    try:
        report = build.bring_up(installation, version, progress=progress)
        return report, publish(installation, version, rollback=True, instead_of=instead_of)
    finally:
        alerts.tell(installation, alerts.of_search(installation), kind=alerts.SEARCH)


def catch_up(installation: Installation, progress: Callable[[str], None] = lambda _: None) -> str:
    """Have the search side follow the current version where it is behind: its aliases moved, its index built where it
    is not there. Why it still is behind, or ""; people are told."""
    behind = aliases.reconcile(installation)
    side = search_side(installation)
    if side and side.state == "behind" and not side.is_built:
        report = bring_up_index(installation, None, progress=progress)
        behind = report.reason if report else ""
    alerts.tell(installation, alerts.of_search(installation), kind=alerts.SEARCH)
    return behind
