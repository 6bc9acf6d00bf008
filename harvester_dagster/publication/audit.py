"""What people did, and programs in their name: one row an act, written in the transaction of the act.

Belongs here: who acts at the moment, writing and reading rows. An act that is done and has no row, or the other way
round, cannot be: whoever changes something calls `write` in the transaction that changes it. What was tried and came to
nothing leaves a row of its own (`trying`). Does not belong here: who may do what (`web/guard.py`), what becomes of old
rows (`releases/retention.py`).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args

from psycopg import Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from harvester_dagster.failures import HarvesterError, mendable
from harvester_dagster.store.database import Pool

Outcome = Literal["asked for", "done", "refused", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_LONGEST = 500
"""Characters of what came from outside."""


class Doer(NamedTuple):
    """Who acts (`cli:USER`, `local`, `token:NAME`, `dagster`), and from where: an address or a machine's name."""

    name: str
    address: str = ""


class Row(NamedTuple):
    """One act. `detail` is plain JSON that belongs to it."""

    audit_id: int
    at: datetime
    actor: str
    act: str
    subject: str
    address: str
    outcome: str
    detail: dict[str, Any]


_COLUMNS = ", ".join(Row._fields)
NOBODY = Doer("dagster")
"""Who acts where nobody says so: what runs by itself, or was launched in Dagster's UI."""
_doer: ContextVar[Doer] = ContextVar("doer", default=NOBODY)


@contextmanager
def acting(doer: Doer) -> Iterator[None]:
    """What is done in the block, this one does."""
    token = _doer.set(doer)
    try:
        yield
    finally:
        _doer.reset(token)


def doer() -> Doer:
    """Who acts now."""
    return _doer.get()


def write(
    connection: Connection[Any],
    act: str,
    subject: str,
    at: datetime,
    outcome: Outcome = "done",
    *,
    tell: bool = False,
    **detail: Any,
) -> None:
    """One row, in the transaction of what it tells of. `tell`: people are told of it (`releases/alerts.py`)."""
    who = _doer.get()
    connection.execute(
        """INSERT INTO audit (at, actor, act, subject, address, outcome, detail, untold)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
        (at, who.name, act, _plain(subject), _plain(who.address), outcome, Jsonb(_plain_values(detail)), tell),
    )


def told(pool: Pool, act: str, subject: str, at: datetime, outcome: Outcome = "asked for", **detail: Any) -> None:
    """One row in a transaction of its own: of what begins now and commits many times, such as a harvest, that it was
    asked for, by this one; or of what changes nothing in the store."""
    with pool.connection() as connection:
        write(connection, act, subject, at, outcome, **detail)


def told_of_run(
    pool: Pool,
    act: str,
    subject: str,
    at: datetime,
    run_id: str | None,
    outcome: Outcome = "asked for",
    **detail: Any,
) -> None:
    """As `told`: once of each run of Dagster's, however often its step begins, and whoever has asked for it."""
    detail |= {"run": run_id} if run_id else {}
    with pool.connection() as connection:
        row = connection.execute(
            """SELECT EXISTS (SELECT FROM audit WHERE act = %s AND subject = %s AND outcome = %s
                                AND detail ->> 'run' = %s)""",
            (act, _plain(subject), outcome, run_id),
        ).fetchone()
        if row != (True,):
            write(connection, act, subject, at, outcome, **detail)


def was_asked_for(connection: Connection[Any], act: str, subject: str, run_id: str | None = None) -> bool:
    """Whether somebody has asked for it: by this run, where one is named."""
    row = connection.execute(
        """SELECT EXISTS (SELECT FROM audit WHERE act = %(act)s AND subject = %(subject)s AND outcome = 'asked for'
                            AND (%(run)s::text IS NULL OR detail ->> 'run' = %(run)s))""",
        {"act": act, "subject": _plain(subject), "run": run_id},
    ).fetchone()
    return row == (True,)


@contextmanager
def asked(pool: Pool, act: str, subject: str, clock: Callable[[], datetime], **detail: Any) -> Iterator[dict[str, Any]]:
    """The block does what is asked for now: told when it begins, and what came of it when it has ended, with what the
    block puts into what it is given."""
    told(pool, act, subject, clock(), **detail)
    came: dict[str, Any] = {}
    with trying(pool, act, subject, clock):
        yield came
    told(pool, act, subject, clock(), "done", **detail, **came)


@contextmanager
def trying(
    pool: Pool,
    act: str,
    subject: str,
    clock: Callable[[], datetime],
    passes: Callable[[BaseException], bool] = lambda _: False,
) -> Iterator[None]:
    """What fails in the block leaves a row that says so: `refused`, with its sentence, or `failed`; but for what
    `passes`. Its error goes on."""
    try:
        yield
    except Exception as error:
        if passes(error):
            raise
        found = mendable(error)
        outcome: Outcome = "refused" if isinstance(error, HarvesterError) else "failed"
        with pool.connection() as connection:
            write(connection, act, subject, clock(), outcome, reason=_plain(found.sentence if found else repr(error)))
        raise


def acts(connection: Connection[Any]) -> list[str]:
    """Whatever was done or tried, each once."""
    return [act for (act,) in connection.execute("SELECT DISTINCT act FROM audit ORDER BY act")]


def untold(connection: Connection[Any]) -> list[Row]:
    """What people are still to be told of, oldest first."""
    with connection.cursor(row_factory=class_row(Row)) as cursor:
        return cursor.execute(f"SELECT {_COLUMNS} FROM audit WHERE untold ORDER BY audit_id").fetchall()


def note_told(connection: Connection[Any], audit_id: int) -> None:
    """People were told of it."""
    connection.execute("UPDATE audit SET untold = false WHERE audit_id = %s", (audit_id,))


def _plain(text: str) -> str:
    """What PostgreSQL takes: no NUL, no half of a character, not endless."""
    return _NO_TEXT.sub("�", text)[:_LONGEST]


def _plain_values(value: Any) -> Any:
    """JSON with such texts, however long."""
    match value:
        case str():
            return _NO_TEXT.sub("�", value)
        case dict():
            return {_plain_values(name): _plain_values(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain_values(each) for each in value]
    return value


def rows(
    connection: Connection[Any],
    *,
    actor: str = "",
    act: str = "",
    subject: str = "",
    outcome: str = "",
    since: datetime | None = None,
    before: int | None = None,
    count: int | None = None,
) -> list[Row]:
    """Newest first, at most `count` (None: all), those `before` a row; of each filter that is given only what equals
    it."""
    with connection.cursor(row_factory=class_row(Row)) as cursor:
        return cursor.execute(
            f"""SELECT {_COLUMNS} FROM audit
               WHERE (%(actor)s = '' OR actor = %(actor)s) AND (%(act)s = '' OR act = %(act)s)
                 AND (%(subject)s = '' OR subject = %(subject)s) AND (%(outcome)s = '' OR outcome = %(outcome)s)
                 AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
                 AND (%(before)s::bigint IS NULL OR audit_id < %(before)s)
               ORDER BY audit_id DESC LIMIT %(count)s""",
            {"actor": _plain(actor), "act": _plain(act), "subject": _plain(subject), "outcome": _plain(outcome)}
            | {"since": since, "before": before, "count": count},
        ).fetchall()
