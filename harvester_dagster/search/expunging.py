"""Removing what deleted documents leave in an index: a search server only marks what it deletes.

Belongs here: the indices that consumers search, merged until nothing of it is left, and all others, which are removed
and made anew when they are wanted. Does not belong here: which documents go (`overlay.py`).
"""

import time
from typing import TYPE_CHECKING

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
"""A server keeps what is deleted for copies to catch up, half a minute as a rule: measured; longer while it is written
to."""


def expunge(installation: Installation, patience: float) -> str:
    """Leave nothing in any index of what was taken down. `patience`: seconds for others to end their work. Why it was
    not done, or ""."""
    try:
        with working(installation, patience=patience) as work:
            build.clear(work)
            behind = aliases.move_at(work)
            _remove_others(work)
        merged = set[str]()
        with connected(installation.config.index) as client:  # whoever makes an index meanwhile need not wait
            for entity in installation.catalog.entities:
                for name in index.targets(client, installation.config, entity.name):
                    _merge(client, name)
                    merged.add(name)
        with installation.pool.connection() as connection:
            rows = connection.execute(
                """SELECT name FROM search_index WHERE name <> ALL (%s)
                   AND EXISTS (SELECT FROM unnest(%s::text[]) p WHERE starts_with(name, p)) ORDER BY 1""",
                (list(merged), [index.prefix(installation.config, one.name) for one in installation.catalog.entities]),
            )
            made = ", ".join(name for (name,) in rows)
        return behind or (f"{made} was made meanwhile, perhaps from what was deleted" if made else "")
    except NoIndex:
        return ""
    except (SearchError, BadMapping, Busy) as error:
        return str(error)


def _remove_others(work: Work) -> None:
    config = work.installation.config
    for entity in work.installation.catalog.entities:
        aliased = index.targets(work.client, config, entity.name)
        with work.installation.pool.connection() as connection:
            others = {one.name for one in index.held(connection, config, entity.name)} - aliased
            index.remove(work.client, connection, others)


def _merge(client: "OpenSearch", name: str) -> None:
    """Until the server says that nothing deleted is left. Raises SearchError."""
    index.unseal(client, name)
    with asking(f"removing what is deleted from {name}"):
        client.indices.put_settings(index=name, body={_ALLOWED: 0})
        end = time.monotonic() + MOST_SECONDS
        while _deleted(client, name):
            if time.monotonic() > end:
                raise Unreachable(f"{name}: the server keeps what is deleted", "it is tried again with the next night")
            client.indices.flush(index=name, params={"force": "true", "request_timeout": SLOW})
            client.indices.forcemerge(index=name, params={"only_expunge_deletes": "true", "request_timeout": SLOW})
            time.sleep(_LOOK_AGAIN)
        client.indices.put_settings(index=name, body={_ALLOWED: None})


def _deleted(client: "OpenSearch", name: str) -> int:
    """Documents that are marked as deleted, in all copies."""
    found = client.indices.stats(index=name, metric="docs", params={"filter_path": "_all.total.docs.deleted"})
    deleted: int = found["_all"]["total"]["docs"]["deleted"]
    return deleted
