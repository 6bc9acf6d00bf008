"""Indices one by one: their names, their marks, making, cloning and removing them.

An index is `{platform}-{entity}--{dataset}-{version}` after the version that it was made for, with `-r2`, `-r3`… when
that name is taken. Which version it holds is in the table `search_index`; its `_meta` says whose it is, so that
indices of other platforms and other stores on one cluster are never touched. Does not belong here: which index is made
when (`build.py`), aliases (`aliases.py`).
"""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import Connection

from harvester_dagster.config import Config
from harvester_dagster.search.bulk_lines import PARTS, Sums
from harvester_dagster.search.connection import SLOW, asking
from harvester_dagster.search.mapping import CHECKSUM, Definition

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

# doc_values only: these are summed, never searched.
_CHECKSUM = {"properties": {part: {"type": "integer", "index": False} for part in PARTS}}


class KeptIndex(NamedTuple):
    """A finished index: what it holds, and what it was made with. `complete`: the sums over all that its version
    publishes, as of the takedown `overlay_seq`; None where they are to be added up."""

    name: str
    entity: str
    version_id: int
    moving_to: int | None
    definition: bytes
    overlay_seq: int
    complete: Sums | None


def alias(config: Config, entity: str) -> str:
    """The name under which consumers search an entity: `{platform}-{entity}`."""
    return f"{config.platform}-{entity}"


def prefix(config: Config, entity: str) -> str:
    """What the names of all indices of an entity begin with; its versions' numbers follow."""
    return f"{alias(config, entity)}--{config.dataset}-"


def free_name(client: "OpenSearch", connection: Connection[Any], config: Config, entity: str, version_id: int) -> str:
    """A name for the index of a version that nothing has yet, neither in the store nor on the server. Raises
    SearchError."""
    base = f"{prefix(config, entity)}{version_id}"
    taken = {row[0] for row in connection.execute("SELECT name FROM search_index")}
    with asking("listing indices"):
        taken |= client.indices.get(index=f"{base}*", params={"filter_path": "*.aliases"}).keys()
    return next(name for name in _candidates(base) if name not in taken)


def _candidates(base: str) -> Iterator[str]:
    yield base
    number = 2
    while True:
        yield f"{base}-r{number}"
        number += 1


def mark(config: Config, store_id: str) -> dict[str, Any]:
    """What `_meta` of an index says: whose it is. Clones inherit it."""
    return {"harvester": {"store": store_id, "platform": config.platform, "dataset": config.dataset}}


def store_id(connection: Connection[Any]) -> str:
    """The id that marks this store's indices on a cluster that others use too."""
    row = connection.execute("SELECT store_id FROM search_store").fetchone()
    assert row is not None
    return str(row[0])


def create(client: "OpenSearch", name: str, definition: Definition, meta: dict[str, Any]) -> None:
    """Make an empty index in which loading is cheap: no replicas, no refresh, no sync of the log at each request.
    Raises SearchError."""
    given = definition.mappings
    loading = {"number_of_replicas": 0, "refresh_interval": "-1", "translog.durability": "async"}
    body = {
        "settings": {**definition.settings, "index": {**definition.settings["index"], **loading}},
        "mappings": {
            **given,
            "_meta": {**given.get("_meta", {}), **meta},
            "properties": {**given.get("properties", {}), CHECKSUM: _CHECKSUM},
        },
    }
    with asking(f"creating {name}"):
        client.indices.create(index=name, body=body, params={"request_timeout": SLOW})


def clone(client: "OpenSearch", source: str, name: str, definition: Definition) -> None:
    """Make a writable copy that shares the source's segments on disk; nobody writes to the source from now on.
    Raises SearchError."""
    settings = {**_served(definition), "index.blocks.write": None}
    with asking(f"cloning {source} to {name}"):
        client.indices.add_block(index=source, block="write")
        client.indices.clone(index=source, target=name, body={"settings": settings}, params={"request_timeout": SLOW})


def unseal(client: "OpenSearch", name: str) -> None:
    """Open an index for writing again that was cloned from. Raises SearchError."""
    with asking(f"opening {name} for writing"):
        client.indices.put_settings(index=name, body={"index.blocks.write": None})


def refresh(client: "OpenSearch", name: str) -> None:
    """Let searches see what was sent. Raises SearchError."""
    with asking(f"refreshing {name}"):
        client.indices.refresh(index=name, params={"request_timeout": SLOW})


def serve(client: "OpenSearch", name: str, definition: Definition) -> None:
    """Give an index that was filled from nothing the settings that it is served with. A clone has them from its
    start. Raises SearchError."""
    with asking(f"finishing {name}"):
        # Flushed, for a server that is killed has a log to replay: 52 s were measured.
        client.indices.flush(index=name, params={"request_timeout": SLOW})
        client.indices.put_settings(index=name, body={**_served(definition), "index.translog.durability": None})


def _served(definition: Definition) -> dict[str, Any]:
    return {
        "index.number_of_replicas": definition.replicas,
        "index.refresh_interval": definition.refresh_interval,
    }


def size(client: "OpenSearch", name: str) -> int:
    """The bytes that an index takes on disk, all copies together. Raises SearchError."""
    with asking(f"the size of {name}"):
        stats = client.indices.stats(
            index=name, metric="store", params={"filter_path": "_all.total.store.size_in_bytes"}
        )
    return int(stats["_all"]["total"]["store"]["size_in_bytes"])


def remove(client: "OpenSearch", connection: Connection[Any], names: Collection[str]) -> None:
    """Remove indices from the server, then from the store and its versions. One that is not there is fine. Raises
    SearchError."""
    for name in names:
        with asking(f"removing {name}"):
            client.indices.delete(index=name, params={"ignore_unavailable": "true", "request_timeout": SLOW})
        connection.execute(
            """UPDATE dataset_version v SET indices = (v.indices::jsonb - i.entity)::json
               FROM search_index i WHERE i.name = %s AND v.indices ->> i.entity = i.name""",
            (name,),
        )
        connection.execute("DELETE FROM search_index WHERE name = %s", (name,))


def on_server(client: "OpenSearch", config: Config, store: str) -> set[str]:
    """Every index of this store, platform and dataset that the server has, by its mark. Raises SearchError."""
    with asking("listing indices"):
        found = client.indices.get_mapping(
            index=f"{config.platform}-*--{config.dataset}-*", params={"filter_path": "*.mappings._meta.harvester"}
        )
    own = {"store": store, "platform": config.platform, "dataset": config.dataset}
    return {name for name, said in found.items() if own.items() <= said["mappings"]["_meta"]["harvester"].items()}


def targets(client: "OpenSearch", config: Config, entity: str) -> set[str]:
    """The indices that an entity's alias points at; none when there is no such alias. Raises SearchError."""
    name = alias(config, entity)
    with asking(f"looking up the alias {name}"):
        found = client.indices.get_alias(name=name, params={"allow_no_indices": "true"}, ignore=404)
    return {key for key, said in found.items() if isinstance(said, dict) and "aliases" in said}


def bearer(client: "OpenSearch", config: Config, entity: str) -> str:
    """What bears the name of an entity's alias and is none: "an index", "a data stream"; else "". Raises
    SearchError."""
    name = alias(config, entity)
    with asking(f"looking up what is called {name}"):
        found = client.indices.get(index=name, params={"filter_path": "*.aliases"}, ignore=404)
    called = {key for key, said in found.items() if isinstance(said, dict) and "aliases" in said}
    if name in called:
        return "an index"
    return "a data stream" if any(name not in found[key]["aliases"] for key in called) else ""


def shown(connection: Connection[Any]) -> set[str]:
    """The indices that aliases pointed at when they were moved last, as the store knows it."""
    return {name for (name,) in connection.execute("SELECT name FROM search_index WHERE shown")}


def note_shown(connection: Connection[Any], config: Config, entity: str, name: str) -> None:
    """The entity's alias points at this index, and at no other one."""
    connection.execute(
        """UPDATE search_index SET shown = (name = %(name)s)
           WHERE entity = %(entity)s AND starts_with(name, %(prefix)s) AND shown <> (name = %(name)s)""",
        {"name": name, "entity": entity, "prefix": prefix(config, entity)},
    )


def held(connection: Connection[Any], config: Config, entity: str) -> list[KeptIndex]:
    """The finished indices of an entity, as the store knows them; newest version first."""
    rows: Sequence[Any] = connection.execute(
        """SELECT name, entity, version_id, moving_to, definition, overlay_seq, complete FROM search_index
           WHERE entity = %s AND version_id IS NOT NULL AND starts_with(name, %s) ORDER BY version_id DESC, name""",
        (entity, prefix(config, entity)),
    ).fetchall()
    return [KeptIndex._make((*row[:-1], _sums(row[-1]))) for row in rows]


def _sums(stored: list[int] | None) -> Sums | None:
    return Sums(stored[0], tuple(stored[1:])) if stored else None


def note_complete(connection: Connection[Any], name: str, version_id: int, complete: Sums) -> None:
    """The index holds this version, whose sums these are."""
    connection.execute(
        "UPDATE search_index SET version_id = %s, moving_to = NULL, complete = %s WHERE name = %s",
        (version_id, [complete.documents, *complete.parts], name),
    )


def lacking(connection: Connection[Any], name: str) -> list[int]:
    """The documents that an index had to leave out: the server refused them."""
    found = connection.execute("SELECT doc_id FROM search_rejected WHERE name = %s ORDER BY 1", (name,))
    return [doc_id for (doc_id,) in found]
