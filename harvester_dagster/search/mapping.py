"""Settings, mappings and test queries of an entity's index: the built-in ones, or a plug-in's.

A plug-in is an entry point of the group `harvester_dagster.search_mapping` (docs/search-mapping.md). Belongs here:
finding it, checking what it gives, and what is added to it. Does not belong here: the built-in mapping
(`default_mapping.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from harvester_dagster.config import Index
from harvester_dagster.documents import canonical
from harvester_dagster.search import default_mapping

GROUP = "harvester_dagster.search_mapping"

CHECKSUM = "output_hash"
"""The field of each document that holds its output's hash, in numbers that can be summed exactly."""


class BadMapping(Exception):
    """The configured mapping cannot be used; the message names the plug-in and the mend."""


class Query(NamedTuple):
    """A test query: an index that answers with fewer hits is not promoted."""

    name: str
    query: Mapping[str, Any]
    minimum_hits: int


@dataclass(frozen=True)
class Definition:
    """What an index is made with. `digest` is another one when an index must be built anew."""

    entity: str
    settings: Mapping[str, Any]
    mappings: Mapping[str, Any]
    queries: tuple[Query, ...]
    digest: bytes
    replicas: int
    refresh_interval: str | None


def definition(entity: str, index: Index) -> Definition | None:
    """None: the entity has no index. Raises BadMapping."""
    given = _function(index.mapping)(entity, index)
    if given is None:
        return None
    name = f"the search mapping {index.mapping!r} for {entity}"
    if not isinstance(given, Mapping) or not {"settings", "mappings"} <= given.keys() <= {
        *("settings", "mappings", "queries"),
    }:
        raise BadMapping(f"{name} must give settings, mappings and perhaps queries")
    settings, mappings = given["settings"], given["mappings"]
    if not isinstance(settings, Mapping) or not isinstance(mappings, Mapping):
        raise BadMapping(f"{name}: settings and mappings must be objects")
    own = _index_settings(settings)
    replicas, refresh = own.pop("number_of_replicas", index.replicas), own.pop("refresh_interval", None)
    settings = {**{key: value for key, value in settings.items() if not _is_index_setting(key)}, "index": own}
    return Definition(
        entity=entity,
        settings=settings,
        mappings=mappings,
        queries=tuple(_query(name, query) for query in given.get("queries", ())),
        digest=canonical.digest(canonical.encode([settings, mappings])),
        replicas=int(replicas),
        refresh_interval=refresh,
    )


def _function(name: str) -> Callable[[str, Index], Any]:
    if name == "default":
        return default_mapping.definition
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        there = ", ".join(sorted(found)) or "none is installed"
        raise BadMapping(f'index.mapping = "{name}": no such entry point of {GROUP} ({there}); install its package')
    try:
        function = found[name].load()
    except Exception as error:
        raise BadMapping(f'index.mapping = "{name}": its package does not load: {error}') from error
    if not callable(function):
        raise BadMapping(f'index.mapping = "{name}": {found[name].value} is not a function (docs/search-mapping.md)')
    made: Callable[[str, Index], Any] = function
    return made


def _is_index_setting(key: str) -> bool:
    return key == "index" or key.startswith("index.") or key in ("number_of_shards", "number_of_replicas")


def _index_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `index`, whichever of the server's ways of writing them is used."""
    own: dict[str, Any] = dict(settings.get("index", {}))
    for key, value in settings.items():
        if key != "index" and _is_index_setting(key):
            own[key.removeprefix("index.")] = value
    return own


def _query(name: str, given: Any) -> Query:
    if not isinstance(given, Mapping) or not isinstance(given.get("query"), Mapping) or "name" not in given:
        raise BadMapping(f"{name}: a query is {{name, query, minimum_hits}}")
    return Query(str(given["name"]), given["query"], int(given.get("minimum_hits", 1)))
