"""How the search side stands beside the current version: it follows, is behind, or hinders the next one.

Belongs here: the words and the rule, read from the store alone, for `status`, the check, alerts and the sensor that has
it mended. Does not belong here: asking the server (`index_state.py`), mending (`aliases.py`, `releases/release.py`).
"""

from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import Connection

from harvester_dagster.installation import Installation
from harvester_dagster.search import index, mapping, overlay
from harvester_dagster.search.mapping import BadMapping
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import Version


class SearchSide(NamedTuple):
    """behind: `version_id` is current, and searches do not show it yet. hindered: it is not current, for want of its
    index or alias (`index.require`). `reason` and `mend` are for people; a mend may be empty. `is_built`: its indices
    are there, only the aliases are not moved. `since`: when that was found out, or tried last."""

    state: Literal["follows", "behind", "hindered"]
    version_id: int
    reason: str = ""
    mend: str = ""
    since: datetime | None = None
    is_built: bool = True


class _Report(NamedTuple):
    """A row of `search_report`."""

    version_id: int
    outcome: str
    reason: str
    mend: str
    at: datetime
    hindrance: str
    hindered_at: datetime | None


def search_side(installation: Installation) -> SearchSide | None:
    """As of now; None: this installation has no index, or there is no version yet."""
    if installation.config.index.url == "none":
        return None
    with installation.pool.connection() as connection:
        current = versions.current(connection)
        hindered = _hindered(connection) if installation.config.index.require else None
        return hindered or (_beside(installation, connection, current) if current else None)


def _hindered(connection: Connection[Any]) -> SearchSide | None:
    """The newest version of a release, where it could not be announced, whatever pushes have made current meanwhile."""
    row = connection.execute(
        "SELECT version_id, promoted_at FROM dataset_version WHERE NOT pushed ORDER BY version_id DESC LIMIT 1"
    ).fetchone()
    if row is None or row[1] is not None:
        return None
    report = _report(connection, row[0])
    if report is None or not (report.hindrance or report.outcome == "failed"):
        return None
    return _told("hindered", report)


def _beside(installation: Installation, connection: Connection[Any], current: Version) -> SearchSide | None:
    report = _report(connection, current.version_id)
    if report and report.outcome == "none":
        return None
    if report and report.outcome == "failed":
        return _told("behind", report._replace(hindrance="", hindered_at=None))._replace(is_built=False)
    shown, wanted = index.shown(connection), _wanted(installation, current)
    if None in wanted:
        return SearchSide("behind", current.version_id, "no index holds it yet", is_built=False)
    finished = {
        one.name
        for entity in installation.catalog.entities
        for one in index.held(connection, installation.config, entity.name)
    }
    if wanted <= shown & finished:
        if overlay.is_behind(connection, [name for name in wanted if name]):
            return SearchSide("behind", current.version_id, "a takedown, or its undoing, is not in its index yet")
        return SearchSide("follows", current.version_id)
    if report and report.hindrance:
        return _told("behind", report)
    return SearchSide("behind", current.version_id, "its alias was not moved yet", is_built=bool(wanted <= finished))


def _wanted(installation: Installation, version: Version) -> set[str | None]:
    """The index of each entity that has one; None for one that is not made."""
    try:
        return {
            version.indices.get(entity.name)
            for entity in installation.catalog.entities
            if mapping.definition(installation.catalog, entity.name, installation.config)
        }
    except BadMapping:
        return set(version.indices.values())


def _report(connection: Connection[Any], version_id: int) -> _Report | None:
    row = connection.execute(
        f"SELECT {', '.join(_Report._fields)} FROM search_report WHERE version_id = %s", (version_id,)
    ).fetchone()
    return _Report(*row) if row else None


def _told(state: Literal["behind", "hindered"], report: _Report) -> SearchSide:
    reason = report.hindrance or report.reason.removesuffix(f"; {report.mend}")
    return SearchSide(state, report.version_id, reason, report.mend, report.hindered_at or report.at)
