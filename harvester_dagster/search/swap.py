"""Promotion and alias together: the pointer commits, the aliases follow in one call, Postgres decides.

A crash between the two is mended by `reconcile`, at the next start. Belongs here: when a version may be announced,
moving aliases, following a push, rolling back, letting old indices go. Does not belong here: filling them (`build.py`).
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from harvester_dagster.installation import Installation
from harvester_dagster.search import build, documents, index, mapping
from harvester_dagster.search.build import EntityReport, IndexReport, Work, working
from harvester_dagster.search.client import NoIndex, SearchError, asking
from harvester_dagster.search.mapping import BadMapping
from harvester_dagster.versions import versions
from harvester_dagster.versions.versions import NotPromotable, Version

KEPT = 20
"""Indices of an entity that are kept at most, whatever the versions: a node takes 1,000 shards. A rollback beyond
them makes its index anew."""

PATCHED = 200
"""Up to so many changed documents, a push is written into the index where it stands: less than one bulk request."""


class Published(NamedTuple):
    """A version that is current now. `behind` says why the index does not show it yet; empty: it does."""

    version: Version
    behind: str


def hindrance(installation: Installation, version: Version) -> str:
    """Why a version may not be announced for want of its index; empty: it may."""
    if installation.config.index.url == "none" or not installation.config.index.require:
        return ""
    with installation.pool.connection() as connection:
        row = connection.execute(
            "SELECT outcome, reason FROM search_report WHERE version_id = %s", (version.version_id,)
        ).fetchone()
    if row is None:
        return f"version {version.version_id} has no index yet"
    return row[1] if row[0] == "failed" else ""


def prepare(
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
        behind = swap(installation)
        return report._replace(outcome="failed", reason=behind) if behind else report
    return report


def publish(installation: Installation, version: Version, *, rollback: bool = False) -> Published:
    """Make a version current, and let the aliases follow. Raises NotPromotable.

    A version that nobody has brought up yet (a set moved on since the release began) is brought up now.
    """
    if not _was_brought_up(installation, version):
        build.bring_up(installation, version)
    reason = hindrance(installation, version)
    if reason:
        raise NotPromotable(f"version {version.version_id} is not announced: {reason}")
    promoted = versions.promote(installation, version, rollback=rollback)
    return Published(promoted, swap(installation))


def _was_brought_up(installation: Installation, version: Version) -> bool:
    with installation.pool.connection() as connection:
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM search_report WHERE version_id = %s)", (version.version_id,)
        ).fetchone()
    return row == (True,)


def swap(installation: Installation) -> str:
    """Point the aliases at the current version's indices; why that was not possible, or nothing."""
    try:
        with working(installation) as work:
            behind = _swap(work)
            retire(work)
            return behind
    except NoIndex:
        return ""
    except (SearchError, BadMapping) as error:
        return str(error)


def reconcile(installation: Installation) -> str:
    """What a crash left between pointer and aliases is mended, and what failed builds left is taken away.

    For every start; it builds nothing. The answer is why the index does not show the current version; empty: it does.
    """
    try:
        with working(installation) as work:
            build.clear(work)
            behind = _swap(work)
            retire(work)
            return behind
    except NoIndex:
        return ""
    except (SearchError, BadMapping) as error:
        return str(error)


def roll_back(
    installation: Installation, version: Version, *, progress: Callable[[str], None] = lambda _: None
) -> tuple[IndexReport, Published]:
    """Go back to a version, pointer and aliases together, after bringing its index up. Raises NotPromotable."""
    report = build.bring_up(installation, version, progress=progress)
    return report, publish(installation, version, rollback=True)


def follow(installation: Installation, *, progress: Callable[[str], None] = lambda _: None) -> IndexReport | None:
    """Let the index follow a version that a push has made current: where it stands, if little has changed.

    None: there is no version. Waits while an index is being built.
    """
    with installation.pool.connection() as connection:
        version = versions.current(connection)
    if version is None:
        return None
    started = time.monotonic()
    try:
        with working(installation, progress) as work:
            patched = _patched(work, version)
            if patched is not None:
                report = IndexReport(version.version_id, "ready", "", patched, time.monotonic() - started)
                build.store(work, report)
                _swap(work)
                return report
    except (NoIndex, SearchError, BadMapping) as error:
        progress(str(error))
    report = build.bring_up(installation, version, progress=progress)
    swap(installation)
    return report


def _patched(work: Work, version: Version) -> tuple[EntityReport, ...] | None:
    """Every aliased index moved to the version; None: one of them needs more than a patch."""
    config, reports = work.installation.config, []
    for entity in work.installation.catalog.entities:
        definition = mapping.definition(entity.name, config.index)
        if definition is None:
            continue
        aliased = index.targets(work.client, config, entity.name)
        with work.installation.pool.connection() as connection:
            held = next((one for one in index.held(connection, config, entity.name) if {one.name} == aliased), None)
            if held is None or held.definition != definition.digest:
                return None
            if held.moving_to not in (None, version.version_id):
                return None
            old = versions.by_id(connection, held.version_id)
            if documents.touched(connection, old, version, entity.name) > PATCHED:
                return None
        if held.version_id != version.version_id:
            reports.append(build.Build(work, version, definition).patch(held))
    return tuple(reports)


def _swap(work: Work) -> str:
    """One call for all entities; nothing is asked of the server when nothing is to be moved."""
    config = work.installation.config
    with work.installation.pool.connection() as connection:
        current = versions.current(connection)
        if current is None:
            return ""
        finished = {
            one.name
            for entity in work.installation.catalog.entities
            for one in index.held(connection, config, entity.name)
        }
    actions: list[dict[str, Any]] = []
    behind = []
    for entity in work.installation.catalog.entities:
        alias, wanted = index.alias(config, entity.name), current.indices.get(entity.name)
        present = index.targets(work.client, config, entity.name)
        if wanted is None or wanted not in finished:
            if mapping.definition(entity.name, config.index) is None:
                actions += [{"remove": {"index": name, "alias": alias}} for name in sorted(present)]
            else:
                behind.append(f"{alias}: no index holds version {current.version_id} yet; the next release makes it")
        elif present != {wanted}:
            actions += [{"remove": {"index": name, "alias": alias}} for name in sorted(present - {wanted})]
            actions.append({"add": {"index": wanted, "alias": alias}})
    if actions:
        with asking("moving the aliases"):
            work.client.indices.update_aliases(body={"actions": actions})
    return "; ".join(behind)


def retire(work: Work) -> None:
    """Let go of finished indices that no version names any more, and of the oldest beyond the limit."""
    config = work.installation.config
    for entity in work.installation.catalog.entities:
        aliased = index.targets(work.client, config, entity.name)
        with work.installation.pool.connection() as connection:
            wanted = [
                name
                for (name,) in connection.execute(
                    """SELECT indices ->> %s FROM dataset_version WHERE indices ->> %s IS NOT NULL
                       ORDER BY version_id NOT IN (SELECT version_id FROM current_version), version_id DESC LIMIT %s""",
                    (entity.name, entity.name, KEPT),
                )
            ]
            names = {one.name for one in index.held(connection, config, entity.name)}
            index.remove(work.client, connection, names - set(wanted) - aliased)
