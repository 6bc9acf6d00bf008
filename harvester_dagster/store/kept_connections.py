"""Connections that Dagster's storages keep: named in the URL of Dagster's own storage, `…?plugin=kept`.

Each of dagster-postgres' three storages opens a connection for a statement and closes it again (SQLAlchemy's
`NullPool`): 439 connections for the run of one set, more than half of its time. This plugin, a public way into
`create_engine`, gives them a pool instead. Belongs here: how many are kept, and for how long. Does not belong here: the
harvester's own connections (`database.py`).
"""

from typing import Any

from sqlalchemy.engine import URL, CreateEnginePlugin
from sqlalchemy.pool import QueuePool

SIZE = 2
"""Connections that a storage keeps in a process; a run uses one or two at a time."""
OVERFLOW = 30
"""Further ones while many threads ask at once; closed after use, as before."""
RECYCLE_SECONDS = 300


class KeptConnections(CreateEnginePlugin):
    """SQLAlchemy makes one for each engine whose URL names it, and lets it change what the engine is made with."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        kwargs.update(
            poolclass=QueuePool,
            pool_size=SIZE,
            max_overflow=OVERFLOW,
            pool_recycle=RECYCLE_SECONDS,
            pool_pre_ping=True,  # a server that was restarted meanwhile fails nothing
            pool_use_lifo=True,
        )

    def update_url(self, url: URL) -> URL:
        """The URL as the driver takes it: libpq refuses what it does not know."""
        return url.difference_update_query(["plugin"])
