"""What was decided about each document of an endpoint, on which version of it, and until when that holds.

Belongs here: the statements about table `access_decision`, set-wise, one or two for a page. Does not belong here: how
a decision is made, when it is written to Solr.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.access.decide.rules import Decision
from harvester_dagster.store.database import copy

DUE = date.min
"""As `valid_until`: to be decided again by the next run that can. (Python has no word for Postgres' -infinity.)"""
_COLUMNS = ("endpoint_id", "id", "version", "rule", "valid_until", "issns", "run_id")
_TYPES = ("int4", "text", "int8", "text", "date", "text", "int8")


class DecidedDocument(NamedTuple):
    """A decision about one document, as it is kept. `version` is the one decided on, or that our update returned."""

    id: str
    version: int
    decision: Decision
    issns: str


class StoredDecision(NamedTuple):
    """What is stored about a document: the version decided on, the rule that answered, the day from which it is
    decided anew."""

    version: int
    rule: str
    valid_until: date | None

    def says(self, verdict: DecidedDocument) -> bool:
        """Whether it says the same as the verdict, so that nothing needs to be written."""
        decision = verdict.decision
        return (
            self.version == verdict.version and self.rule == decision.rule and self.valid_until == decision.valid_until
        )


def of_ids(connection: Connection[Any], key: int, ids: Sequence[str]) -> dict[str, StoredDecision]:
    """What is stored about these documents of endpoint `key`, by id; documents that were never decided are missing."""
    rows = connection.execute(
        "SELECT id, version, rule, valid_until FROM access_decision WHERE endpoint_id = %s AND id = ANY(%s)",
        (key, list(ids)),
        binary=True,
    )
    return {row[0]: StoredDecision(*row[1:]) for row in rows}


def between(connection: Connection[Any], key: int, lowest: str, below: str | None) -> dict[str, StoredDecision]:
    """What is stored about the ids with `lowest` <= id < `below` (None: no upper end): a page of a walk over
    everything, with the documents that have vanished from it."""
    rows = connection.execute(
        "SELECT id, version, rule, valid_until FROM access_decision WHERE endpoint_id = %(key)s AND id >= %(lowest)s "
        + ("AND id < %(below)s" if below is not None else ""),
        {"key": key, "lowest": lowest, "below": below},
        binary=True,
    )
    return {row[0]: StoredDecision(*row[1:]) for row in rows}


def keep(
    connection: Connection[Any],
    key: int,
    run_id: int,
    verdicts: Iterable[DecidedDocument],
    stored: Mapping[str, StoredDecision],
) -> None:
    """Store the verdicts of a run that differ from `stored`, which must hold what is in the table for their ids: it
    tells whether a row is inserted or updated."""
    new: list[tuple[Any, ...]] = []
    changed: list[tuple[Any, ...]] = []
    for verdict in verdicts:
        known = stored.get(verdict.id)
        if known is not None and known.says(verdict):
            continue
        decision = verdict.decision
        row = (key, verdict.id, verdict.version, decision.rule, decision.valid_until, verdict.issns, run_id)
        (new if known is None else changed).append(row)
    if new:
        copy(connection, "access_decision", _COLUMNS, _TYPES, new)
    if changed:
        _update(connection, changed)


def _update(connection: Connection[Any], rows: Sequence[tuple[Any, ...]]) -> None:
    connection.execute("CREATE TEMP TABLE decided (LIKE access_decision) ON COMMIT DROP")
    copy(connection, "decided", _COLUMNS, _TYPES, rows)
    connection.execute(
        "UPDATE access_decision a SET version = d.version, rule = d.rule, valid_until = d.valid_until, "
        "issns = d.issns, run_id = d.run_id FROM decided d WHERE (a.endpoint_id, a.id) = (d.endpoint_id, d.id)"
    )


def forget(connection: Connection[Any], key: int, ids: Collection[str]) -> None:
    """Delete the decisions about documents that are gone from the collection."""
    if ids:
        connection.execute("DELETE FROM access_decision WHERE endpoint_id = %s AND id = ANY(%s)", (key, list(ids)))


def forget_below(connection: Connection[Any], key: int, lowest: str | None) -> None:
    """Delete what lies behind the last document of a walk over everything, which goes from high ids to low ones
    (None: the walk found no document)."""
    connection.execute(
        "DELETE FROM access_decision WHERE endpoint_id = %(key)s AND (%(lowest)s::text IS NULL OR id < %(lowest)s)",
        {"key": key, "lowest": lowest},
    )


def mark_due(connection: Connection[Any], key: int, ids: Collection[str]) -> None:
    """Have these documents decided again by the next run that can; those never decided get a row."""
    if ids:
        connection.execute(
            "INSERT INTO access_decision (endpoint_id, id, version, rule, valid_until, issns, run_id) "
            "SELECT %s, unnest(%s::text[]), 0, '', %s, '', 0 "
            "ON CONFLICT (endpoint_id, id) DO UPDATE SET valid_until = excluded.valid_until",
            (key, list(ids), DUE),
        )


def mark_due_by_issn(connection: Connection[Any], key: int, issns: Collection[str]) -> int:
    """Have every document with one of these (normalized) ISSNs decided again; how many were not marked before."""
    if not issns:
        return 0
    return connection.execute(
        "UPDATE access_decision SET valid_until = %s WHERE endpoint_id = %s AND issns <> '' "
        "AND string_to_array(issns, ' ') && %s::text[] AND valid_until IS DISTINCT FROM %s",
        (DUE, key, list(issns), DUE),
    ).rowcount


def count_due(connection: Connection[Any], key: int, today: date) -> int:
    """How many documents of the endpoint are to be decided again on that day."""
    row = connection.execute(
        "SELECT count(*) FROM access_decision WHERE endpoint_id = %s AND valid_until <= %s", (key, today)
    ).fetchone()
    return int(row[0]) if row else 0


def due(connection: Connection[Any], key: int, today: date, below: str | None, count: int) -> list[str]:
    """At most `count` ids that are to be decided again today, highest first, all of them lower than `below` (None:
    from the top)."""
    rows = connection.execute(
        "SELECT id FROM access_decision WHERE endpoint_id = %(key)s AND valid_until <= %(today)s "
        "AND (%(below)s::text IS NULL OR id < %(below)s) ORDER BY id DESC LIMIT %(count)s",
        {"key": key, "today": today, "below": below, "count": count},
    )
    return [id_ for (id_,) in rows]


def counts(connection: Connection[Any], key: int) -> dict[str, int]:
    """How many documents each rule answered for, most first."""
    rows = connection.execute(
        "SELECT rule, count(*) FROM access_decision WHERE endpoint_id = %s GROUP BY rule ORDER BY 2 DESC", (key,)
    )
    return dict(rows.fetchall())
