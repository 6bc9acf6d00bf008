"""The sets of an installation: synchronised from the configuration, retired by flag, never deleted."""

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from harvester_dagster.config import Config
from harvester_dagster.failures import HarvesterError
from harvester_dagster.store.database import Pool


class UnknownSet(HarvesterError):
    """There is no such set; the message lists those that there are."""


class SetState(NamedTuple):
    """Where a set stands: what is accepted, and whose candidate is staged above it."""

    set_id: int
    key: str
    accepted_gen: int
    watermark: datetime | None
    refreshed_at: datetime | None
    reconciled_at: datetime | None
    mapping_version: str
    output_version: str
    staged_attempt: int | None
    retired_at: datetime | None
    withdrawn_at: datetime | None

    @property
    def candidate_gen(self) -> int:
        """The generation that the set's candidate is, and becomes when it is accepted."""
        return self.accepted_gen + 1


_COLUMNS = ", ".join(SetState._fields)


def synchronise(pool: Pool, config: Config, now: datetime) -> None:
    """Make the sets those of the configuration: new ones appear, gone ones are retired, and one that comes back
    begins with a full harvest."""
    with pool.connection() as connection:
        keys = list(config.sets)
        connection.execute(
            """INSERT INTO harvest_set (key) SELECT wanted FROM unnest(%s::text[]) WITH ORDINALITY AS u (wanted, place)
               WHERE wanted NOT IN (SELECT key FROM harvest_set) ORDER BY place ON CONFLICT DO NOTHING""",
            (keys,),
        )
        connection.execute(
            "UPDATE harvest_set SET retired_at = %s WHERE retired_at IS NULL AND key <> ALL (%s)", (now, keys)
        )
        connection.execute(
            """UPDATE harvest_set SET retired_at = NULL, withdrawn_at = NULL, watermark = NULL
               WHERE retired_at IS NOT NULL AND key = ANY (%s)""",
            (keys,),
        )


def find(connection: Connection[Any], key: str) -> SetState:
    """The set as it stands now; only under its lock it stays so. Raises UnknownSet."""
    return by_id(connection, id_of(connection, key))


def id_of(connection: Connection[Any], key: str) -> int:
    """The set's id, which it keeps for ever. Raises UnknownSet."""
    found = connection.execute("SELECT set_id FROM harvest_set WHERE key = %s", (key,)).fetchone()
    if found is None:
        known = [row[0] for row in connection.execute("SELECT key FROM harvest_set ORDER BY key")]
        raise UnknownSet(f"there is no set {key!r}", f"there are: {', '.join(known) or 'none yet'}")
    return int(found[0])


def by_id(connection: Connection[Any], set_id: int) -> SetState:
    """The set of this id, which there must be."""
    with connection.cursor(row_factory=class_row(SetState)) as cursor:
        found = cursor.execute(f"SELECT {_COLUMNS} FROM harvest_set WHERE set_id = %s", (set_id,)).fetchone()
    assert found is not None, set_id
    return found


def all_sets(connection: Connection[Any]) -> list[SetState]:
    """Every set, retired ones too, in the order in which they came."""
    with connection.cursor(row_factory=class_row(SetState)) as cursor:
        return cursor.execute(f"SELECT {_COLUMNS} FROM harvest_set ORDER BY set_id").fetchall()
