"""Removing what deleted documents leave in an index: a search server only marks what it deletes.

Belongs here: the indices that consumers search, merged until nothing of it is left, and all others, which are removed
and made anew when they are wanted. Does not belong here: which documents go (`overlay.py`).
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harvester_dagster.installation import Installation
from harvester_dagster.search import aliases, build, index
from harvester_dagster.search.build import Work, working
from harvester_dagster.search.connection import SLOW, NoIndex, SearchError, Unreachable, asking, connected
from harvester_dagster.search.mapping import BadMapping
from harvester_dagster.store.locks import Busy

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_ALLOWED = "index.merge.policy.expunge_deletes_allowed"
"""Percent of deleted documents up to which a segment is left as it is."""
_LOOK_AGAIN = 2.0
MOST_SECONDS = 180.0
"""A server keeps what is deleted for copies to catch up, half a minute as a rule: measured."""
FOR_THE_LAST = 60.0
"""Seconds for others to end their work, before what they would only add to is merged."""

_Last = Mapping[tuple[str, str], int]
"""Index and shard → the number of its last operation."""


def expunge(installation: Installation, patience: float) -> str:
    """Leave nothing in any index of what was taken down. `patience`: seconds for others to end their work. Why it was
    not done, or "". Others wait for the beginning and the end of it only, a few seconds: what they delete meanwhile
    stays for the server to merge."""
    try:
        with working(installation, patience=patience) as work:
            build.clear(work)
            behind = _moved(work)
            _remove_others(work)
            last = {key: number for name in _targets(work) for key, number in _operations(work.client, name).items()}
        with connected(installation.config.index) as client:
            _wait(lambda: _is_let_go(client, last), "the server keeps what is deleted for its copies")
        with working(installation, patience=FOR_THE_LAST) as work:
            merged = {name for name in _targets(work) if any(name == of for of, _ in last)}
            for name in merged:
                _merge(work.client, name)
            made = _others(work, merged)
        if not aliases.may_show_taken_down(installation):
            behind = ""  # the alias lacks something else, which keeps no purge
        return behind or (f"{made} was made meanwhile, perhaps from what was deleted" if made else "")
    except NoIndex:
        return ""
    except (SearchError, BadMapping, Busy) as error:
        return str(error)


def _moved(work: Work) -> str:
    """Have the aliases show the current version, or at least nothing that is taken down. Why they do not, or ""."""
    try:
        return aliases.move_at(work)
    except (SearchError, BadMapping) as error:
        return str(error)


def _targets(work: Work) -> set[str]:
    """What consumers search."""
    config, entities = work.installation.config, work.installation.catalog.entities
    return {name for entity in entities for name in index.targets(work.client, config, entity.name)}


def _remove_others(work: Work) -> None:
    config = work.installation.config
    for entity in work.installation.catalog.entities:
        aliased = index.targets(work.client, config, entity.name)
        with work.installation.pool.connection() as connection:
            others = {one.name for one in index.held(connection, config, entity.name)} - aliased
            index.remove(work.client, connection, others)


def _others(work: Work, merged: set[str]) -> str:
    """The names of all other indices of this installation."""
    prefixes = [index.prefix(work.installation.config, one.name) for one in work.installation.catalog.entities]
    with work.installation.pool.connection() as connection:
        rows = connection.execute(
            """SELECT name FROM search_index WHERE name <> ALL (%s)
               AND EXISTS (SELECT FROM unnest(%s::text[]) p WHERE starts_with(name, p)) ORDER BY 1""",
            (list(merged), prefixes),
        )
        return ", ".join(name for (name,) in rows)


def _operations(client: "OpenSearch", name: str) -> _Last:
    """The last operation of each shard: what was deleted, was by then."""
    return {
        (name, shard): max(copy["seq_no"]["max_seq_no"] for copy in copies)
        for shard, copies in _shards(client, name).items()
    }


def _is_let_go(client: "OpenSearch", last: _Last) -> bool:
    """Whether no copy of a shard keeps one of these operations for others: each says so with what it has written to
    its disk last. Raises SearchError."""
    shards = {}
    for name in {name for name, _ in last}:
        with asking(f"writing {name} to its disk"):
            client.indices.flush(
                index=name, params={"force": "true", "ignore_unavailable": "true", "request_timeout": SLOW}
            )
        shards[name] = _shards(client, name)
    return all(
        int(copy["commit"]["user_data"].get("min_retained_seq_no", -1)) > number
        for (name, shard), number in last.items()
        for copy in shards[name].get(shard, ())
    )


def _shards(client: "OpenSearch", name: str) -> dict[str, Any]:
    """Shard → what each of its copies says. An index that is gone has none."""
    asked = {"level": "shards", "ignore_unavailable": "true"}
    with asking(f"what the server keeps of {name}"):
        found = client.indices.stats(index=name, metric="docs", params=asked)
    shards: dict[str, Any] = found.get("indices", {}).get(name, {}).get("shards", {})
    return shards


def _merge(client: "OpenSearch", name: str) -> None:
    """Write every segment anew that has something deleted which no copy keeps any more: what the server passes over has
    nothing older. Nobody else writes now. Raises SearchError."""
    index.unseal(client, name)
    try:
        with asking(f"removing what is deleted from {name}"):
            client.indices.put_settings(index=name, body={_ALLOWED: 0})
            _wait(lambda: not _merges(client, name), f"{name} is being merged")  # that began when more was kept
            done = client.indices.forcemerge(
                index=name, params={"only_expunge_deletes": "true", "request_timeout": SLOW}
            )
            client.indices.flush(index=name, params={"force": "true", "request_timeout": SLOW})
        index.refresh(client, name)  # until then readers keep what was before
        if failed := done["_shards"]["failed"]:
            raise Unreachable(
                f"{name}: {failed} of its shards were not merged", "it is tried again with the next night"
            )
    finally:
        with suppress(SearchError), asking(f"the settings of {name}"):
            client.indices.put_settings(index=name, body={_ALLOWED: None})


def _merges(client: "OpenSearch", name: str) -> int:
    """How many are going on now."""
    found = client.indices.stats(index=name, metric="merge", params={"filter_path": "_all.total.merges.current"})
    current: int = found["_all"]["total"]["merges"]["current"]
    return current


def _wait(holds: Callable[[], bool], why: str) -> None:
    """Raises Unreachable when that takes too long."""
    end = time.monotonic() + MOST_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise Unreachable(why, "it is tried again with the next night")
        time.sleep(_LOOK_AGAIN)
