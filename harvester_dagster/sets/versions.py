"""Dataset versions: one generation per set, products and files together; one of them is current.

Belongs here: preparing a version, promoting it in one statement, rolling back, reading one. Does not belong here: what
differs between two (`differences.py`). The search index follows (`search/`), retention is in `retention.py`.
"""

from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster import shown_text
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit, log
from harvester_dagster.store import locks
from harvester_dagster.store.locks import Lock

_LONGEST_WHY = 200
"""Characters of why somebody holds releases."""


class NotPromotable(HarvesterError):
    """The version may not become current; the message says why and what to do."""


class Held(NotPromotable):
    """Automatic releases are held; one that was under way does not undo a rollback."""


class NotHeld(HarvesterError):
    """Automatic releases are not held, or not by what was seen."""


class Superseded(NotPromotable):
    """A set would go back: another version has become current meanwhile."""


class Hold(NamedTuple):
    """What a rollback, or somebody, has set. A release by hand ends the one that it has seen, and no later one."""

    since: datetime
    reason: str


class Version(NamedTuple):
    """`generations`: set id → generation."""

    version_id: int
    prepared_at: datetime
    code_version: str
    promoted_at: datetime | None
    ceased_at: datetime | None
    is_current: bool
    indices: Mapping[str, str]
    generations: Mapping[int, int]


class VersionLine(NamedTuple):
    """A version as a list shows it. `sets`: how many it names; `pushes`: versions that pushes have made after it,
    before the next one of the list."""

    version_id: int
    prepared_at: datetime
    code_version: str
    promoted_at: datetime | None
    ceased_at: datetime | None
    is_current: bool
    sets: int
    pushes: int


def code_version() -> str:
    """The version of this package."""
    return metadata.version("harvester_dagster")


_SELECT = """
SELECT v.version_id, v.prepared_at, v.code_version, v.promoted_at, v.ceased_at, c.version_id IS NOT NULL, v.indices,
       (SELECT json_agg(json_build_array(s.set_id, s.gen)) FROM dataset_version_set s WHERE s.version_id = v.version_id)
FROM dataset_version v LEFT JOIN current_version c USING (version_id)
"""


def _version(row: Any) -> Version:
    return Version._make((*row[:-1], dict(row[-1] or ())))


def current(connection: Connection[Any]) -> Version | None:
    """The version that consumers see; None before the first release."""
    row = connection.execute(f"{_SELECT} WHERE c.version_id IS NOT NULL").fetchone()
    return _version(row) if row else None


def by_id(connection: Connection[Any], version_id: int) -> Version:
    """The version of this number. Raises NotPromotable, with the command that lists what is kept."""
    row = connection.execute(f"{_SELECT} WHERE v.version_id = %s", (version_id,)).fetchone()
    if row is None:
        raise NotPromotable(f"there is no version {version_id}", "`harvester versions list` shows those that are kept")
    return _version(row)


_LINES = """
WITH line AS (
    SELECT v.version_id, v.prepared_at, v.code_version, v.promoted_at, v.ceased_at,
           c.version_id IS NOT NULL AS is_current
    FROM dataset_version v LEFT JOIN current_version c USING (version_id)
    WHERE (NOT v.pushed OR c.version_id IS NOT NULL) AND v.version_id < %(before)s
    ORDER BY v.version_id DESC LIMIT %(most)s),
listed AS (
    SELECT *, lag(version_id::bigint, 1, %(before)s::bigint) OVER (ORDER BY version_id DESC) AS next FROM line)
SELECT version_id, prepared_at, code_version, promoted_at, ceased_at, is_current,
       (SELECT count(*) FROM dataset_version_set s WHERE s.version_id = listed.version_id),
       (SELECT count(*) FROM dataset_version p
        WHERE p.pushed AND p.version_id > listed.version_id AND p.version_id < listed.next)
FROM listed ORDER BY version_id DESC
"""


def lines(connection: Connection[Any], most: int, before: int | None = None) -> list[VersionLine]:
    """Newest first, at most so many: the current version, and those that no push has made, for pushes may make one
    every two seconds. `before`: those before a version."""
    rows = connection.execute(_LINES, {"most": most, "before": 2**62 if before is None else before})
    return [VersionLine._make(row) for row in rows]


def accepted(connection: Connection[Any]) -> dict[int, int]:
    """The generation of each set that the next release would publish."""
    return dict(connection.execute("SELECT set_id, accepted_gen FROM harvest_set WHERE accepted_gen > 0").fetchall())


def prepare(installation: Installation, *, run_id: str | None = None, night_id: int | None = None) -> Version | None:
    """A version of what every set has accepted; None: no set has moved since the current one.

    Who asks again, or at the same time, gets the same version, until a set has moved on or it has become current.
    """
    with installation.pool.connection() as connection:
        locks.take_until_end(connection, Lock.PROMOTION)
        generations, present = accepted(connection), current(connection)
        if not generations or (present and present.generations == generations):
            return None
        made_by = {"now": installation.clock(), "code": code_version(), "run": run_id, "night": night_id}
        row = connection.execute(f"{_SELECT} ORDER BY v.version_id DESC LIMIT 1").fetchone()
        newest = _version(row) if row else None
        if newest and newest.promoted_at is None and newest.generations == generations:
            connection.execute(
                """UPDATE dataset_version SET prepared_at = %(now)s, code_version = %(code)s,
                       run_id = coalesce(%(run)s, run_id), night_id = coalesce(%(night)s, night_id)
                   WHERE version_id = %(version)s""",
                {**made_by, "version": newest.version_id},
            )
            return by_id(connection, newest.version_id)
        return _insert(connection, generations, made_by)


def promote(
    installation: Installation,
    version: Version,
    *,
    rollback: bool = False,
    ends: Hold | None = None,
    instead_of: int | None = None,
) -> Version:
    """Make a version current: one statement moves the pointer. A version that is current stays as it is.

    A rollback holds automatic releases. `instead_of`: the number of the version that was current when somebody looked
    at what going back would do; None: nobody did, whatever is current now. `ends`: the hold that this release goes on
    in spite of, and ends with the same commit. Raises Held, Superseded, NotPromotable.
    """
    with installation.pool.connection() as connection:
        locks.take_until_end(connection, Lock.PROMOTION)
        present = current(connection)
        if rollback:
            _check_rollback(version, present)
            if instead_of is not None and not (present and present.version_id == version.version_id):
                _check_seen(present, str(instead_of))
        else:
            _check_release(version, present, holding(connection), ends)
        now = installation.clock()
        if rollback:
            connection.execute(
                """INSERT INTO release_hold (since, reason) VALUES (%s, %s) ON CONFLICT (only_one)
                   DO UPDATE SET since = excluded.since, reason = excluded.reason""",
                (now, f"rolled back to version {version.version_id}"),
            )
            came_from = present.version_id if present else None
            audit.write(connection, "rollback", str(version.version_id), now, instead_of=came_from)
        elif ends:
            end_hold(connection)
        if present is None or present.version_id != version.version_id:
            _move_pointer(connection, version, present, now)
        return by_id(connection, version.version_id)


_AHEAD = """
SELECT s.set_id, s.key, v.gen, s.accepted_gen FROM current_version c
JOIN dataset_version_set v USING (version_id) JOIN harvest_set s USING (set_id)
WHERE s.accepted_gen > v.gen AND NOT EXISTS (
    SELECT FROM generation g LEFT JOIN attempt a USING (attempt_id)
    WHERE g.set_id = s.set_id AND g.gen > v.gen AND g.gen <= s.accepted_gen AND a.mode IS DISTINCT FROM 'push')
ORDER BY s.set_id
"""


def pushed_ahead(connection: Connection[Any]) -> list[str]:
    """The sets that have accepted nothing beside pushes since the current version: only these may go ahead of the next
    release."""
    return [key for _, key, _, _ in connection.execute(_AHEAD)]


_PUSHED_BETWEEN = """
SELECT s.key FROM dataset_version n JOIN dataset_version_set x USING (version_id) JOIN harvest_set s USING (set_id)
WHERE n.pushed AND n.promoted_at > %s AND n.promoted_at <= %s AND x.gen IS DISTINCT FROM (
    SELECT y.gen FROM dataset_version_set y WHERE y.set_id = x.set_id AND y.version_id < n.version_id
    ORDER BY y.version_id DESC LIMIT 1)
"""


def pushed_between(connection: Connection[Any], since: datetime, until: datetime) -> set[str]:
    """The sets that went ahead of a release then."""
    return {key for (key,) in connection.execute(_PUSHED_BETWEEN, (since, until))}


def advance(installation: Installation, key: str) -> Version | None:
    """Make a version current that is the current one with what was pushed to a set, and nothing else. None: nothing but
    a release may publish what the set has accepted, or there is nothing. Raises Held."""
    with installation.pool.connection() as connection:
        locks.take_until_end(connection, Lock.PROMOTION)
        present = current(connection)
        ahead = next((row for row in connection.execute(_AHEAD).fetchall() if row[1] == key), None)
        if present is None or ahead is None:
            return None
        if held := holding(connection):
            raise Held(f"{key}: what was pushed is not published: {held.reason}", "`harvester release` goes on")
        now = installation.clock()
        set_id, _, _, gen = ahead
        version = _insert(connection, {**present.generations, set_id: gen}, {"now": now}, pushed=True)
        _move_pointer(connection, version, present, now)
        return by_id(connection, version.version_id)


def _insert(
    connection: Connection[Any], generations: Mapping[int, int], made_by: Mapping[str, Any], *, pushed: bool = False
) -> Version:
    """A new version of these. `made_by`: now, and the run and night that it is made by."""
    made = connection.execute(
        """INSERT INTO dataset_version (prepared_at, code_version, run_id, night_id, pushed)
           VALUES (%(now)s, %(code)s, %(run)s, %(night)s, %(pushed)s) RETURNING version_id""",
        {"run": None, "night": None, **made_by, "code": code_version(), "pushed": pushed},
    ).fetchone()
    assert made is not None
    connection.execute(
        """INSERT INTO dataset_version_set (version_id, set_id, gen)
           SELECT %s, set_id, gen FROM unnest(%s::int[], %s::int[]) AS u (set_id, gen)""",
        (made[0], list(generations), list(generations.values())),
    )
    return by_id(connection, made[0])


def _check_release(version: Version, present: Version | None, held: Hold | None, ends: Hold | None) -> None:
    if held and held != ends:
        raise Held(
            f"version {version.version_id} was not promoted: automatic releases are held: {held.reason}",
            "`harvester release` goes on",
        )
    behind = [
        set_id
        for set_id, gen in (present.generations if present else {}).items()
        if version.generations.get(set_id, 0) < gen
    ]
    if present and behind:
        raise Superseded(
            f"version {version.version_id} holds older generations of {len(behind)} sets than the current "
            f"version {present.version_id}",
            "prepare a new one (`harvester release`)",
        )


def check_rollback(connection: Connection[Any], version: Version) -> None:
    """Whether one can go back to a version now. Raises NotPromotable, which says why not."""
    _check_rollback(version, current(connection))


def check_seen(connection: Connection[Any], seen: str) -> int:
    """The number of the current version, where it is the one that somebody has seen. Raises Superseded."""
    return _check_seen(current(connection), seen)


def _check_seen(present: Version | None, seen: str) -> int:
    if present is None or str(present.version_id) != seen:
        said = f"version {present.version_id} is current by now" if present else "no version is current"
        mend = "hold releases (`harvester versions hold`), then look again at what going back would do"
        raise Superseded(f"nothing was done: {said}", mend)
    return present.version_id


def pushed_since(connection: Connection[Any], moment: datetime) -> int:
    """How many versions pushes have made since then: whoever looks at a rollback meanwhile has seen another one."""
    row = connection.execute(
        "SELECT count(*) FROM dataset_version WHERE pushed AND promoted_at >= %s", (moment,)
    ).fetchone()
    assert row is not None
    count: int = row[0]
    return count


def _check_rollback(version: Version, present: Version | None) -> None:
    earlier = "`harvester versions list` shows those that one can go back to"
    if version.promoted_at is None:
        raise NotPromotable(f"version {version.version_id} has never been current", earlier)
    if present and version.version_id != present.version_id and version.generations == present.generations:
        raise NotPromotable(
            f"version {version.version_id} holds the same documents as the current version {present.version_id}",
            earlier,
        )


def _move_pointer(connection: Connection[Any], version: Version, present: Version | None, now: datetime) -> None:
    connection.execute(
        """INSERT INTO current_version (version_id) VALUES (%s)
           ON CONFLICT (only_one) DO UPDATE SET version_id = excluded.version_id""",
        (version.version_id,),
    )
    connection.execute(
        "UPDATE dataset_version SET promoted_at = %s, ceased_at = NULL WHERE version_id = %s",
        (now, version.version_id),
    )
    if present:
        connection.execute("UPDATE dataset_version SET ceased_at = %s WHERE version_id = %s", (now, present.version_id))
    log.write(connection, version.version_id, present.generations if present else {}, version.generations, now)


def hold_releases(installation: Installation, why: str = "") -> Hold:
    """Hold automatic releases until one by hand; what holds already. A hold that is there stays as it is, and the row
    of the audit says which one stood."""
    with installation.pool.connection() as connection:
        locks.take_until_end(connection, Lock.PROMOTION)
        now, by, why = installation.clock(), audit.doer().name, shown_text.one_line(why)[:_LONGEST_WHY]
        if stood := holding(connection):
            audit.write(connection, "hold", "", now, why=why, stood=stood.reason)
            return stood
        made = Hold(now, f"held by {by}: {why}" if why else f"held by {by}")
        connection.execute("INSERT INTO release_hold (since, reason) VALUES (%s, %s)", made)
        audit.write(connection, "hold", "", now, why=why)
        return made


def hold(connection: Connection[Any]) -> str | None:
    """Why automatic releases are held; None: they are not."""
    held = holding(connection)
    return held.reason if held else None


def holding(connection: Connection[Any]) -> Hold | None:
    """The hold itself, for a release by hand."""
    row = connection.execute("SELECT since, reason FROM release_hold").fetchone()
    return Hold(*row) if row else None


def let_go_on(installation: Installation, since: datetime | None = None) -> Hold:
    """End the hold by hand, without a release: automatic ones go on. `since`: only the hold that was seen, which
    began then. The hold that was ended. Raises NotHeld."""
    with installation.pool.connection() as connection:
        locks.take_until_end(connection, Lock.PROMOTION)
        held = holding(connection)
        if held is None:
            raise NotHeld("automatic releases are not held", "nothing is to be ended")
        if since is not None and since != held.since:
            raise NotHeld(f"another hold is there by now: {held.reason}", "look at it, then end it")
        end_hold(connection)
        audit.write(connection, "end hold", "", installation.clock(), reason=held.reason)
        return held


def end_hold(connection: Connection[Any]) -> None:
    """Let automatic releases go on. The caller holds the promotion lock."""
    connection.execute("DELETE FROM release_hold")


def before_current(connection: Connection[Any]) -> Version:
    """The version that was current before this one and holds something else. Where pushes have made the current one,
    that before the release to which they were pushed. Raises NotPromotable."""
    found = connection.execute(_BEFORE).fetchone()
    if found is None:
        raise NotPromotable("there is no earlier version to go back to", "`harvester release` makes the next one")
    return by_id(connection, found[0])


_BEFORE = """
WITH earlier AS MATERIALIZED (
    SELECT v.version_id FROM dataset_version v LEFT JOIN current_version c USING (version_id)
    WHERE c.version_id IS NULL AND v.promoted_at IS NOT NULL AND coalesce(v.ceased_at, '-infinity') <= coalesce((
        SELECT CASE WHEN now.pushed THEN max(n.promoted_at) ELSE 'infinity' END
        FROM current_version JOIN dataset_version now USING (version_id), dataset_version n
        WHERE NOT n.pushed AND n.promoted_at <= now.promoted_at GROUP BY now.pushed), 'infinity')
    ORDER BY v.ceased_at DESC NULLS LAST, v.version_id DESC)
SELECT version_id FROM earlier WHERE EXISTS (
    SELECT FROM (SELECT set_id, gen FROM dataset_version_set s WHERE s.version_id = earlier.version_id) was
    FULL JOIN (SELECT set_id, gen FROM dataset_version_set JOIN current_version USING (version_id)) now
        USING (set_id, gen)
    WHERE was.gen IS NULL OR now.gen IS NULL)
LIMIT 1
"""
"""Of the newest that one looks at the generations first: there may be hundreds of versions of hundreds of sets."""


def released(connection: Connection[Any]) -> Version | None:
    """The current version, or where pushes have made that the release to which they were pushed."""
    found = connection.execute(
        """SELECT n.version_id FROM current_version JOIN dataset_version now USING (version_id), dataset_version n
           WHERE NOT n.pushed AND n.promoted_at <= now.promoted_at
           ORDER BY n.version_id = now.version_id DESC, n.promoted_at DESC LIMIT 1"""
    ).fetchone()
    return by_id(connection, found[0]) if found else None
