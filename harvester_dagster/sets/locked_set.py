"""A set that nobody else works on: its lock, as a thing that whoever writes to a set asks for.

Reading needs none. The set's row is read once, under the lock, and every change of it goes through `LockedSet.move`,
so that what is known of the set here is what its row says.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import class_row

from harvester_dagster.installation import Installation
from harvester_dagster.sets import sets
from harvester_dagster.sets.sets import SetState
from harvester_dagster.store import locks
from harvester_dagster.store.locks import Busy, Lock


class LockedSet:
    """Made by `lock_set` only. `state` is the set's row."""

    def __init__(self, installation: Installation, state: SetState) -> None:
        self.installation, self.state = installation, state

    @property
    def key(self) -> str:
        """The set's key, `source:set`."""
        return self.state.key

    @property
    def set_id(self) -> int:
        """The set's id in the store."""
        return self.state.set_id

    def connection(self) -> AbstractContextManager[Connection[tuple[Any, ...]]]:
        """A transaction."""
        return self.installation.pool.connection()

    def move(self, connection: Connection[Any], **columns: Any) -> None:
        """Change these columns of the set's row. The transaction must commit, or its error end the lock.

        Raises Busy when the lock went with its connection, and another run moved the set meanwhile.
        """
        changes = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in columns
        )
        query = sql.SQL(
            """UPDATE harvest_set SET {} WHERE set_id = %(known_id)s AND accepted_gen = %(known_gen)s
                   AND staged_attempt IS NOT DISTINCT FROM %(known_attempt)s RETURNING {}"""
        ).format(changes, sql.SQL(", ").join(map(sql.Identifier, SetState._fields)))
        known = {
            "known_id": self.state.set_id,
            "known_gen": self.state.accepted_gen,
            "known_attempt": self.state.staged_attempt,
        }
        with connection.cursor(row_factory=class_row(SetState)) as cursor:
            moved = cursor.execute(query, {**columns, **known}).fetchone()
        if moved is None:
            raise Busy(f"{self.key}: its lock was lost, and another run moved the set", "run this one again")
        self.state = moved


PATIENCE = 600.0
"""Seconds in which another run of the set should have ended."""


@contextmanager
def lock_set(installation: Installation, key: str, patience: float = PATIENCE) -> Iterator[LockedSet]:
    """Hold a set's lock. `patience`: seconds to wait for it. Raises UnknownSet, Busy."""
    busy = Busy(
        f"{key}: another run has worked on this set for {patience:.0f} s",
        f"look at the runs with the tag harvest/set={key} and run this one again when that has ended",
    )
    with installation.pool.connection() as connection:
        set_id = sets.id_of(connection, key)
    with (
        locks.session(installation.pool) as session,
        locks.held(session, Lock.SET, set_id, patience=patience, busy=busy),
    ):
        with installation.pool.connection() as connection:
            state = sets.by_id(connection, set_id)
        yield LockedSet(installation, state)
