"""What it looks like that the store was away for a moment.

One killed backend ends all sessions of a PostgreSQL, which refuses new ones until it has recovered; a restart, a proxy
and a network do the same. Whoever works with the store may meet that in any statement. What was committed is found
done, so that the work may be done again: by `database.again`, and by `assets/again.py` where Dagster is asked to.
Belongs here: which errors say it, of our driver and of Dagster's.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

_AWAY = {
    "psycopg.OperationalError",
    "psycopg2.OperationalError",
    "psycopg2.InterfaceError",
    "sqlalchemy.exc.TimeoutError",
}
"""Names, not classes: most commands never import what they come from. dagster-postgres raises another of its own from
whatever it was: that decides."""
_WRAPPED = "sqlalchemy.exc.DBAPIError"
_STATES = ("08", "57P", "53300", "25P03", "25006")
"""How the SQLSTATE begins of a session that was ended or refused, or whose server is another one's copy until that is
sure to be gone. Others of these classes (a full disk, a deadlock, a lock that is not free) come again."""
_COMES_AGAIN = re.compile(
    "authentication failed|no password supplied|no pg_hba.conf entry|does not exist|not permitted to log in"
    "|permission denied for database|does not support SSL|number of parameters must be between"
)
"""An error without an SQLSTATE is that of a lost connection, or of one that could not be made: but for these words of
PostgreSQL and libpq. The name of a machine that nobody knows is not among them: that of a container is known again when
it is started again."""
_CLOSED = "psycopg_pool.PoolClosed"
"""By this program itself."""


def is_away(error: BaseException) -> bool:
    """Whether it says, or was raised because, the store was away: done again, the same may work."""
    return any(_says_so(each) for each in _causes(error))


@contextmanager
def overlooked() -> Iterator[None]:
    """Around what is looked at again soon: that the store was away is no error there."""
    try:
        yield
    except Exception as error:
        if not is_away(error):
            raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _says_so(error: BaseException) -> bool:
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__}
    if _WRAPPED in names:
        wrapped = getattr(error, "orig", None)
        return bool(getattr(error, "connection_invalidated", False)) or (wrapped is not None and is_away(wrapped))
    if state := getattr(error, "sqlstate", None) or getattr(error, "pgcode", None):
        return bool(state.startswith(_STATES))
    return not _AWAY.isdisjoint(names) and _CLOSED not in names and not _COMES_AGAIN.search(str(error))
