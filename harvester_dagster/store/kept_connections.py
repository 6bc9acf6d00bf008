"""Connections that Dagster's storages keep: named in the URL of Dagster's own storage, `…?plugin=kept`.

Each of dagster-postgres' three storages opens a connection for a statement and closes it again (SQLAlchemy's
`NullPool`): 439 connections for the run of one set, more than half of its time. This plugin, a public way into
`create_engine`, gives them a pool instead, and patience: none of them expects that a session ends under it, so that one
killed backend failed runs, ticks and the very retries that were to mend that. Belongs here: how many are kept, for how
long, and what is done when the store is away. Does not belong here: the harvester's own connections (`database.py`).
"""

import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, CreateEnginePlugin, CursorResult, Dialect, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from harvester_dagster.store.away import is_away
from harvester_dagster.store.database import ANSWERS_WITHIN, LOSS_NOTICED

SIZE = 2
"""Connections that a storage keeps in a process; a run uses one or two at a time."""
OVERFLOW = 30
"""Further ones while many threads ask at once; closed after use, as before."""
RECYCLE_SECONDS = 300
PATIENCE_SECONDS = 10.0
"""For a store that lets nobody in, each time that a connection is asked for."""
TRIES = 6
"""Of one statement, each in another session."""
_MADE = {"tcp_user_timeout": ANSWERS_WITHIN * 1000, **LOSS_NOTICED}
"""Unless the URL says otherwise: else a thread of the daemon waits for a machine that is gone as long as the kernel
does, up to two hours."""


class KeptConnections(CreateEnginePlugin):
    """SQLAlchemy makes one for each engine whose URL names it, and lets it change what the engine is made with."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        self._commits_each = kwargs.get("isolation_level") == "AUTOCOMMIT"
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
        """Have its connections made, and its statements executed, with patience."""
        event.listen(engine, "do_connect", _made)
        if self._commits_each:
            engine._connection_cls = _Lasting  # `tests/store/test_kept_connections.py` sees that it is used


class _Lasting(Connection):
    """Executes a statement anew, in another session, where its own has ended. Dagster's storages commit each by itself:
    none before it is lost. Where only the answer was lost, it is done twice: an event is there twice, a second row of
    the same run is refused."""

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> CursorResult[Any]:
        """As SQLAlchemy's. Raises its DBAPIError when the store is away for longer than a minute, or in the middle of a
        transaction."""
        for _ in range(TRIES - 1):
            try:
                return super().execute(statement, parameters, execution_options=execution_options)
            except DBAPIError as error:
                if not is_away(error) or self._is_in_transaction():
                    raise
            self.rollback()  # of nothing: so SQLAlchemy knows that it may connect again
        return super().execute(statement, parameters, execution_options=execution_options)

    def _is_in_transaction(self) -> bool:
        """Whether a statement is not one of its own: few connections are asked for that."""
        level: str = self.get_execution_options().get("isolation_level", "AUTOCOMMIT")
        return level != "AUTOCOMMIT"


def _made(dialect: Dialect, _entry: ConnectionPoolEntry, arguments: Any, options: Any) -> Any:
    """A connection of the driver's. Raises its error when the store lets nobody in for so long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return dialect.connect(*arguments, **{**_MADE, **options})
        except Exception as error:
            if not is_away(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.25)
