"""What stands on the search server and what the store knows of it: for `harvester index` and for pages.

Belongs here: looking. Does not belong here: mending what is found.
"""

from typing import Any, NamedTuple

from harvester_dagster.installation import Installation
from harvester_dagster.search import bulk_lines, index, mapping
from harvester_dagster.search.build import alone
from harvester_dagster.search.connection import SearchError, asking, connected
from harvester_dagster.search.mapping import BadMapping
from harvester_dagster.search.verify import Verified, verify
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import Version


class IndexState(NamedTuple):
    """One index. state: current (the alias shows it), kept (for a rollback), unfinished, missing (the server has
    it no more), unreachable, unknown (of no use to this store any more; the next release takes it away)."""

    name: str
    entity: str
    state: str
    version_id: int | None
    documents: int = 0
    bytes: int = 0
    rejected: int = 0


class IndexStatus(NamedTuple):
    """`server`: what answers, or why nothing does. `behind`: why the alias does not show the current version."""

    server: str
    current_version: int | None
    behind: str
    last_outcome: str
    last_reason: str
    indices: tuple[IndexState, ...]


class Checked(NamedTuple):
    """One index compared with the version that it should hold."""

    name: str
    verdict: Verified


class _Server(NamedTuple):
    """What the server says: itself, the indices of our aliases, documents and bytes of each index of ours."""

    name: str
    aliased: dict[str, set[str]]
    sizes: dict[str, tuple[int, int]]


def status(installation: Installation) -> IndexStatus:
    """What stands on the server and what the store knows of it. A server that does not answer is told, not raised."""
    with installation.pool.connection() as connection:
        current = versions.current(connection)
        last = connection.execute("SELECT outcome, reason FROM search_report ORDER BY at DESC LIMIT 1").fetchone()
        known = connection.execute(
            """SELECT i.name, i.entity, i.version_id, (SELECT count(*) FROM search_rejected r WHERE r.name = i.name)
               FROM search_index i ORDER BY i.entity, i.version_id DESC NULLS LAST"""
        ).fetchall()
        store_id = index.store_id(connection)
    try:
        server = _ask(installation, store_id)
        said, behind = server.name, _behind(installation, current, server)
    except (SearchError, BadMapping) as error:
        server, said, behind = None, str(error), str(error)
    rows = [_known(row, server) for row in known]
    if server:
        of_use = {name for name, *_ in known}
        rows += [IndexState(name, "", "unknown", None, *at) for name, at in server.sizes.items() if name not in of_use]
    outcome, reason = last or ("", "")
    return IndexStatus(said, current.version_id if current else None, behind, outcome, reason, tuple(rows))


def _ask(installation: Installation, store_id: str) -> _Server:
    config = installation.config
    with connected(config.index) as client:
        ours = index.on_server(client, config, store_id)
        aliased = {one.name: index.targets(client, config, one.name) for one in installation.catalog.entities}
        with asking("the sizes of the indices"):
            version = client.info()["version"]["number"]
            listed = client.cat.indices(index=f"{config.platform}-*", params={"format": "json", "bytes": "b"})
    sizes = {row["index"]: (int(row["docs.count"] or 0), int(row["store.size"] or 0)) for row in listed}
    sizes = {name: size for name, size in sizes.items() if name in ours}
    return _Server(f"OpenSearch {version}", aliased, sizes)


def _known(row: Any, server: _Server | None) -> IndexState:
    name, entity, version_id, rejected = row
    documents, size = server.sizes.get(name, (0, 0)) if server else (0, 0)
    if server is None:
        state = "unreachable"
    elif name not in server.sizes:
        state = "missing"
    elif name in server.aliased.get(entity, ()):
        state = "current"
    else:
        state = "kept" if version_id else "unfinished"
    return IndexState(name, entity, state, version_id, documents, size, rejected)


def _behind(installation: Installation, current: Version | None, server: _Server) -> str:
    """Why an alias does not show the current version."""
    if current is None:
        return ""
    late = []
    for entity in installation.catalog.entities:
        if mapping.definition(installation.catalog, entity.name, installation.config) is None:
            continue
        wanted, shown = current.indices.get(entity.name), server.aliased[entity.name]
        if wanted is None or shown != {wanted}:
            alias = index.alias(installation.config, entity.name)
            late.append(f"{alias} shows {', '.join(sorted(shown)) or 'nothing'}, not version {current.version_id}")
    return "; ".join(late)


def check(installation: Installation) -> tuple[Checked, ...]:
    """The current version's indices, verified. Raises SearchError, BadMapping."""
    found = []
    with (
        alone(installation),
        connected(installation.config.index) as client,
        installation.pool.connection() as connection,
    ):
        current = versions.current(connection)
        for entity in installation.catalog.entities if current else ():
            definition = mapping.definition(installation.catalog, entity.name, installation.config)
            name = current.indices.get(entity.name) if current else None
            if current and definition and name:
                lacking = index.lacking(connection, name)
                expected = bulk_lines.sums(connection, current, entity.name).minus(
                    bulk_lines.sums_of(connection, current, entity.name, lacking)
                )
                found.append(Checked(name, verify(client, name, current, definition, expected)))
    return tuple(found)
