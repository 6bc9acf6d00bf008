"""An operator's values for one document: they win over the source's, and survive harvests, resets and rollbacks.

Belongs here: reading, setting and clearing them, in one transaction with the mark that the document's output is to be
made anew, with their history (`overwrite_log`, append-only) and with the audit. Does not belong here: which fields may
be overwritten (`documents/overwriting.py`), laying them over the source's values (`documents/output.py`).
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection
from psycopg.types.json import Jsonb

from harvester_dagster import canonical
from harvester_dagster.failures import HarvesterError
from harvester_dagster.publication import audit

MOST_BYTES = 200_000
"""Of one overwrite, as JSON."""
_EXAMPLE = 'write a JSON object with at least one field, such as {"title": "…"}'
_NUL = re.compile(rb"(?<!\\)(\\\\)*\\u0000")
"""As JSON has it; PostgreSQL takes none."""


WHEN_SHOWN = (
    "shown within seconds where `harvester up` runs and nothing else of its set waits, else by the next release"
)


class BadOverwrite(HarvesterError):
    """What was given cannot be an overwrite."""


class NotOverwritable(BadOverwrite):
    """A field is none that may be overwritten, or not with this value."""


class OverwriteMoved(HarvesterError):
    """Somebody else has overwritten the document since it was looked at, or given it back."""

    def __init__(self, newest: "Entry | None") -> None:
        if newest is None:
            said = "it was never overwritten so"
        else:
            what = "given its values back" if newest.fields is None else f"overwritten {', '.join(newest.fields)}"
            said = f"{newest.actor or 'somebody'} has {what} meanwhile"
        super().__init__(said, "look at it again, then say what shall stand")


class Entry(NamedTuple):
    """One overwrite that was set (`fields`), or taken away (None), when and by whom (`audit.Doer.name`). `number`: the
    newest one's names the state of the document's overwrite; that of one which was never overwritten is 0."""

    number: int
    at: datetime
    actor: str
    fields: dict[str, Any] | None


def read(given: str | bytes) -> dict[str, Any]:
    """The values that a person wrote as JSON. Raises BadOverwrite."""
    text = given.encode(errors="surrogatepass") if isinstance(given, str) else given
    if len(text) > MOST_BYTES:
        raise BadOverwrite(f"more than {MOST_BYTES:,} bytes", "overwrite less")
    try:
        body = msgspec.json.decode(text)
        again = canonical.encode(body)
        json.loads(text, object_pairs_hook=_once)
    except (msgspec.DecodeError, UnicodeError, RecursionError, OverflowError) as error:
        raise BadOverwrite(f"not JSON: {error}", _EXAMPLE) from None
    if not isinstance(body, dict) or not body:
        raise BadOverwrite("an overwrite is a JSON object with at least one field", _EXAMPLE)
    if dots := [name for name, value in body.items() if value in ("…", "...")]:
        raise BadOverwrite(f"{dots[0]}: dots stand for a value here", "write the value that is to be shown")
    if _NUL.search(again):
        raise BadOverwrite("a text in the JSON holds a NUL", "leave it out")
    return body


def _once(pairs: list[tuple[str, Any]]) -> None:
    """Raises BadOverwrite for an object that names a field twice: another reader would take the other value."""
    names = [name for name, _ in pairs]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise BadOverwrite(f"{twice[0][:100]} stands there twice", "leave one of them out")


def refuse(reasons: Sequence[str]) -> None:
    """Raises NotOverwritable where there are reasons against an overwrite (`Catalog.not_overwritable`)."""
    if reasons:
        raise NotOverwritable("; ".join(reasons))


def put(
    connection: Connection[Any],
    doc_id: int,
    body: Mapping[str, Any],
    now: datetime,
    seen: int | Collection[int] | None = None,
) -> None:
    """Set a document's overwrite, in place of the one it has. `seen`: only where this, or one of these, is still the
    newest entry's number. Raises OverwriteMoved."""
    _begin(connection, doc_id, seen)
    connection.execute(
        """INSERT INTO overwrite (doc_id, body, changed_at) VALUES (%s, %s, %s)
           ON CONFLICT (doc_id) DO UPDATE SET body = excluded.body, changed_at = excluded.changed_at""",
        (doc_id, Jsonb(body), now),
    )
    _remember(connection, doc_id, body, now)
    _to_be_made_anew(connection, doc_id)
    audit.write(connection, "overwrite", _srn(connection, doc_id), now, fields=sorted(body))


def clear(connection: Connection[Any], doc_id: int, now: datetime, seen: int | Collection[int] | None = None) -> bool:
    """Give a document its source's values back; whether it had an overwrite. `seen`: as for `put`. Raises
    OverwriteMoved."""
    _begin(connection, doc_id, seen)
    if not connection.execute("DELETE FROM overwrite WHERE doc_id = %s", (doc_id,)).rowcount:
        return False
    _remember(connection, doc_id, None, now)
    _to_be_made_anew(connection, doc_id)
    audit.write(connection, "clear overwrite", _srn(connection, doc_id), now)
    return True


def history(connection: Connection[Any], doc_id: int, most: int, before: int | None = None) -> list[Entry]:
    """What was set or taken away, the newest first, at most so many: that one says what is overwritten now. `before`:
    only those that are older than the entry of this number."""
    rows = connection.execute(
        """SELECT entry_id, at, actor, fields FROM overwrite_log
           WHERE doc_id = %(doc)s AND (%(before)s::bigint IS NULL OR entry_id < %(before)s)
           ORDER BY entry_id DESC LIMIT %(most)s""",
        {"doc": doc_id, "before": before, "most": most},
    )
    return [Entry._make(row) for row in rows]


def newest(connection: Connection[Any], doc_id: int) -> Entry | None:
    """The entry that says what is overwritten now; None: the document never was."""
    return next(iter(history(connection, doc_id, 1)), None)


def fields_at(connection: Connection[Any], doc_id: int, number: int) -> dict[str, Any]:
    """What was overwritten when the entry of this number was the newest."""
    entry = next(iter(history(connection, doc_id, 1, before=number + 1)), None)
    return (entry.fields if entry else None) or {}


def _begin(connection: Connection[Any], doc_id: int, seen: int | Collection[int] | None) -> None:
    """Whoever comes second waits for the first, and finds its entry."""
    connection.execute("SELECT FROM document WHERE doc_id = %s FOR NO KEY UPDATE", (doc_id,))
    found = newest(connection, doc_id)
    expected = (seen,) if isinstance(seen, int) else seen
    if expected is not None and (found.number if found else 0) not in expected:
        raise OverwriteMoved(found)


def _remember(connection: Connection[Any], doc_id: int, body: Mapping[str, Any] | None, now: datetime) -> None:
    connection.execute(
        "INSERT INTO overwrite_log (doc_id, at, actor, fields) VALUES (%s, %s, %s, %s)",
        (doc_id, now, audit.doer().name, None if body is None else Jsonb(body)),
    )


def _srn(connection: Connection[Any], doc_id: int) -> str:
    row = connection.execute(
        """SELECT s.key || ':' || d.external_id FROM document d JOIN harvest_set s USING (set_id)
           WHERE d.doc_id = %s""",
        (doc_id,),
    ).fetchone()
    return row[0] if row else str(doc_id)


def _to_be_made_anew(connection: Connection[Any], doc_id: int) -> None:
    connection.execute(
        """INSERT INTO dirty (doc_id, set_id, overwritten) SELECT doc_id, set_id, true FROM document WHERE doc_id = %s
           ON CONFLICT (doc_id) DO UPDATE SET done_in = NULL, overwritten = true""",
        (doc_id,),
    )
