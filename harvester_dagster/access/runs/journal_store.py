"""The journals of an endpoint: read whole from Solr, swapped in at once in Postgres, loaded into memory for a run.

Belongs here: reading them, what changed since when, what the library should mend. Does not belong here: what a
journal means for a decision (`journals.py`, `rules.py`).
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection

from harvester_dagster.access.decide.journals import Journal, Range, by_issn, read_journal
from harvester_dagster.access.decide.solr_document import Problem
from harvester_dagster.access.runs.run_rows import endpoint_id
from harvester_dagster.access.solr.collection import Solr
from harvester_dagster.access.solr.reader import walk
from harvester_dagster.store.database import Pool, copy

FILTERS = ("format:journal", "source_ss:jnl_sfx")
_COLUMNS = ("id", "issns", "title", "open_access", "embargo_years", "ranges", "problems", "digest")
_TYPES = ("text", "text[]", "text", "bool", "int4", "text", "text", "bytea")  # json travels as text
_encode = msgspec.json.Encoder().encode
_ranges = msgspec.json.Decoder(tuple[tuple[int | None, int | None], ...])


class Refreshed(NamedTuple):
    """How a read of the journals ended. Without a change the generation stays."""

    generation: int
    journals: int
    changed: int
    vanished: int
    invalid: int


class Shelf(NamedTuple):
    """The journals as a run holds them: by every ISSN."""

    generation: int
    read_at: datetime | None
    by_issn: Mapping[str, Journal]


class Invalid(NamedTuple):
    """A journal that the library should mend, and why."""

    id: str
    title: str
    issns: Sequence[str]
    problems: Sequence[Problem]


def refresh(pool: Pool, solr: Solr, page_size: int, now: datetime) -> Refreshed:
    """Read all journals that come from SFX and swap them in, in one transaction: whoever loads sees either the old
    ones or the new ones. Raises OutsideError; then the old ones stay."""
    with pool.connection() as connection:
        key = endpoint_id(connection, solr.name)
        connection.execute("CREATE TEMP TABLE fresh (LIKE journal INCLUDING DEFAULTS) ON COMMIT DROP")
        connection.execute("ALTER TABLE fresh DROP COLUMN endpoint_id")
        seen: set[str] = set()
        invalid = 0
        for page, _cursor in walk(solr, FILTERS, "*", page_size):
            rows = [_row(*read_journal(document)) for document in page.documents if document.id not in seen]
            seen.update(row[0] for row in rows)  # an index that changes under the walk can show one twice
            invalid += sum(row[6] != "[]" for row in rows)
            copy(connection, "fresh", _COLUMNS, _TYPES, rows)
        changed, vanished, generation = _swap(connection, key, now)
        return Refreshed(generation, len(seen), changed, vanished, invalid)


def _row(journal: Journal, problems: Sequence[Problem]) -> tuple[Any, ...]:
    ranges = _encode([(held.from_year, held.to_year) for held in journal.ranges]).decode()
    mend = _encode([(problem.kind, problem.seen.replace("\0", "")) for problem in problems]).decode()
    title = journal.title.replace("\0", "")
    issns = [issn.replace("\0", "") for issn in journal.issns]
    values = (journal.id, issns, title, journal.open_access, journal.embargo_years, ranges, mend)
    return (*values, hashlib.sha256(_encode(values)).digest())


def _swap(connection: Connection[Any], key: int, now: datetime) -> tuple[int, int, int]:
    connection.execute("SELECT FROM access_endpoint WHERE endpoint_id = %s FOR UPDATE", (key,))
    connection.execute(
        "CREATE TEMP TABLE moved ON COMMIT DROP AS "
        "SELECT coalesce(f.id, j.id) AS id, f.id IS NULL AS vanished, "
        " coalesce(f.issns, '{}') || coalesce(j.issns, '{}') AS issns "
        "FROM fresh f FULL JOIN (SELECT * FROM journal WHERE endpoint_id = %s) j USING (id) "
        "WHERE f.digest IS DISTINCT FROM j.digest",
        (key,),
    )
    counted = connection.execute(
        "SELECT count(*) FILTER (WHERE NOT vanished), count(*) FILTER (WHERE vanished) FROM moved"
    ).fetchone()
    assert counted is not None
    changed, vanished = counted
    row = connection.execute(
        "UPDATE access_endpoint SET journals_at = %s, journals_generation = journals_generation + %s "
        "WHERE endpoint_id = %s RETURNING journals_generation",
        (now, int(changed + vanished > 0), key),
    ).fetchone()
    assert row is not None
    generation = row[0]
    connection.execute("DELETE FROM journal WHERE endpoint_id = %s AND id IN (SELECT id FROM moved)", (key,))
    connection.execute(
        "INSERT INTO journal (endpoint_id, id, issns, title, open_access, embargo_years, ranges, problems, digest) "
        "SELECT %s, f.id, f.issns, title, open_access, embargo_years, ranges, problems, digest "
        "FROM fresh f JOIN moved USING (id)",
        (key,),
    )
    connection.execute(
        "INSERT INTO journal_change (endpoint_id, issn, generation) "
        "SELECT DISTINCT %s, unnest(issns), %s FROM moved "
        "ON CONFLICT (endpoint_id, issn) DO UPDATE SET generation = excluded.generation",
        (key, generation),
    )
    return changed, vanished, generation


def age(pool: Pool, endpoint: str, now: datetime) -> timedelta | None:
    """How long ago the journals were read; None: never."""
    with pool.connection() as connection:
        row = connection.execute("SELECT journals_at FROM access_endpoint WHERE name = %s", (endpoint,)).fetchone()
        return now - row[0] if row and row[0] else None


def load(pool: Pool, endpoint: str) -> Shelf:
    """The journals of the newest generation, in memory; generation 0 and no journals for an endpoint that was never
    read."""
    with pool.connection() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        row = connection.execute(
            "SELECT endpoint_id, journals_generation, journals_at FROM access_endpoint WHERE name = %s", (endpoint,)
        ).fetchone()
        if row is None:
            return Shelf(0, None, {})
        with connection.cursor("journals") as cursor:
            cursor.itersize = 5_000
            cursor.execute(
                "SELECT id, issns, title, open_access, embargo_years, ranges::text FROM journal WHERE endpoint_id = %s",
                (row[0],),
            )
            shelf = by_issn(_loaded(cursor))
        return Shelf(row[1], row[2], shelf)


def _loaded(rows: Any) -> Iterator[Journal]:
    """Equal ranges are one object: of 100,000 journals few have holdings that no other has."""
    known: dict[str, tuple[Range, ...]] = {}
    for id_, issns, title, open_access, embargo_years, ranges in rows:
        held = known.get(ranges)
        if held is None:
            held = known[ranges] = tuple(Range(*years) for years in _ranges.decode(ranges))
        yield Journal(id_, tuple(issns), title, open_access, embargo_years, held)


def invalid(pool: Pool, endpoint: str, limit: int | None = None) -> list[Invalid]:
    """The journals that the library should mend, by title; at most `limit` of them."""
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT id, title, issns, problems FROM journal JOIN access_endpoint USING (endpoint_id) "
            "WHERE name = %s AND problems::text <> '[]' ORDER BY title, id LIMIT %s",
            (endpoint, limit),
        )
        return [Invalid(id_, title, issns, [Problem(*each) for each in found]) for id_, title, issns, found in rows]


def changed_since(connection: Connection[Any], key: int, generation: int) -> Collection[str]:
    """The normalized ISSNs that lead to another journal, to none, or to a changed one, since that generation."""
    rows = connection.execute(
        "SELECT issn FROM journal_change WHERE endpoint_id = %s AND generation > %s", (key, generation)
    )
    return [issn for (issn,) in rows]
