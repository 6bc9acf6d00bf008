"""The inbox: records that were pushed to a set, each stored before its sender is told so.

    waiting     to be taken into the set's next generation; or once more, beside what was accepted after it
    taken       compared with what was accepted; what it says is published, or as it was
    older       something newer of the same record was there
    rejected    taken, and judged: the set's verdict was no; waits for somebody to accept or dismiss it
    dismissed   laid aside by somebody

Belongs here: the rows, and how many may wait. Does not belong here: what a record is (`sources/`), taking it
(`sets/pushed.py`), who may push (`web/webhook.py`).
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

MOST_WAITING = 10_000
MOST_BYTES = 200_000_000
"""Of one set's pushes that wait: more are refused until some are taken."""

PushState = Literal["waiting", "taken", "older", "rejected", "dismissed"]
SETTLED: tuple[PushState, ...] = ("taken", "older", "dismissed")


class Pushed(NamedTuple):
    """A record on its way in. `page` holds it alone; `source_date` is as its source wrote it, "" where it did not."""

    external_id: str
    source_date: str
    page: bytes


class Waits(NamedTuple):
    """A row that waits to be taken. `is_again`: it was taken before something else was accepted."""

    push_id: int
    external_id: str
    source_date: str
    received_at: datetime
    is_again: bool
    page: bytes


class WasTaken(NamedTuple):
    """A row that was taken."""

    push_id: int
    external_id: str
    source_date: str
    received_at: datetime


class PushRow(NamedTuple):
    """A row as people see it."""

    push_id: int
    set: str
    external_id: str
    state: PushState
    received_at: datetime
    ended_at: datetime | None
    sender: str
    reason: str


class Unsettled(NamedTuple):
    """What a set's inbox holds that is not settled. `since`: when the oldest that waits came."""

    set_id: int
    waiting: int
    since: datetime | None
    rejected: int
    reason: str
    """Of the newest that was rejected."""


def is_full(connection: Connection[Any], set_id: int, most: int = MOST_WAITING, most_bytes: int = MOST_BYTES) -> bool:
    """Whether no more of a set can wait."""
    row = connection.execute(
        """SELECT count(*), coalesce(sum(octet_length(page)), 0) FROM (
               SELECT page FROM push WHERE set_id = %s AND state IN ('waiting', 'rejected') LIMIT %s) p""",
        (set_id, most),
    ).fetchone()
    return row is not None and (row[0] >= most or row[1] >= most_bytes)


def put(connection: Connection[Any], set_id: int, pushed: Pushed, sender: str, now: datetime) -> int | None:
    """Store a push; its number. None: the newest of that record that waits says the same."""
    digest = hashlib.sha256(pushed.page).digest()
    row = connection.execute(
        """INSERT INTO push (set_id, external_id, source_date, digest, page, sender, received_at)
           SELECT %(set)s, %(id)s, %(date)s, %(digest)s, %(page)s, %(sender)s, %(now)s
           WHERE (SELECT (state = 'waiting' AND NOT is_again AND digest = %(digest)s) FROM push
                  WHERE set_id = %(set)s AND external_id = %(id)s ORDER BY push_id DESC LIMIT 1) IS NOT TRUE
           RETURNING push_id""",
        {
            "set": set_id,
            "id": pushed.external_id,
            "date": pushed.source_date,
            "digest": digest,
            "page": pushed.page,
            "sender": sender,
            "now": now,
        },
    ).fetchone()
    return row[0] if row else None


def sets_waiting(connection: Connection[Any]) -> list[str]:
    """The keys of the sets with pushes that wait, that of the oldest first."""
    rows = connection.execute(
        """SELECT s.key FROM push p JOIN harvest_set s USING (set_id) WHERE p.state = 'waiting'
           GROUP BY s.key ORDER BY min(p.push_id)"""
    )
    return [key for (key,) in rows]


def came_between(connection: Connection[Any], since: datetime, until: datetime) -> set[str]:
    """The keys of the sets to which something was pushed then that waits no more."""
    rows = connection.execute(
        """SELECT DISTINCT s.key FROM push p JOIN harvest_set s USING (set_id)
           WHERE p.ended_at > %(since)s AND p.received_at > %(since)s AND p.received_at <= %(until)s""",
        {"since": since, "until": until},
    )
    return {key for (key,) in rows}


def waiting(
    connection: Connection[Any], set_id: int, most: int, most_bytes: int, up_to: int | None = None
) -> list[Waits]:
    """The oldest pushes of a set that wait: so many, or so long together, one at least. `up_to`: of those that had this
    number or a lower one."""
    with connection.cursor(row_factory=class_row(Waits)) as cursor:
        return cursor.execute(
            """SELECT push_id, external_id, source_date, received_at, is_again, page FROM (
                   SELECT *, sum(octet_length(page)) OVER (ORDER BY push_id) - octet_length(page) AS before FROM (
                       SELECT * FROM push WHERE set_id = %(set)s AND state = 'waiting'
                         AND (%(up_to)s::bigint IS NULL OR push_id <= %(up_to)s)
                       ORDER BY push_id LIMIT %(most)s) oldest) p
               WHERE before < %(bytes)s ORDER BY push_id""",
            {"set": set_id, "most": most, "bytes": most_bytes, "up_to": up_to},
        ).fetchall()


def last_taken(connection: Connection[Any], set_id: int, external_ids: Sequence[str]) -> list[WasTaken]:
    """What was taken last of each of these records, which is the newest."""
    with connection.cursor(row_factory=class_row(WasTaken)) as cursor:
        return cursor.execute(
            """SELECT DISTINCT ON (external_id) push_id, external_id, source_date, received_at FROM push
               WHERE set_id = %s AND external_id = ANY (%s) AND state = 'taken'
               ORDER BY external_id, ended_at DESC, push_id DESC""",
            (set_id, list(external_ids)),
        ).fetchall()


def taken_since(connection: Connection[Any], set_id: int, since: datetime) -> list[str]:
    """The external ids of a set's pushes that were taken since then."""
    rows = connection.execute(
        "SELECT DISTINCT external_id FROM push WHERE set_id = %s AND state = 'taken' AND ended_at >= %s",
        (set_id, since),
    )
    return [external_id for (external_id,) in rows]


def begin(connection: Connection[Any], push_ids: Sequence[int], attempt_id: int) -> None:
    """An attempt takes these: its verdict settles them."""
    connection.execute("UPDATE push SET attempt_id = %s WHERE push_id = ANY (%s)", (attempt_id, list(push_ids)))


def end(
    connection: Connection[Any], push_ids: Sequence[int], state: PushState, now: datetime, reason: str = ""
) -> None:
    """Settle these."""
    connection.execute(
        "UPDATE push SET state = %s, reason = %s, ended_at = %s WHERE push_id = ANY (%s) AND state = 'waiting'",
        (state, reason, now, list(push_ids)),
    )


def settle(connection: Connection[Any], attempt_id: int, state: PushState, now: datetime, reason: str = "") -> None:
    """Settle what an attempt took, in the transaction of its verdict."""
    connection.execute(
        """UPDATE push SET state = %s, reason = %s, ended_at = %s
           WHERE attempt_id = %s AND state = 'waiting'""",
        (state, reason, now, attempt_id),
    )


def look_again(connection: Connection[Any], set_id: int, since: datetime) -> None:
    """What was taken since then waits once more, in the transaction that accepts what was asked for before: of each
    record the newest. What somebody rejected meanwhile is rejected still."""
    connection.execute(
        """UPDATE push SET state = 'waiting', is_again = true, ended_at = NULL, attempt_id = NULL
           WHERE push_id IN (SELECT max(push_id) FROM push
                             WHERE set_id = %(set)s AND state = 'taken' AND ended_at >= %(since)s GROUP BY external_id)
        """,
        {"set": set_id, "since": since},
    )


class Newest(NamedTuple):
    """The numbers of a set's newest pushes: of those that are not settled, and of these that were rejected; 0 where
    there is none."""

    unsettled: int
    rejected: int


def newest(connection: Connection[Any], set_id: int) -> Newest:
    """Up to where somebody decides who has seen what there is now."""
    row = connection.execute(
        """SELECT coalesce(max(push_id), 0), coalesce(max(push_id) FILTER (WHERE state = 'rejected'), 0) FROM push
           WHERE set_id = %s AND state IN ('waiting', 'rejected')""",
        (set_id,),
    ).fetchone()
    return Newest(*row) if row else Newest(0, 0)


def decide(connection: Connection[Any], set_id: int, now: datetime, *, accept: bool, up_to: int) -> int:
    """What was rejected, up to this number, waits again, to be accepted by hand, or is laid aside for good; how
    many."""
    return connection.execute(
        """UPDATE push SET state = %(state)s, ended_at = %(ended)s, attempt_id = NULL
           WHERE set_id = %(set)s AND state = 'rejected' AND push_id <= %(up_to)s""",
        {
            "set": set_id,
            "up_to": up_to,
            "state": "waiting" if accept else "dismissed",
            "ended": None if accept else now,
        },
    ).rowcount


def counts(connection: Connection[Any]) -> list[Unsettled]:
    """Every set with pushes that are not settled."""
    with connection.cursor(row_factory=class_row(Unsettled)) as cursor:
        return cursor.execute(
            """SELECT set_id, count(*) FILTER (WHERE state = 'waiting') AS waiting,
                      min(received_at) FILTER (WHERE state = 'waiting') AS since,
                      count(*) FILTER (WHERE state = 'rejected') AS rejected,
                      coalesce((array_agg(reason ORDER BY push_id DESC) FILTER (WHERE state = 'rejected'))[1], '')
                          AS reason
               FROM push WHERE state IN ('waiting', 'rejected') GROUP BY set_id ORDER BY set_id"""
        ).fetchall()


def rows(connection: Connection[Any], key: str = "", states: Sequence[PushState] = (), most: int = 50) -> list[PushRow]:
    """Newest first; of a set, or in some states, where these are given."""
    with connection.cursor(row_factory=class_row(PushRow)) as cursor:
        return cursor.execute(
            """SELECT push_id, s.key AS set, external_id, state, received_at, ended_at, sender, reason
               FROM push JOIN harvest_set s USING (set_id)
               WHERE (%(key)s = '' OR s.key = %(key)s) AND (%(states)s = '{}' OR state = ANY (%(states)s::text[]))
               ORDER BY push_id DESC LIMIT %(most)s""",
            {"key": key, "states": list(states), "most": most},
        ).fetchall()
