"""What of a rejected candidate somebody has looked at, so that accepting takes that and nothing else.

A candidate moves: a later harvest takes its place, and work of the day changes what it is compared with. Belongs here:
its figures, remembering them with a look, comparing. A page says itself what it showed (`seen`, the digest of the
figures): the last look may be somebody else's. Does not belong here: staging and accepting (`steps.py`).
"""

import shlex
from collections.abc import Mapping
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from harvester_dagster.failures import HarvesterError
from harvester_dagster.sets import attempts, candidate_figures, differences, verdict
from harvester_dagster.sets.attempts import Attempt
from harvester_dagster.sets.candidate_figures import Figures
from harvester_dagster.sets.differences import DifferenceFigures
from harvester_dagster.sets.locked_set import LockedSet
from harvester_dagster.sets.sets import SetState


class CandidateMoved(HarvesterError):
    """What would be accepted is not what was looked at."""


def generations(state: SetState) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """What is compared for a staged candidate: the generation that is accepted, and its own."""
    return {state.set_id: state.accepted_gen}, {state.set_id: state.candidate_gen}


def figures(connection: Connection[Any], state: SetState, attempt: Attempt) -> Figures:
    """Those of the set's staged candidate, whose outputs are made."""
    return figures_of(connection, state, attempt, differences.counted(connection, *generations(state)))


def figures_of(connection: Connection[Any], state: SetState, attempt: Attempt, differs: DifferenceFigures) -> Figures:
    """The same where it is counted already what it would change."""
    accepted = verdict.published(connection, state)
    return candidate_figures.of(attempt.attempt_id, verdict.proposed(connection, state, accepted), accepted, differs)


def note(connection: Connection[Any], locked: LockedSet, found: Figures) -> None:
    """Somebody has looked at these."""
    connection.execute(
        """UPDATE attempt SET looked_at = %(now)s, looked = %(found)s, figures = %(found)s
           WHERE attempt_id = %(attempt)s AND set_id = %(set)s""",
        {
            "now": locked.installation.clock(),
            "found": Jsonb(found._asdict()),
            "attempt": found.attempt_id,
            "set": locked.set_id,
        },
    )


def check(connection: Connection[Any], locked: LockedSet, found: Figures, asked: int | None, seen: str = "") -> None:
    """That the candidate is what was looked at: the attempt that is `asked` for, with the figures of which `seen` is
    the digest, else those of the last look; without a number, what was looked at last, where that was done. Raises
    CandidateMoved."""
    last = _last_look(connection, locked)
    check_attempt(locked.key, asked or (last.attempt_id if last else found.attempt_id), found.attempt_id, f": {found}")
    if seen:
        has_moved, was = seen != found.digest, ""
    else:
        has_moved = last is not None and last.attempt_id == found.attempt_id and last != found
        was = f"it was {last}; " if last and str(last) != str(found) else "its documents say something else; "
    if has_moved:
        raise CandidateMoved(
            f"{locked.key}: attempt {found.attempt_id} has moved since it was looked at: {was}it is {found}",
            _look_again(locked.key),
        )


def check_attempt(key: str, asked: int, waits: int, more: str = "") -> None:
    """That the attempt that is asked for is the one that waits. Raises CandidateMoved."""
    if asked != waits:
        raise CandidateMoved(
            f"{key}: attempt {asked} is not the candidate that waits; attempt {waits} is{more}", _look_again(key)
        )


def _look_again(key: str) -> str:
    return f"look at it: `harvester accept {shlex.quote(key)} --dry-run`"


def _last_look(connection: Connection[Any], locked: LockedSet) -> Figures | None:
    """Since a candidate of the set was last accepted or laid aside."""
    row = connection.execute(
        """SELECT looked FROM attempt WHERE set_id = %(set)s AND looked IS NOT NULL AND attempt_id > coalesce((
               SELECT max(attempt_id) FROM attempt WHERE set_id = %(set)s AND mode = ANY (%(modes)s)
                 AND state IN ('accepted', 'dismissed')), 0)
           ORDER BY looked_at DESC, attempt_id DESC LIMIT 1""",
        {"set": locked.set_id, "modes": list(attempts.PROPOSALS)},
    ).fetchone()
    return Figures(**row[0]) if row else None
