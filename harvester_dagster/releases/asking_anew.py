"""Asking sources anew for records whose purge was undone.

A wish (`publication/wishes.py`) stays until its source has answered, whoever asks: the command that undid the purge,
or the job `mend`, which a sensor asks for. What came to nothing is tried again after as long as it has been tried:
twice as long each time. What ends without its record has a row of the audit, of which people are told. Belongs here:
asking, and when it is tried again. Does not belong here: how one record is harvested (`sets/one_record.py`).
"""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from harvester_dagster import failures
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit, wishes
from harvester_dagster.publication.takedowns import NotTakenDown
from harvester_dagster.publication.wishes import Wish
from harvester_dagster.sets import one_record
from harvester_dagster.sets.one_record import Came, Did, NeverByItself
from harvester_dagster.sources.kind import UnknownRecord

PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(days=1)
A_RUN = timedelta(minutes=2)
"""After so long a run begins to ask for no further record: what is left the next one asks for."""
ACT = "ask no more"
_LOG = logging.getLogger(__name__)
Progress = Callable[[str], None]


class AskedAnew(NamedTuple):
    """What came of it: what the record does to its set, or nothing and why. `is_over`: nobody asks again."""

    wish: Wish
    did: Did | None
    reason: str
    is_over: bool


def due(installation: Installation) -> list[Wish]:
    """Those that are to be tried now."""
    now = installation.clock()
    with installation.pool.connection() as connection:
        return [one for one in wishes.all_wishes(connection) if one.tried_at is None or _is_due(one, one.tried_at, now)]


def _is_due(one: Wish, tried_at: datetime, now: datetime) -> bool:
    return now - tried_at >= min(max(tried_at - one.since, PAUSE), LONGEST_PAUSE)


def ask_due(
    installation: Installation, progress: Progress = lambda _: None, most: timedelta = A_RUN
) -> Iterator[AskedAnew]:
    """Ask for those that are to be tried now, one after another; what fails for one of them is noted with it. `most`:
    none is begun so long after the first."""
    began = installation.clock()
    for wished in due(installation):
        yield _safely(installation, wished, progress)
        if installation.clock() - began >= most:
            return


def _safely(installation: Installation, wished: Wish, progress: Progress) -> AskedAnew:
    """Whatever fails for it, others wait."""
    try:
        return ask(installation, wished, progress)
    except Exception as error:
        found = failures.mendable(error)
        if found is None:
            _LOG.exception("%s: a mistake in this program", wished.srn)
        reason = found.sentence if found else f"a mistake in this program ({type(error).__name__})"
        return _later(installation, wished, reason, reason)


def ask(installation: Installation, wished: Wish, progress: Progress = lambda _: None) -> AskedAnew:
    """Ask for a record, and take what comes into its set; a release shows it. What could not be done now stays to be
    asked for. Of several who ask at once one does."""
    with installation.pool.connection() as connection:
        if not wishes.claim(connection, wished, installation.clock()):
            return AskedAnew(wished, None, "somebody else asks for it now, or it is over", is_over=False)
    try:
        came, outcome = one_record.harvest(installation, wished.key, wished.external_id, progress)
    except (UnknownRecord, NeverByItself) as error:
        return _over(installation, wished, None, str(error))
    except failures.HarvesterError as error:
        return _later(installation, wished, error.sentence, str(error))
    if outcome.is_replaced:
        return _later(installation, wished, outcome.reason, f"it was rejected: {outcome.reason}", came.did)
    if came.did == "unreadable":
        reason = f"what its source sends of it cannot be read: {came.reason}"
        return _later(installation, wished, reason, reason, came.did)
    return _over(installation, wished, came.did, _why_nothing(came))


def drop(installation: Installation, doc_id: int, srn: str) -> None:
    """Nobody asks for a record any more, since somebody says so. Raises NotTakenDown where nobody does."""
    with audit.trying(installation.pool, ACT, srn, installation.clock), installation.pool.connection() as connection:
        found = next((one for one in wishes.all_wishes(connection) if one.doc_id == doc_id), None)
        if found is None or not wishes.fulfil(connection, found):
            raise NotTakenDown(
                f"nobody asks the source of {srn} for it", "`harvester takedown` lists what is asked for"
            )
        audit.write(connection, ACT, srn, installation.clock())


def _why_nothing(came: Came) -> str:
    """Why there is nothing to be published though its source answered, or ""."""
    return "its source says that it is deleted" if came.did in ("deleted", "ignored") else ""


def _later(installation: Installation, wished: Wish, noted: str, reason: str, did: Did | None = None) -> AskedAnew:
    with installation.pool.connection() as connection:
        wishes.note(connection, wished, installation.clock(), noted)
    return AskedAnew(wished, did, reason, is_over=False)


def _over(installation: Installation, wished: Wish, did: Did | None, reason: str) -> AskedAnew:
    """`reason`: why it ends without its record, of which people are told."""
    with installation.pool.connection() as connection:
        if wishes.fulfil(connection, wished) and reason:
            audit.write(connection, ACT, wished.srn, installation.clock(), tell=True, reason=reason)
    return AskedAnew(wished, did, reason, is_over=True)
