"""Settings, mappings and test queries of an entity's index: the built-in ones, or a plug-in's.

A plug-in is an entry point of the group `harvester_dagster.search_mapping` (docs/search-mapping.md). Belongs here:
finding it, checking what it gives, and what is added to it. Does not belong here: the built-in mapping
(`default_mapping.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from inspect import signature
from typing import Any, NamedTuple

from harvester_dagster import canonical
from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config, Index
from harvester_dagster.documents.index_form import IndexForm
from harvester_dagster.failures import HarvesterError
from harvester_dagster.search import default_mapping

GROUP = "harvester_dagster.search_mapping"

CHECKSUM = "output_hash"
"""The field of each document that holds its output's hash, in numbers that can be summed exactly."""


class BadMapping(HarvesterError):
    """The configured mapping cannot be used; the message names the plug-in and the mend."""


class Query(NamedTuple):
    """A test query: an index that answers with fewer hits is not promoted."""

    name: str
    query: Mapping[str, Any]
    minimum_hits: int


@dataclass(frozen=True)
class Definition:
    """What an index is made with. Another `digest` means that an index must be built anew; the other fields ask for
    no new one."""

    entity: str
    settings: Mapping[str, Any]
    mappings: Mapping[str, Any]
    queries: tuple[Query, ...]
    digest: bytes
    replicas: int
    refresh_interval: str | None
    form: IndexForm | None
    """Of outputs that were stored without their form in the index; None: these go there as they are."""


def definition(catalog: Catalog, entity: str, config: Config) -> Definition | None:
    """What an entity's index is made with, by the configured mapping; None: the entity has no index. Raises
    BadMapping."""
    index = config.index
    name = f"the search mapping {index.mapping!r} for {entity}"
    function = _function(index.mapping, catalog)
    try:
        given = function(entity, index, **_also(function, config))
    except Exception as error:  # foreign code
        raise BadMapping(f"{name} fails: {error!r:.200}", "look at its package; docs/search-mapping.md") from error
    if given is None:
        return None
    if not isinstance(given, Mapping) or not {"settings", "mappings"} <= given.keys() <= {
        *("settings", "mappings", "queries"),
    }:
        raise BadMapping(f"{name} must give settings, mappings and perhaps queries")
    settings, mappings = given["settings"], given["mappings"]
    if not isinstance(settings, Mapping) or not isinstance(mappings, Mapping):
        raise BadMapping(f"{name}: settings and mappings must be objects")
    own = _index_settings(settings)
    replicas, refresh = own.pop("number_of_replicas", index.replicas), own.pop("refresh_interval", None)
    form = catalog.index_form(entity)
    settings = {**{key: value for key, value in settings.items() if not _is_index_setting(key)}, "index": own}
    return Definition(
        entity=entity,
        settings=settings,
        mappings=mappings,
        queries=tuple(_query(name, query) for query in given.get("queries", ())),
        digest=canonical.digest(canonical.encode([settings, mappings, *([form.made_with] if form else [])])),
        replicas=int(replicas),
        refresh_interval=refresh,
        form=form,
    )


def _also(function: Callable[..., Any], config: Config) -> dict[str, Any]:
    """The platform, for functions that ask for it by that name; the first plug-ins took an entity and settings only."""
    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):  # of a built-in, which is none of ours
        return {}
    asks = "platform" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    return {"platform": config.platform} if asks else {}


def check(catalog: Catalog, index: Index) -> None:
    """Raise BadMapping unless the configured mapping is there and loads."""
    _function(index.mapping, catalog)


def _function(name: str, catalog: Catalog) -> Callable[..., Any]:
    if name == "default":
        return partial(default_mapping.definition, catalog)
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        there = ", ".join(sorted(found)) or "none is installed"
        raise BadMapping(f'index.mapping = "{name}": no such entry point of {GROUP} ({there})', "install its package")
    try:
        function = found[name].load()
    except Exception as error:
        raise BadMapping(f'index.mapping = "{name}": its package does not load: {error}') from error
    if not callable(function):
        raise BadMapping(f'index.mapping = "{name}": {found[name].value} is not a function (docs/search-mapping.md)')
    made: Callable[..., Any] = function
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
