"""Revisions and outputs over generations: which are live, how a candidate's are cleaned away, how it is accepted.

A revision belongs to the generations [from_gen, to_gen). A set's candidate is the tentative generation
accepted_gen + 1: its rows are there, invisible until the set's pointer moves. So "current" is never
`to_gen IS NULL`: `LIVE` is the rule, with the generation clamped by whoever asks. Accepting moves the pointer,
rejecting does nothing, the next candidate cleans.
"""

from typing import Any

from psycopg import Connection

from harvester_dagster.sets import attempts
from harvester_dagster.sets.attempts import Attempt, Window
from harvester_dagster.sets.locked_set import LockedSet

LIVE = "{alias}.from_gen <= {gen} AND ({alias}.to_gen IS NULL OR {alias}.to_gen > {gen})"
SOURCE_DATE = """coalesce(CASE WHEN {alias}.parts_gen <= {gen} THEN {alias}.parts_modified_at END,
                         {alias}.seen_modified_at, {alias}.source_modified_at)"""


def live(alias: str, gen: str) -> str:
    """The SQL condition under which a revision or output is live at a generation (a parameter or a column)."""
    return LIVE.format(alias=alias, gen=gen)


def source_date(alias: str, gen: str) -> str:
    """The SQL of the date that its source gave a record last, of what holds at a generation: of the bytes that its
    revision was made from, of later ones that said the same, or of those in which only parts of it changed."""
    return SOURCE_DATE.format(alias=alias, gen=gen)


def clean(connection: Connection[Any], locked: LockedSet, attempt_id: int) -> None:
    """Take away what an earlier candidate of the set left, and make room for this attempt's.

    A harvest supersedes a rejected candidate; day work and pushes do not, for that can be staged again from its pages.
    Costs what the earlier candidate changed.
    """
    locked.move(connection, staged_attempt=attempt_id)  # first: what is deleted below is the candidate's for certain
    parameters = {"set": locked.set_id, "attempt": attempt_id, "gen": locked.state.accepted_gen}
    for narrow, wide in (("revision", "task_use"), ("revision", "body"), ("output", "output_body")):
        connection.execute(
            f"""DELETE FROM {wide} b USING {narrow} r
                WHERE r.set_id = %(set)s AND r.from_gen > %(gen)s
                  AND b.doc_id = r.doc_id AND b.from_gen = r.from_gen""",
            parameters,
        )
    for narrow in ("revision", "output"):
        connection.execute(f"DELETE FROM {narrow} WHERE set_id = %(set)s AND from_gen > %(gen)s", parameters)
        connection.execute(f"UPDATE {narrow} SET to_gen = NULL WHERE set_id = %(set)s AND to_gen > %(gen)s", parameters)
    connection.execute(
        """UPDATE revision SET parts_gen = NULL, parts_modified_at = NULL
           WHERE set_id = %(set)s AND parts_gen > %(gen)s""",
        parameters,
    )
    connection.execute("UPDATE task_progress SET gen = %(gen)s WHERE set_id = %(set)s AND gen > %(gen)s", parameters)
    connection.execute(
        "SELECT FROM dirty WHERE set_id = %(set)s AND done_in > %(gen)s ORDER BY doc_id FOR UPDATE", parameters
    )
    connection.execute("UPDATE dirty SET done_in = NULL WHERE set_id = %(set)s AND done_in > %(gen)s", parameters)
    connection.execute(
        """UPDATE attempt SET state = 'superseded'
           WHERE set_id = %(set)s AND state = 'rejected' AND attempt_id < %(attempt)s
             AND (SELECT mode FROM attempt WHERE attempt_id = %(attempt)s) NOT IN ('derive', 'push')""",
        parameters,
    )


def begin(connection: Connection[Any], locked: LockedSet, why: Window, run_id: str | None = None) -> Attempt:
    """A staged attempt without records: outputs are to be made of what is accepted."""
    state = locked.state
    attempt = attempts.open_attempt(connection, locked, why, mapping_version=state.mapping_version, run_id=run_id)
    clean(connection, locked, attempt.attempt_id)
    connection.execute("UPDATE attempt SET state = 'staged' WHERE attempt_id = %s", (attempt.attempt_id,))
    return attempts.by_id(connection, attempt.attempt_id)


COUNTS = """
SELECT entity, sum(began - changed)::int, sum(changed)::int, sum(ended - changed)::int FROM (
    SELECT entity, count(*) AS began, 0 AS ended, 0 AS changed
    FROM revision WHERE set_id = %(set)s AND from_gen = %(gen)s GROUP BY 1
    UNION ALL
    SELECT entity, 0, count(*), 0 FROM revision WHERE set_id = %(set)s AND to_gen = %(gen)s GROUP BY 1
    UNION ALL
    SELECT o.entity, 0, 0, count(*) FROM revision o JOIN revision n ON n.doc_id = o.doc_id AND n.from_gen = %(gen)s
    WHERE o.set_id = %(set)s AND o.to_gen = %(gen)s GROUP BY 1) c GROUP BY 1
"""


def changes(connection: Connection[Any], set_id: int, gen: int) -> dict[str, dict[str, int]]:
    """Per entity how many documents are new, changed and deleted in a generation."""
    rows = connection.execute(COUNTS, {"set": set_id, "gen": gen}).fetchall()
    return {entity: {"new": new, "changed": changed, "deleted": gone} for entity, new, changed, gone in rows}


def end_all(connection: Connection[Any], locked: LockedSet) -> None:
    """Nothing of the set lives on in its candidate."""
    gen = locked.state.candidate_gen
    for table in ("revision", "output"):
        connection.execute(
            f"UPDATE {table} SET to_gen = %s WHERE set_id = %s AND to_gen IS NULL AND from_gen < %s",
            (gen, locked.set_id, gen),
        )
