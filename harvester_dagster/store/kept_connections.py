"""Connections that Dagster's storages keep: named in the URL of Dagster's own storage, `…?plugin=kept`.

Each of dagster-postgres' three storages opens a connection for a statement and closes it again (SQLAlchemy's
`NullPool`): 439 connections for the run of one set, more than half of its time. This plugin, a public way into
`create_engine`, gives them a pool instead. Belongs here: how many are kept, for how long, and how long a store that is
away is waited for. Does not belong here: the harvester's own connections (`database.py`).
"""

import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, CreateEnginePlugin, Dialect, Engine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from harvester_dagster.store.away import is_away

SIZE = 2
"""Connections that a storage keeps in a process; a run uses one or two at a time."""
OVERFLOW = 30
"""Further ones while many threads ask at once; closed after use, as before."""
RECYCLE_SECONDS = 300
PATIENCE_SECONDS = 10.0
"""For a store that lets nobody in, each time: Dagster itself asks six times within some ten seconds."""


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

    def engine_created(self, engine: Engine) -> None:
        """Have its connections made with patience."""
        event.listen(engine, "do_connect", _connected)


def _connected(dialect: Dialect, _entry: ConnectionPoolEntry, arguments: Any, options: Any) -> Any:
    """A connection of the driver's. Raises its error when the store lets nobody in for so long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except Exception as error:
            if not is_away(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.25)
