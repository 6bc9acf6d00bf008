"""Moving the aliases to the current version's indices: one call for all entities, and Postgres decides.

Belongs here: moving aliases, trying beforehand whether they can be moved, noting what kept them from it, and mending
what a crash left between pointer and aliases. Does not belong here: when a version may be announced
(`releases/release.py`), filling indices and letting old ones go (`build.py`).
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.search import build, index, mapping, overlay
from harvester_dagster.search.build import Work, working
from harvester_dagster.search.connection import NoIndex, Refused, SearchError, asking, sorted_failure
from harvester_dagster.search.mapping import BadMapping
from harvester_dagster.search.search_side import search_side
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import Version

REBUILT_AFTER = timedelta(hours=1)
"""Since an index could not be built: one of a large version takes minutes."""
_NO_QUERY = "no_query_is_called_so"


class _Plan(NamedTuple):
    """What is asked of the server to show a version. `showing`: entity → the index that its alias then points at;
    `lacking`: why some entity has none; `staying`: entity → what its alias goes on pointing at, where it has none."""

    actions: list[dict[str, Any]]
    showing: dict[str, str]
    lacking: list[str]
    staying: dict[str, set[str]]


def move(installation: Installation) -> str:
    """Point the aliases at the current version's indices. Why that was not possible, or ""; never raises for what
    the server does or does not do."""
    return _moved(installation, lambda _work: None)


def reconcile(installation: Installation) -> str:
    """Mend what a crash left between pointer and aliases, and take away what failed builds left. For every start; it
    builds nothing. Why the index does not show the current version, or ""."""
    return _moved(installation, build.clear)


def _moved(installation: Installation, before: Callable[[Work], None]) -> str:
    try:
        with working(installation) as work:
            before(work)
            behind = move_at(work)
            build.retire(work)
            return behind
    except NoIndex:
        return ""
    except (SearchError, BadMapping) as error:
        with installation.pool.connection() as connection:
            if current := versions.current(connection):
                note_hindrance(connection, current.version_id, error, installation.clock())
        return str(error)


def note_hindrance(connection: Connection[Any], version_id: int, error: HarvesterError, now: datetime) -> None:
    """Remember why the aliases could not be moved to a version, for whoever looks at it; `hindered_at` stays that of
    the first time."""
    connection.execute(
        """UPDATE search_report SET hindrance = %(why)s, mend = %(mend)s, hindered_at = coalesce(hindered_at, %(now)s)
           WHERE version_id = %(version)s""",
        {"why": error.sentence, "mend": error.mend, "now": now, "version": version_id},
    )


def rehearse(installation: Installation, version: Version) -> None:
    """Have the server look at all that moving the aliases to a version asks of it: names, rights, blocks. Nothing
    moves. Raises SearchError, BadMapping.

    It is the very request, with one more action at its end that no server can do: it does all of them or none, and says
    so of that action only where nothing else stands in the way.
    """
    try:
        with working(installation) as work:
            with installation.pool.connection() as connection:
                version = versions.by_id(connection, version.version_id)  # its indices were made since it was prepared
            plan = _plan(work, version)
            added = next((action["add"] for action in plan.actions if "add" in action), None)
            if added:
                _check_names(work, plan)
                _try(work, [*plan.actions, {"add": {**added, "filter": {_NO_QUERY: {}}}}])
    except NoIndex:
        return


def _try(work: Work, actions: list[dict[str, Any]]) -> None:
    from opensearchpy.exceptions import OpenSearchException

    try:
        work.client.indices.update_aliases(body={"actions": actions})
    except OpenSearchException as error:
        if _NO_QUERY not in str(getattr(error, "info", "")):
            raise _with_mend(sorted_failure("trying to move the aliases", error)) from error


def behind(installation: Installation) -> int | None:
    """The current version, when searches do not show it and it is time to try again: at once where only the alias lacks
    (a release that was killed, a server that did not answer), once an hour where its index could not be built."""
    side = search_side(installation)
    if side is None or side.state != "behind":
        return None
    waits = not side.is_built and side.since and installation.clock() < side.since + REBUILT_AFTER
    return None if waits else side.version_id


def move_at(work: Work) -> str:
    """Move every entity's alias to the current version's index, by one call for all; nothing is asked of the server
    when nothing is to be moved. Why an alias could not be moved, or "". Whatever becomes of that, what the aliases
    point at shows nothing that is taken down. Raises SearchError, BadMapping."""
    with work.installation.pool.connection() as connection:
        current = versions.current(connection)
    if current is None:
        return ""
    try:
        lacking = _moved_at(work, current)
    except (SearchError, BadMapping):
        _take_out(work)
        raise
    if lacking:
        _take_out(work)
    return "; ".join(lacking)


def _moved_at(work: Work, current: Version) -> list[str]:
    config = work.installation.config
    plan = _plan(work, current)
    _obey(work, current, plan)
    if plan.actions:
        _check_names(work, plan)
        with asking("moving the aliases"):
            work.client.indices.update_aliases(body={"actions": plan.actions})
    with work.installation.pool.connection() as connection:
        for entity in work.installation.catalog.entities:
            name = plan.showing.get(entity.name)
            index.note_shown(connection, config, entity.name, {name} if name else plan.staying.get(entity.name, ()))
        connection.execute(
            """UPDATE search_report SET hindrance = '', hindered_at = NULL, mend = CASE hindrance WHEN '' THEN mend
               ELSE '' END WHERE version_id = %s""",
            (current.version_id,),
        )
    return plan.lacking


def _take_out(work: Work) -> None:
    """Of what the aliases point at, whatever that is."""
    config, pool = work.installation.config, work.installation.pool
    for entity in work.installation.catalog.entities:
        overlay.take_out(work.client, pool, index.targets(work.client, config, entity.name), alone=True)


def may_show_taken_down(installation: Installation) -> bool:
    """Whether a search may still find what was taken down (or not yet what came back), as far as the store knows: a
    takedown that was killed, or could not reach the server, whatever else stands in the way of the index."""
    config = installation.config
    if config.index.url == "none":
        return False
    prefixes = tuple(index.prefix(config, entity.name) for entity in installation.catalog.entities)
    with installation.pool.connection() as connection:
        current = versions.current(connection)
        names = index.shown(connection) | set(current.indices.values() if current else ())
        return overlay.may_show(connection, [name for name in names if name.startswith(prefixes)])


def _obey(work: Work, version: Version, plan: _Plan) -> None:
    """No alias shows what was taken down while its index was made, or waited."""
    for entity, name in plan.showing.items():
        definition = mapping.definition(work.installation.catalog, entity, work.installation.config)
        if definition:
            overlay.bring(work.client, work.installation.pool, name, version, definition, work.sending)


def _plan(work: Work, version: Version) -> _Plan:
    config = work.installation.config
    with work.installation.pool.connection() as connection:
        finished = {
            one.name
            for entity in work.installation.catalog.entities
            for one in index.held(connection, config, entity.name)
        }
    plan = _Plan([], {}, [], {})
    for entity in work.installation.catalog.entities:
        alias, wanted = index.alias(config, entity.name), version.indices.get(entity.name)
        present = index.targets(work.client, config, entity.name)
        if wanted is None or wanted not in finished:
            if mapping.definition(work.installation.catalog, entity.name, config) is None:
                plan.actions.extend({"remove": {"index": name, "alias": alias}} for name in sorted(present))
            else:
                plan.staying[entity.name] = present
                plan.lacking.append(
                    f"{alias}: no index holds version {version.version_id} yet; the next release makes it"
                )
            continue
        plan.showing[entity.name] = wanted
        if present != {wanted}:
            plan.actions.extend({"remove": {"index": name, "alias": alias}} for name in sorted(present - {wanted}))
            plan.actions.append({"add": {"index": wanted, "alias": alias}})
    return plan


def _check_names(work: Work, plan: _Plan) -> None:
    """That nothing else bears the name of an alias: the server's own words name no mend."""
    for entity in plan.showing:
        alias = index.alias(work.installation.config, entity)
        if bearer := index.bearer(work.client, work.installation.config, entity):
            raise Refused(f"{bearer} has the name {alias}, which the alias is to have", "delete or rename it")


def _with_mend(error: SearchError) -> SearchError:
    if error.mend:
        return error
    mend = "look at the search server's blocks, and at what index.auth may do there (aliases of its own indices)"
    return type(error)(error.sentence, mend)
